//! Garbage collection: a pure plan of what to take away, and the taking away.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use stage1_skim::bus::BlockingBus;
use stage1_skim::gc;
use stage1_skim::names::PodUnits;
use stage1_skim::systemd::Systemd;
use stage1_skim::write::UnitDirectory;

use crate::host::Host;
use crate::pod::directory::{Found, LockedPod, Pods};
use crate::pod::state::{Stage, State};

/// What is to be done with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take its traces off the host, and keep its directory for the grace period.
    Mark,
    /// Take everything away.
    Remove,
}

/// What gc spares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long an exited pod's directory stays after it was marked.
    pub grace_period: Duration,
    /// How long a prepared pod may wait to be run.
    pub expire_prepared: Duration,
    /// Only mark what has exited, and remove nothing.
    pub mark_only: bool,
}

/// What is to be done with a pod: `None` where it stays. Pure.
///
/// `moved` is when the pod came to the directory that it is in: the grace period of an exited
/// pod counts from when it was marked, the age of a prepared one from when it was prepared. What
/// never ran has no grace period.
pub fn action(
    state: State,
    moved: Option<SystemTime>,
    rules: &Rules,
    now: SystemTime,
) -> Option<Action> {
    // What is said to be of the future is not over, but without a period it is.
    let is_over = |period: Duration| {
        let age = moved.map(|moved| now.duration_since(moved));
        period.is_zero() || age.is_none_or(|age| age.is_ok_and(|age| age >= period))
    };
    if rules.mark_only {
        return (state == State::Exited).then_some(Action::Mark);
    }
    match state {
        State::Exited if rules.grace_period.is_zero() => Some(Action::Remove),
        State::Exited => Some(Action::Mark),
        State::ExitedGarbage => is_over(rules.grace_period).then_some(Action::Remove),
        State::Prepared => is_over(rules.expire_prepared).then_some(Action::Remove),
        State::Embryo | State::AbortedPrepare | State::Garbage => Some(Action::Remove),
        State::Preparing | State::Running | State::ExitedDeleting | State::Deleting => None,
    }
}

/// When a pod came to the directory that it is in: that move set its own directory's ctime.
pub fn moved_at(found: &Found) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    let seconds = std::fs::symlink_metadata(&found.path).ok()?.ctime();
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Takes pods away, a batch of any size with one daemon-reload.
pub struct Collector<'a> {
    pods: &'a Pods,
    units: UnitDirectory,
    bus: BlockingBus,
    changed: bool,
}

impl<'a> Collector<'a> {
    /// Connects to systemd.
    ///
    /// # Errors
    /// Where it is out of reach.
    pub fn new(pods: &'a Pods, host: &Host) -> Result<Self> {
        let manager = host.manager()?;
        manager.check_running()?;
        Ok(Self {
            pods,
            units: UnitDirectory::open(&manager)?,
            bus: BlockingBus::connect(&manager)?,
            changed: false,
        })
    }

    /// Does `action` with a pod whose lock is held.
    ///
    /// # Errors
    /// Where something of the pod is still in use: then what is left stays for the next time.
    pub fn apply(&mut self, mut pod: LockedPod, action: Action) -> Result<()> {
        let names = PodUnits::new(&pod.uuid);
        let had_units = gc::collect(&pod.path, &names, &self.units, &self.bus)?;
        self.changed |= had_units;
        match (action, pod.stage) {
            (Action::Mark, _) => self.pods.move_to(&mut pod, Stage::ExitedGarbage),
            (Action::Remove, Stage::Run | Stage::ExitedGarbage) => {
                if pod.stage == Stage::Run {
                    self.pods.move_to(&mut pod, Stage::ExitedGarbage)?;
                }
                self.pods.delete(&pod)
            }
            (Action::Remove, _) => {
                if pod.stage != Stage::Garbage {
                    self.pods.move_to(&mut pod, Stage::Garbage)?;
                }
                self.pods.delete(&pod)
            }
        }
    }

    /// Tells systemd of the unit files that are gone, the root slice's among them where no pod
    /// is left.
    ///
    /// # Errors
    /// Where systemd refuses.
    pub fn finish(self) -> Result<()> {
        if !self.pods.exist() {
            return Ok(());
        }
        // Whoever removed the last pod may have been killed before it came to this.
        let _lock = self.pods.lock_exclusively()?;
        let is_last = self.units.remove_root_slice()?;
        if self.changed || is_last {
            self.bus.reload()?;
        }
        Ok(())
    }
}

/// Undoes a pod that was being made, when its making failed.
///
/// # Errors
/// Where a mount or the directory cannot be taken away.
pub fn undo(pods: &Pods, pod: &LockedPod) -> Result<()> {
    stage1_skim::mounts::unmount_beneath(&pod.path)?;
    pods.delete(pod)
}

/// Takes a pod away that stage1 has begun to start, and that did not come up.
///
/// # Errors
/// As [`Collector::apply`].
pub fn withdraw(pods: &Pods, pod: LockedPod, host: &Host) -> Result<()> {
    let mut collector = Collector::new(pods, host)?;
    collector.apply(pod, Action::Remove)?;
    collector.finish()
}

/// Says that a failed pod could not be taken away, which must not hide why it failed.
pub fn report(outcome: Result<()>) {
    if let Err(error) = outcome {
        log::error!("cannot remove the pod: {error:#}; skim gc will try again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// What is done with a pod that was moved a half, one and a half, two and a half hours ago,
    /// and an hour from now on, by these rules.
    fn actions(state: State, rules: &Rules) -> [Option<Action>; 4] {
        let now = SystemTime::UNIX_EPOCH + 1000 * HOUR;
        let moved = [
            now - HOUR / 2,
            now - HOUR * 3 / 2,
            now - HOUR * 5 / 2,
            now + HOUR,
        ];
        moved.map(|moved| action(state, Some(moved), rules, now))
    }

    #[test]
    fn every_state_by_every_rule() {
        const MARK: Option<Action> = Some(Action::Mark);
        const REMOVE: Option<Action> = Some(Action::Remove);
        let graceful = Rules {
            grace_period: HOUR,
            expire_prepared: 2 * HOUR,
            mark_only: false,
        };
        let at_once = Rules {
            grace_period: Duration::ZERO,
            expire_prepared: Duration::ZERO,
            mark_only: false,
        };
        // The state; what is done by the periods above, and without them.
        for (state, by_period, at_once_too) in [
            (State::Embryo, [REMOVE; 4], REMOVE),
            (State::Preparing, [None; 4], None),
            (State::AbortedPrepare, [REMOVE; 4], REMOVE),
            (State::Prepared, [None, None, REMOVE, None], REMOVE),
            (State::Running, [None; 4], None),
            (State::Exited, [MARK; 4], REMOVE),
            (State::ExitedGarbage, [None, REMOVE, REMOVE, None], REMOVE),
            (State::ExitedDeleting, [None; 4], None),
            (State::Garbage, [REMOVE; 4], REMOVE),
            (State::Deleting, [None; 4], None),
        ] {
            assert_eq!(actions(state, &graceful), by_period, "{state}");
            assert_eq!(actions(state, &at_once), [at_once_too; 4], "{state}");
            let is_exited = state == State::Exited;
            for rules in [graceful, at_once] {
                let rules = Rules {
                    mark_only: true,
                    ..rules
                };
                let marked = if is_exited { MARK } else { None };
                assert_eq!(actions(state, &rules), [marked; 4], "{state}");
            }
        }
    }

    #[test]
    fn the_move_of_a_pod_sets_the_time_that_counts() {
        let root = tempfile::tempdir().unwrap();
        let pods = Pods::new(root.path());
        let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        let mut pod = pods.create(uuid).unwrap();
        let before = SystemTime::now() - Duration::from_secs(2);
        pods.move_to(&mut pod, Stage::Prepared).unwrap();
        let moved = moved_at(&pods.find(uuid).unwrap()).unwrap();
        assert!(moved >= before && moved <= SystemTime::now() + Duration::from_secs(2));
    }
}
