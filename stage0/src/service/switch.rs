//! From one version to another, and back where it does not come up.

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use stage1_skim::bus::{Restart, ServiceRun, Watch};
use stage1_skim::names::PodUnits;

use super::directory::ServiceDirectory;
use super::judge::{AppSeen, Bounds, Failure, Job, Judge, Observation, Verdict};
use super::running::{Running, discard_prepared};
use crate::pod::directory::Pods;

/// How often the service is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long systemd may not answer, as while it is executed anew, before nobody waits any more.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// again, and runs if it can. `failed` is called with why before that is begun, and must not
    /// take time: the service is down.
    ///
    /// # Errors
    /// Where somebody stops the service or this process meanwhile, or systemd does not answer for
    /// long. Then, too, the version before is current, and runs again if it can.
    pub fn run(&self, failed: impl FnOnce(&Failure)) -> Result<Outcome> {
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

    fn switch(&self, before: u64, pod: &str, failed: impl FnOnce(&Failure)) -> Result<Outcome> {
        let mut watch = Watch::new(self.unit)?;
        let run = watch.see()?;
        if !is_begun(&run.active) {
            return self.stopped(before);
        }
        self.service.change(|versions| versions.switch())?;
        match watch.restart(Restart::IfItRuns) {
            Ok(true) => (),
            Ok(false) => return self.stopped(before),
            Err(error) => return self.not_restarted(&mut watch, before, &run.invocation, error),
        }
        let failure = match self.judge(&mut watch, run.invocation, self.is_interrupted) {
            Ok(Watched::Judged(Verdict::Good)) => {
                return match self.service.change(|versions| versions.accept(self.keep)) {
                    Ok(()) => Ok(Outcome::Switched),
                    Err(error) => self.break_off(&mut watch, before, &format!("{error:#}")),
                };
            }
            Ok(Watched::Judged(Verdict::Stopped)) => return self.stopped(before),
            Ok(Watched::Judged(Verdict::Bad(failure))) => failure,
            Ok(Watched::Interrupted) => return self.break_off(&mut watch, before, "interrupted"),
            Err(error) => return self.break_off(&mut watch, before, &format!("{error:#}")),
        };
        let pod = self.failed_pod(pod);
        failed(&failure);
        let reason = failure.to_string();
        self.service
            .change(|versions| Ok(versions.go_back(Some(&reason), self.keep)))?;
        let again = self.go_back(&mut watch);
        Ok(Outcome::Failed {
            failure,
            pod,
            again: again.unwrap_or_else(|error| Some(format!("{error:#}"))),
        })
    }

    /// The restart failed. Where its answer got lost it is under way all the same.
    fn not_restarted(
        &self,
        watch: &mut Watch,
        before: u64,
        invocation: &[u8],
        error: Error,
    ) -> Result<Outcome> {
        let is_untouched = patiently(watch, |watch| {
            watch.pass(INTERVAL)?;
            let run = watch.see()?;
            Ok(is_begun(&run.active) && run.invocation == invocation)
        });
        match is_untouched {
            Ok(true) => Err(error),
            _ => self.break_off(watch, before, &format!("{error:#}")),
        }
    }

    fn stopped(&self, before: u64) -> Result<Outcome> {
        bail!(
            "somebody stopped {} meanwhile: it is not started again, and its next start runs version {before}",
            self.unit
        )
    }

    /// Goes back to the version before, as nobody knows whether the other one comes up.
    fn break_off(&self, watch: &mut Watch, before: u64, why: &str) -> Result<Outcome> {
        log::warn!("{why}: going back to version {before}");
        // Where that cannot be written a restart would run the same version again.
        self.service
            .change(|versions| Ok(versions.go_back(None, self.keep)))
            .with_context(|| why.to_owned())?;
        match self.go_back(watch) {
            Ok(None) => bail!("{why}: version {before} runs again"),
            Ok(Some(again)) => {
                bail!("{why}, and version {before} does not come up again: {again}")
            }
            Err(error) => bail!("{why}, and version {before} cannot be restarted: {error:#}"),
        }
    }

    /// Restarts the service with the version that is current again; why it does not come up.
    fn go_back(&self, watch: &mut Watch) -> Result<Option<String>> {
        let run = patiently(watch, |watch| watch.see())?;
        if watch.is_stopped() {
            return Ok(Some(format!("somebody stopped {}", self.unit)));
        }
        if !patiently(watch, |watch| watch.restart(Restart::Always))? {
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
            let seen = patiently(watch, |watch| {
                watch.pass(INTERVAL)?;
                self.observe(watch)
            })?;
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
            is_in_post: run.is_in_post,
            invocation: run.invocation,
            restarts: run.restarts,
            apps,
        })
    }

    /// The pod to tell of: the one that runs now, where `Restart=` has made another one.
    fn failed_pod(&self, staged: &str) -> String {
        match Running::find(self.pods, &self.service.name) {
            Ok(Some(running)) => running.found.uuid,
            Ok(None) => staged.to_owned(),
            // It is only told: the service is down, and going back comes first.
            Err(error) => {
                log::debug!("{error:#}");
                staged.to_owned()
            }
        }
    }
}

/// Does what needs systemd's answer, again and again on another connection where there is none.
/// An error is one that lasts.
fn patiently<T>(watch: &mut Watch, mut what: impl FnMut(&mut Watch) -> Result<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        match what(watch) {
            Err(error) if began.elapsed() < PATIENCE => log::debug!("{error:#}; trying again"),
            result => return result,
        }
        std::thread::sleep(INTERVAL);
        if let Err(error) = watch.renew() {
            log::debug!("{error:#}");
        }
    }
}

/// Whether a service in this `ActiveState` runs, or is to.
fn is_begun(active: &str) -> bool {
    matches!(active, "active" | "reloading" | "refreshing" | "activating")
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
                is_in_post: false,
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
