//! The entrypoint `gc`: takes a pod's traces off the host. What is left is the pod's directory.

use std::fmt;
use std::path::Path;

use anyhow::{Result, ensure};
use rustix::fs::FlockOperation;

use crate::names::PodUnits;
use crate::pod_dir::{PodDir, lock_all_pods};
use crate::scope::Manager;
use crate::systemd::Systemd;
use crate::write::UnitDirectory;
use crate::{cgroup, mounts, stop};

/// Why a pod that has exited stays: these processes of it live on, as `KillMode=process` means
/// them to.
#[derive(Debug)]
pub struct ProcessesLiveOn(Vec<String>);

impl fmt::Display for ProcessesLiveOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "processes of the pod live on ({}): end them, or use skim stop --force",
            self.0.join(", ")
        )
    }
}

impl std::error::Error for ProcessesLiveOn {}

/// Stops what is left of the pod, removes its unit files, and unmounts its overlays. Each step
/// finds nothing to do where it was done before, so that it can be repeated after a crash.
///
/// Returns whether there were unit files: then systemd has to be told by a daemon-reload, one
/// for a batch of any size.
///
/// # Errors
/// [`ProcessesLiveOn`] where a process of the pod does; or where a mount is in use: then the pod's directory must stay.
pub fn collect(
    directory: &Path,
    units: &PodUnits,
    unit_directory: &UnitDirectory,
    systemd: &impl Systemd,
) -> Result<bool> {
    let files = unit_directory.of_pod(units)?;
    if !files.is_empty() {
        stop::stop(units, systemd, false)?;
        // Sockets first: they start their apps.
        let sockets = files.iter().filter(|name| name.ends_with(".socket"));
        let services = files.iter().filter(|name| units.app_of(name).is_some());
        for unit in sockets.chain(services) {
            systemd.stop(unit)?;
            systemd.reset_failed(unit)?;
        }
    }
    let left = cgroup::processes(&systemd.control_group()?, &units.slice())?;
    ensure!(left.is_empty(), ProcessesLiveOn(left));
    mounts::unmount_beneath(directory)?;
    unit_directory.remove(&files)?;
    Ok(!files.is_empty())
}

/// [`collect`] for one pod by itself: the slice above all pods goes, too, if it was the last,
/// and systemd is told.
///
/// # Errors
/// As [`collect`].
pub fn collect_alone(pod: &PodDir, systemd: &impl Systemd) -> Result<()> {
    let unit_directory = UnitDirectory::open(&Manager::of_caller(pod.plan.scope)?)?;
    collect(&pod.path, &pod.units, &unit_directory, systemd)?;
    let lock = lock_all_pods(&pod.path, FlockOperation::LockExclusive)?;
    unit_directory.remove_root_slice()?;
    drop(lock);
    systemd.reload()
}
