//! Garbage collection: a pure plan of what to take away, and the taking away.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use stage1_skim::bus::BlockingBus;
use stage1_skim::gc;
use stage1_skim::names::PodUnits;
use stage1_skim::systemd::Systemd;
use stage1_skim::write::UnitDirectory;

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

/// What is to be done with a pod: `None` where it stays. Pure.
///
/// `marked` is when an exited pod was marked; the grace period counts from there. What never ran
/// has no grace period.
pub fn action(
    state: State,
    marked: Option<SystemTime>,
    grace: Duration,
    now: SystemTime,
) -> Option<Action> {
    let is_over = |since: SystemTime| now.duration_since(since).is_ok_and(|age| age >= grace);
    match state {
        State::Exited if grace.is_zero() => Some(Action::Remove),
        State::Exited => Some(Action::Mark),
        State::ExitedGarbage if grace.is_zero() || marked.is_none_or(is_over) => {
            Some(Action::Remove)
        }
        State::Embryo | State::AbortedPrepare | State::Garbage => Some(Action::Remove),
        _ => None,
    }
}

/// When a pod was marked: moving its directory set its ctime.
pub fn marked_at(found: &Found) -> Option<SystemTime> {
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
    pub fn new(pods: &'a Pods) -> Result<Self> {
        Ok(Self {
            pods,
            units: UnitDirectory::open()?,
            bus: BlockingBus::connect()?,
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
pub fn withdraw(pods: &Pods, pod: LockedPod) -> Result<()> {
    let mut collector = Collector::new(pods)?;
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

    #[test]
    fn exited_pods_are_marked_and_removed_after_the_grace_period() {
        let now = SystemTime::now();
        let marked = |age| Some(now - age);
        let at = |state, marked| action(state, marked, HOUR, now);
        assert_eq!(at(State::Exited, None), Some(Action::Mark));
        assert_eq!(at(State::ExitedGarbage, marked(HOUR / 2)), None);
        assert_eq!(
            at(State::ExitedGarbage, marked(HOUR * 2)),
            Some(Action::Remove)
        );
        assert_eq!(
            action(State::Exited, None, Duration::ZERO, now),
            Some(Action::Remove)
        );
        let future = Some(now + HOUR);
        assert_eq!(
            action(State::ExitedGarbage, future, Duration::ZERO, now),
            Some(Action::Remove)
        );
    }

    #[test]
    fn what_lives_or_waits_stays() {
        let now = SystemTime::now();
        for state in [
            State::Running,
            State::Preparing,
            State::Prepared,
            State::Deleting,
            State::ExitedDeleting,
        ] {
            assert_eq!(action(state, Some(now - HOUR), Duration::ZERO, now), None);
        }
        for state in [State::Embryo, State::AbortedPrepare, State::Garbage] {
            assert_eq!(action(state, Some(now), HOUR, now), Some(Action::Remove));
        }
    }
}
