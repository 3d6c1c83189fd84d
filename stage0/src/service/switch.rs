//! From one version to another, and back where it does not come up.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use stage1_skim::bus::{Restart, ServiceRun, Watch};
use stage1_skim::names::PodUnits;

use super::directory::ServiceDirectory;
use super::judge::{AppSeen, Bounds, Failure, Job, Judge, Observation, Verdict};
use super::running::{Running, discard_prepared};
use crate::pod::directory::Pods;

/// How often the service is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// A version that is staged, to be switched to.
pub struct Switch<'a> {
    /// The service's versions.
    pub service: &'a ServiceDirectory,
    /// All pods.
    pub pods: &'a Pods,
    /// The unit that the service runs in.
    pub unit: &'a str,
    /// How long the version has to come up.
    pub bounds: Bounds,
    /// How many versions are kept.
    pub keep: usize,
    /// Whether this process was asked to end.
    pub is_interrupted: &'a dyn Fn() -> bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The version runs.
    Switched,
    /// It did not come up.
    Failed {
        /// Why.
        failure: Failure,
        /// The pod that failed.
        pod: String,
        /// Why the version before did not come up again; `None` where it runs.
        again: Option<String>,
    },
}

/// How a watch ended.
enum Watched {
    Judged(Verdict),
    Interrupted,
}

impl Switch<'_> {
    /// Switches to the staged version. Where it does not come up, the version before is current
    /// again, and runs if it can. `failed` is called with why before that is begun.
    ///
    /// # Errors
    /// Where somebody stops the service or this process meanwhile, or systemd does not answer.
    /// Then, too, the version before is current.
    pub fn run(&self, failed: impl FnOnce(&Failure, &str)) -> Result<Outcome> {
        let staged = self.service.read()?;
        let Some(trial) = staged.trial() else {
            bail!("no version is on trial");
        };
        let (before, pod) = (trial.before.number, trial.pod.clone());
        let outcome = self.switch(before, &pod, failed);
        if outcome.is_err() {
            // Whatever went wrong, a start must not take what nobody has seen come up.
            let back = self
                .service
                .change(|versions| Ok(versions.go_back(None, self.keep)));
            if let Err(error) = back {
                log::error!("{error:#}");
            }
        }
        if let Err(error) = discard_prepared(self.pods, &pod) {
            log::warn!("{error:#}; skim gc will try again");
        }
        outcome
    }

    fn switch(
        &self,
        before: u64,
        pod: &str,
        failed: impl FnOnce(&Failure, &str),
    ) -> Result<Outcome> {
        let stopped = || self.stopped(before);
        let mut watch = Watch::new(self.unit)?;
        let run = watch.see()?;
        if !matches!(run.active.as_str(), "active" | "reloading" | "activating") {
            return stopped();
        }
        self.service.change(|versions| versions.switch())?;
        if !watch.restart(Restart::IfItRuns)? {
            return stopped();
        }
        let failure = match self.judge(&mut watch, run.invocation, self.is_interrupted)? {
            Watched::Judged(Verdict::Good) => {
                self.service.change(|versions| versions.accept(self.keep))?;
                return Ok(Outcome::Switched);
            }
            Watched::Judged(Verdict::Stopped) => return stopped(),
            Watched::Judged(Verdict::Bad(failure)) => failure,
            Watched::Interrupted => return self.interrupted(&mut watch, before),
        };
        let pod = self.failed_pod(pod)?;
        failed(&failure, &pod);
        let reason = failure.to_string();
        self.service
            .change(|versions| Ok(versions.go_back(Some(&reason), self.keep)))?;
        let again = self.go_back(&mut watch)?;
        Ok(Outcome::Failed {
            failure,
            pod,
            again,
        })
    }

    fn stopped(&self, before: u64) -> Result<Outcome> {
        bail!(
            "somebody stopped {} meanwhile: it is not started again, and its next start runs version {before}",
            self.unit
        )
    }

    fn interrupted(&self, watch: &mut Watch, before: u64) -> Result<Outcome> {
        self.service
            .change(|versions| Ok(versions.go_back(None, self.keep)))?;
        log::warn!("interrupted: going back to version {before}");
        match self.go_back(watch)? {
            None => bail!("interrupted: version {before} runs again"),
            Some(why) => bail!("interrupted, and version {before} does not come up again: {why}"),
        }
    }

    /// Restarts the service with the version that is current again; why it does not come up.
    fn go_back(&self, watch: &mut Watch) -> Result<Option<String>> {
        let run = watch.see()?;
        if watch.is_stopped() {
            return Ok(Some(format!("somebody stopped {}", self.unit)));
        }
        // Else systemd may refuse it as one that was started too often.
        watch.reset_failed()?;
        if !watch.restart(Restart::Always)? {
            return Ok(Some(format!("somebody stopped {}", self.unit)));
        }
        let never = || false;
        Ok(match self.judge(watch, run.invocation, &never)? {
            Watched::Judged(Verdict::Good) | Watched::Interrupted => None,
            Watched::Judged(Verdict::Bad(failure)) => Some(failure.to_string()),
            Watched::Judged(Verdict::Stopped) => Some(format!("somebody stopped {}", self.unit)),
        })
    }

    fn judge(
        &self,
        watch: &mut Watch,
        before: Vec<u8>,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<Watched> {
        let began = Instant::now();
        let mut judge = Judge::new(self.bounds, before, Duration::ZERO);
        loop {
            watch.pass(INTERVAL)?;
            let seen = self.observe(watch)?;
            if let Some(verdict) = judge.observe(began.elapsed(), seen) {
                return Ok(Watched::Judged(verdict));
            }
            if is_interrupted() {
                return Ok(Watched::Interrupted);
            }
        }
    }

    fn observe(&self, watch: &Watch) -> Result<Observation> {
        let run = watch.see()?;
        let job = match watch.job_result() {
            Some(result) => Job::Ended(result.to_owned()),
            None => Job::Runs,
        };
        let mut apps = Vec::new();
        let is_up = matches!(run.active.as_str(), "active" | "reloading");
        if is_up && let Some(running) = Running::find(self.pods, &self.service.name)? {
            let units = PodUnits::new(&running.found.uuid);
            for app in &running.plan.apps {
                apps.push(app_seen(
                    &app.name,
                    watch.see_other(&units.service(&app.name))?,
                ));
            }
        }
        Ok(Observation {
            job,
            is_stopped: watch.is_stopped(),
            end: end(&run),
            active: run.active,
            invocation: run.invocation,
            restarts: run.restarts,
            apps,
        })
    }

    /// The pod to tell of: the one that runs now, where `Restart=` has made another one.
    fn failed_pod(&self, staged: &str) -> Result<String> {
        let running = Running::find(self.pods, &self.service.name)?;
        Ok(running.map_or_else(|| staged.to_owned(), |running| running.found.uuid))
    }
}

fn app_seen(name: &str, run: ServiceRun) -> AppSeen {
    AppSeen {
        name: name.to_owned(),
        active: run.active,
        restarts: run.restarts,
        started: run.started,
    }
}

/// How a service ended, in words.
fn end(run: &ServiceRun) -> String {
    /// `CLD_EXITED` of sigaction(2).
    const EXITED: i32 = 1;
    match run.code {
        0 => run.result.clone(),
        EXITED => format!("{}, code {}", run.result, run.status),
        _ => format!("{}, signal {}", run.result, run.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_with_code_or_signal() {
        for (code, status, text) in [
            (0, 0, "exit-code"),
            (1, 3, "exit-code, code 3"),
            (2, 9, "exit-code, signal 9"),
        ] {
            let run = ServiceRun {
                active: "failed".into(),
                invocation: Vec::new(),
                restarts: 0,
                started: 0,
                result: "exit-code".into(),
                code,
                status,
            };
            assert_eq!(end(&run), text);
        }
    }
}
