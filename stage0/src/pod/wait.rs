//! Waiting for a pod to come as far as somebody wants it to.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use stage1_skim::names;

use super::directory::{Found, Pods};
use super::state::State;

/// How often a pod is looked at, as rkt does. Whoever ends a pod may be killed, so that nothing
/// else than its lock tells.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Its holder has begun to work.
    Started,
    /// All apps are up.
    Ready,
    /// It has exited, or will never run.
    Exited,
}

/// How a pod stands to a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has come so far.
    Reached,
    /// It may yet.
    Waiting,
    /// It never will.
    Missed,
}

/// How a pod stands to a goal, by its state and whether the file that tells of the goal is
/// there. Pure.
pub fn standing(goal: Goal, state: State, is_told: bool) -> Standing {
    use State::{Embryo, Prepared, Preparing, Running};
    let is_over = !matches!(state, Embryo | Preparing | Prepared | Running);
    match goal {
        Goal::Exited if is_over => Standing::Reached,
        Goal::Exited => Standing::Waiting,
        // What is of yesterday does not start any more.
        Goal::Started if state != Running => Standing::Missed,
        Goal::Started | Goal::Ready if is_told => Standing::Reached,
        Goal::Ready if is_over => Standing::Missed,
        Goal::Started | Goal::Ready => Standing::Waiting,
    }
}

/// Waits until the pod has reached the goal, at the longest until `deadline`. Returns the pod as
/// it was found then.
///
/// # Errors
/// Where it will never reach it, is gone, or the time is over.
pub fn wait(pods: &Pods, uuid: &str, goal: Goal, deadline: Option<Instant>) -> Result<Found> {
    loop {
        let Some(found) = pods.look(uuid)? else {
            bail!("pod {uuid} was removed while it was waited for");
        };
        let is_told = match goal {
            Goal::Started => found.path.join(names::PID_FILE).exists(),
            Goal::Ready => found.path.join(names::READY_FILE).exists(),
            Goal::Exited => false,
        };
        match standing(goal, found.state, is_told) {
            Standing::Reached => return Ok(found),
            Standing::Missed => bail!("pod {uuid} is {}: {}", found.state, missed(goal)),
            Standing::Waiting => (),
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match left {
            Some(Duration::ZERO) => bail!(
                "pod {uuid} is {}, and {} in the time given",
                found.state,
                match goal {
                    Goal::Started => "has not started",
                    Goal::Ready => "was not ready",
                    Goal::Exited => "has not exited",
                }
            ),
            left => sleep(left.map_or(INTERVAL, |left| left.min(INTERVAL))),
        }
    }
}

fn missed(goal: Goal) -> &'static str {
    match goal {
        Goal::Started => "it does not run",
        Goal::Ready => "it was never ready",
        Goal::Exited => "it will not exit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::state::Stage;

    const A: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

    #[test]
    fn every_state_stands_to_every_goal() {
        use Standing::{Missed, Reached, Waiting};
        use State::{
            AbortedPrepare, Deleting, Embryo, Exited, ExitedDeleting, ExitedGarbage, Garbage,
            Prepared, Preparing, Running,
        };
        // The state, then: started, ready and exited, first without the file, then with it.
        let cases = [
            (Embryo, [Missed, Waiting, Waiting], [Missed, Reached]),
            (Preparing, [Missed, Waiting, Waiting], [Missed, Reached]),
            (Prepared, [Missed, Waiting, Waiting], [Missed, Reached]),
            (Running, [Waiting, Waiting, Waiting], [Reached, Reached]),
            (Exited, [Missed, Missed, Reached], [Missed, Reached]),
            (ExitedGarbage, [Missed, Missed, Reached], [Missed, Reached]),
            (ExitedDeleting, [Missed, Missed, Reached], [Missed, Reached]),
            (AbortedPrepare, [Missed, Missed, Reached], [Missed, Reached]),
            (Garbage, [Missed, Missed, Reached], [Missed, Reached]),
            (Deleting, [Missed, Missed, Reached], [Missed, Reached]),
        ];
        for (state, without, with) in cases {
            let goals = [Goal::Started, Goal::Ready, Goal::Exited];
            assert_eq!(
                goals.map(|goal| standing(goal, state, false)),
                without,
                "{state}"
            );
            let goals = [Goal::Started, Goal::Ready];
            assert_eq!(
                goals.map(|goal| standing(goal, state, true)),
                with,
                "{state}"
            );
        }
    }

    #[test]
    fn a_wait_ends_with_the_lock_with_the_file_or_with_the_time() {
        let root = tempfile::tempdir().unwrap();
        let pods = Pods::new(root.path());
        let mut pod = pods.create(A).unwrap();
        pods.move_to(&mut pod, Stage::Run).unwrap();
        let soon = || Some(Instant::now() + Duration::from_millis(5));
        for (goal, says) in [
            (Goal::Started, "has not started"),
            (Goal::Ready, "was not ready"),
            (Goal::Exited, "has not exited"),
        ] {
            let error = format!("{:#}", wait(&pods, A, goal, soon()).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
        std::fs::write(pod.path.join(names::READY_FILE), "").unwrap();
        wait(&pods, A, Goal::Ready, soon()).unwrap();
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(&pods, A, Goal::Exited, None));
            drop(pod);
            waiting.join().unwrap()
        });
        assert_eq!(waiting.unwrap().state, State::Exited);
        let error = wait(&pods, A, Goal::Started, None).unwrap_err();
        assert!(error.to_string().contains("is exited"), "{error}");
        let pod = pods.try_lock(&pods.find(A).unwrap()).unwrap().unwrap();
        pods.delete(&pod).unwrap();
        let error = wait(&pods, A, Goal::Exited, None).unwrap_err();
        assert!(error.to_string().contains("was removed"), "{error}");
    }
}
