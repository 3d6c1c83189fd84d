//! Whether a version that was switched to has come up: pure, fed with what is observed.
//!
//! It has where its unit became active within the time for it, and then ran on for a while: the
//! same run of the unit, and the same runs of all its apps. What `Restart=` starts again has
//! failed.

use std::fmt;
use std::time::Duration;

/// How long a version has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Until its unit is active (`UpdateTimeoutSec=`).
    pub timeout: Duration,
    /// How long it must run on then (`UpdateSettleSec=`).
    pub settle: Duration,
}

/// What is seen of the service at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// How the job that starts it stands.
    pub job: Job,
    /// Whether somebody else has asked systemd to stop the unit.
    pub is_stopped: bool,
    /// The unit's `ActiveState`.
    pub active: String,
    /// Whether the unit has started, and its `ExecStartPost=` runs.
    pub is_in_post: bool,
    /// The unit's `InvocationID`, which is another one for each run.
    pub invocation: Vec<u8>,
    /// The unit's `NRestarts`.
    pub restarts: u32,
    /// The unit's `Result`, and the exit code of its main process.
    pub end: String,
    /// The apps, in the order of the pod; none where no pod runs.
    pub apps: Vec<AppSeen>,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// It is queued or runs.
    Runs,
    /// It has ended with this result.
    Ended(String),
}

/// What is seen of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSeen {
    /// Its name.
    pub name: String,
    /// Its service's `ActiveState`.
    pub active: String,
    /// Its service's `NRestarts`.
    pub restarts: u32,
    /// Its service's `ExecMainStartTimestampMonotonic`, in microseconds.
    pub started: u64,
}

/// What comes of the trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has come up.
    Good,
    /// It has not.
    Bad(Failure),
    /// Somebody stopped the service meanwhile: nothing is known.
    Stopped,
}

/// How a version has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its unit did not start: the job's result, and how the unit ended.
    NotStarted(String, String),
    /// It was not ready in this time.
    NotReady(Duration),
    /// It was ready, and then ended: how.
    Ended(String),
    /// It was ready, ended, and was started again.
    Restarted,
    /// An app was ready, ended, and was started again or is to be.
    AppRestarted(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(job, end) if job == "failed" => {
                write!(f, "it failed before it was ready ({end})")
            }
            Self::NotStarted(job, _) => write!(f, "systemd could not start it ({job})"),
            Self::NotReady(time) => write!(f, "it was not ready within {time:?}"),
            Self::Ended(end) => write!(f, "it ended soon after it was ready ({end})"),
            Self::Restarted => write!(f, "it ended soon after it was ready, and was restarted"),
            Self::AppRestarted(app) => {
                write!(
                    f,
                    "its app {app} ended soon after it was ready, and was restarted"
                )
            }
        }
    }
}

/// The judge of one trial.
#[derive(Clone, Debug)]
pub struct Judge {
    bounds: Bounds,
    /// The `InvocationID` of the run that the restart ends.
    before: Vec<u8>,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Since when.
    Starting(Duration),
    /// Since when, and what it was then.
    Settling(Duration, Observation),
}

impl Judge {
    /// The trial begins at `now`, of a clock that never goes back, by a restart that ends the run
    /// of the `InvocationID` `before`.
    pub fn new(bounds: Bounds, before: Vec<u8>, now: Duration) -> Self {
        Self {
            bounds,
            before,
            phase: Phase::Starting(now),
        }
    }

    /// Takes in what is seen at `now`; the verdict, once there is one.
    pub fn observe(&mut self, now: Duration, seen: Observation) -> Option<Verdict> {
        if seen.is_stopped {
            return Some(Verdict::Stopped);
        }
        match &self.phase {
            Phase::Starting(since) => self.starting(now, *since, seen),
            Phase::Settling(since, before) => {
                let failure = failure(before, &seen);
                let is_over = now.saturating_sub(*since) >= self.bounds.settle;
                match failure {
                    Some(failure) => Some(Verdict::Bad(failure)),
                    None => is_over.then_some(Verdict::Good),
                }
            }
        }
    }

    fn starting(&mut self, now: Duration, since: Duration, seen: Observation) -> Option<Verdict> {
        let is_over = now.saturating_sub(since) >= self.bounds.timeout;
        let late = is_over.then_some(Verdict::Bad(Failure::NotReady(self.bounds.timeout)));
        match &seen.job {
            // The old run has bounds of its own to end in.
            Job::Runs if seen.active == "deactivating" && seen.invocation == self.before => {
                self.phase = Phase::Starting(now);
                return None;
            }
            // The version is up. What takes time now is the removal of the pod before it.
            Job::Runs if seen.is_in_post => return None,
            Job::Runs => return late,
            // Another job took its place: a stop, or a restart by hand, which is judged as well.
            Job::Ended(result) if result == "canceled" => match seen.active.as_str() {
                _ if seen.invocation == self.before => return Some(Verdict::Stopped),
                "active" | "reloading" => (),
                "activating" | "deactivating" => return late,
                _ => return Some(Verdict::Stopped),
            },
            Job::Ended(result) if result != "done" => {
                let failure = Failure::NotStarted(result.clone(), seen.end);
                return Some(Verdict::Bad(failure));
            }
            Job::Ended(_) => (),
        }
        match seen.active.as_str() {
            "active" | "reloading" => {
                self.phase = Phase::Settling(now, seen);
                self.bounds.settle.is_zero().then_some(Verdict::Good)
            }
            // Somebody stopped it right before the restart, which had nothing to do then.
            "inactive" | "failed" if seen.invocation == self.before => Some(Verdict::Stopped),
            // The job is done, so it was up.
            "inactive" | "failed" | "deactivating" => Some(Verdict::Bad(Failure::Ended(seen.end))),
            _ => Some(Verdict::Bad(Failure::Restarted)),
        }
    }
}

/// What has gone wrong since the service was ready.
fn failure(before: &Observation, seen: &Observation) -> Option<Failure> {
    let is_up = matches!(seen.active.as_str(), "active" | "reloading" | "refreshing");
    let is_same = before.invocation == seen.invocation && before.restarts == seen.restarts;
    match (is_up, is_same) {
        (_, false) => return Some(Failure::Restarted),
        (false, true) if seen.active == "activating" => return Some(Failure::Restarted),
        (false, true) => return Some(Failure::Ended(seen.end.clone())),
        (true, true) => (),
    }
    let restarted = seen.apps.iter().find(|app| {
        let one = before.apps.iter().find(|one| one.name == app.name);
        // One that has ended well is not missed while the unit is up, and one that waits for its
        // first connection may start.
        one.is_none_or(|one| {
            let was_up = matches!(one.active.as_str(), "active" | "reloading");
            one.restarts != app.restarts
                || was_up && (app.active == "activating" || one.started != app.started)
        })
    });
    restarted.map(|app| Failure::AppRestarted(app.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BOUNDS: Bounds = Bounds {
        timeout: Duration::from_secs(90),
        settle: Duration::from_secs(5),
    };

    fn seen(job: Job, active: &str) -> Observation {
        Observation {
            job,
            is_stopped: false,
            active: active.into(),
            is_in_post: false,
            invocation: vec![1],
            restarts: 0,
            end: "exit-code, code 1".into(),
            apps: vec![app("web", "active", 0, 7), app("db", "active", 2, 8)],
        }
    }

    fn app(name: &str, active: &str, restarts: u32, started: u64) -> AppSeen {
        AppSeen {
            name: name.into(),
            active: active.into(),
            restarts,
            started,
        }
    }

    fn done() -> Job {
        Job::Ended("done".into())
    }

    fn up() -> Observation {
        seen(done(), "active")
    }

    /// What is seen second by second; the verdict, and in which second it comes.
    fn judge(steps: impl IntoIterator<Item = Observation>) -> (u32, Option<Verdict>) {
        let mut judge = Judge::new(BOUNDS, vec![0], 100 * SECOND);
        let mut count = 0;
        for (second, step) in (0..).zip(steps) {
            count = second;
            if let Some(verdict) = judge.observe((100 + second) * SECOND, step) {
                return (second, Some(verdict));
            }
        }
        (count, None)
    }

    #[test]
    fn what_is_ready_and_runs_on_is_good() {
        let starting = seen(Job::Runs, "activating");
        let steps = [vec![starting; 3], vec![up(); 20]].concat();
        assert_eq!(judge(steps), (3 + 5, Some(Verdict::Good)));
        // A reload meanwhile is no failure.
        let mut steps = vec![up(); 20];
        steps[2].active = "reloading".into();
        assert_eq!(judge(steps), (5, Some(Verdict::Good)));
        assert_eq!(judge(vec![up(); 5]).1, None);
    }

    #[test]
    fn an_app_that_has_ended_well_is_not_missed() {
        let mut steps = vec![up(); 20];
        for step in &mut steps[2..] {
            step.apps[1].active = "inactive".into();
        }
        assert_eq!(judge(steps), (5, Some(Verdict::Good)));
        // Nor is one that its first connection starts restarted.
        let mut steps = vec![up(); 20];
        for (second, step) in steps.iter_mut().enumerate() {
            step.apps[1] = match second {
                0..2 => app("db", "inactive", 0, 0),
                2 => app("db", "activating", 0, 9),
                _ => app("db", "active", 0, 9),
            };
        }
        assert_eq!(judge(steps), (5, Some(Verdict::Good)));
    }

    #[test]
    fn what_is_never_ready_is_bad_in_time() {
        let (second, verdict) = judge(vec![seen(Job::Runs, "activating"); 200]);
        assert_eq!(second, 90);
        assert_eq!(verdict, Some(Verdict::Bad(Failure::NotReady(90 * SECOND))));
        // The time that the old one takes to stop does not count.
        let mut stopping = seen(Job::Runs, "deactivating");
        stopping.invocation = vec![0];
        let steps = [vec![stopping; 50], vec![seen(Job::Runs, "activating"); 200]];
        assert_eq!(judge(steps.concat()).0, 49 + 90);
        // Nor what is done once the new one has started.
        let mut post = seen(Job::Runs, "activating");
        post.is_in_post = true;
        let steps = [vec![post; 200], vec![up(); 10]];
        assert_eq!(judge(steps.concat()), (205, Some(Verdict::Good)));
    }

    #[test]
    fn every_failure_is_seen() {
        let changed = |change: fn(&mut Observation)| {
            let mut bad = up();
            change(&mut bad);
            vec![up(), up(), bad]
        };
        let end = || "exit-code, code 1".to_string();
        let failed = |result: &str| Failure::NotStarted(result.into(), end());
        for (steps, failure) in [
            (
                vec![seen(Job::Ended("failed".into()), "failed")],
                failed("failed"),
            ),
            (
                vec![seen(Job::Ended("dependency".into()), "inactive")],
                failed("dependency"),
            ),
            // systemd starts it again already.
            (
                vec![seen(Job::Ended("failed".into()), "activating")],
                failed("failed"),
            ),
            (vec![seen(done(), "failed")], Failure::Ended(end())),
            (vec![seen(done(), "activating")], Failure::Restarted),
            (
                changed(|bad| bad.active = "inactive".into()),
                Failure::Ended(end()),
            ),
            (
                changed(|bad| bad.active = "activating".into()),
                Failure::Restarted,
            ),
            (changed(|bad| bad.invocation = vec![2]), Failure::Restarted),
            (changed(|bad| bad.restarts = 1), Failure::Restarted),
            (
                changed(|bad| bad.apps[1].restarts = 3),
                Failure::AppRestarted("db".into()),
            ),
            (
                changed(|bad| bad.apps[0].started = 9),
                Failure::AppRestarted("web".into()),
            ),
            (
                changed(|bad| bad.apps[0].active = "activating".into()),
                Failure::AppRestarted("web".into()),
            ),
        ] {
            let (_, verdict) = judge(steps.clone());
            assert_eq!(verdict, Some(Verdict::Bad(failure)), "{steps:?}");
        }
    }

    #[test]
    fn who_stops_it_has_the_say() {
        let mut stopped = seen(Job::Runs, "deactivating");
        stopped.is_stopped = true;
        assert_eq!(judge([stopped.clone()]).1, Some(Verdict::Stopped));
        assert_eq!(judge([up(), stopped]).1, Some(Verdict::Stopped));
        let canceled = seen(Job::Ended("canceled".into()), "inactive");
        assert_eq!(judge([canceled]).1, Some(Verdict::Stopped));
        let mut before = seen(done(), "inactive");
        before.invocation = vec![0];
        assert_eq!(judge([before]).1, Some(Verdict::Stopped));
    }

    #[test]
    fn a_restart_by_hand_is_judged_as_well() {
        let canceled = |active| {
            let mut seen = seen(Job::Ended("canceled".into()), active);
            seen.invocation = vec![2];
            seen
        };
        let steps = ["deactivating", "activating"].map(canceled).to_vec();
        let steps = [steps, vec![canceled("active"); 20]].concat();
        assert_eq!(judge(steps), (2 + 5, Some(Verdict::Good)));
        let (second, verdict) = judge(vec![canceled("activating"); 200]);
        assert_eq!(second, 90);
        assert_eq!(verdict, Some(Verdict::Bad(Failure::NotReady(90 * SECOND))));
        // The old run was not restarted.
        let mut old = canceled("active");
        old.invocation = vec![0];
        assert_eq!(judge([old]).1, Some(Verdict::Stopped));
    }

    #[test]
    fn without_a_time_to_settle_readiness_is_enough() {
        let bounds = Bounds {
            settle: Duration::ZERO,
            ..BOUNDS
        };
        let mut judge = Judge::new(bounds, vec![0], SECOND);
        assert_eq!(judge.observe(SECOND, up()), Some(Verdict::Good));
    }

    #[test]
    fn failures_are_told_in_words() {
        for (failure, text) in [
            (
                Failure::NotStarted("failed".into(), "exit-code, code 3".into()),
                "it failed before it was ready (exit-code, code 3)",
            ),
            (
                Failure::NotReady(90 * SECOND),
                "it was not ready within 90s",
            ),
        ] {
            assert_eq!(failure.to_string(), text);
        }
    }
}
