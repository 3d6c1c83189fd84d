//! The entrypoint `gc`: takes a pod's traces off the host. What is left is the pod's directory.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::names::PodUnits;
use crate::systemd::Systemd;
use crate::write::UnitDirectory;
use crate::{cgroup, mounts, stop};

/// Stops what is left of the pod, removes its unit files, and unmounts its overlays. Each step
/// finds nothing to do where it was done before, so that it can be repeated after a crash.
///
/// Returns whether there were unit files: then systemd has to be told by a daemon-reload, one
/// for a batch of any size.
///
/// # Errors
/// Where a process of the pod lives on (`KillMode=process` leaves some on purpose), or a mount
/// is in use: then the pod's directory must stay.
pub fn collect(
    directory: &Path,
    units: &PodUnits,
    unit_directory: &UnitDirectory,
    systemd: &impl Systemd,
) -> Result<bool> {
    let files = unit_directory.of_pod(units)?;
    if !files.is_empty() {
        stop::stop(units, systemd, false)?;
        for service in files.iter().filter(|name| units.app_of(name).is_some()) {
            systemd.stop(service)?;
            systemd.reset_failed(service)?;
        }
    }
    let left = cgroup::processes(&units.slice())?;
    ensure!(
        left.is_empty(),
        "processes of the pod live on ({}): end them, or use skim stop --force",
        left.join(", ")
    );
    mounts::unmount_beneath(directory)?;
    unit_directory.remove(&files)?;
    Ok(!files.is_empty())
}
