//! The entrypoint `gc`: takes a pod's traces off the host. What is left is the pod's directory.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::names::PodUnits;
use crate::pod_dir::PodDir;
use crate::systemd::Systemd;
use crate::write::UnitDirectory;
use crate::{cgroup, mounts, stop};

/// Stops what is left of the pod, removes its unit files, and unmounts its overlays. Each step
/// finds nothing to do where it was done before, so that it can be repeated after a crash.
///
/// systemd still has to be told by a daemon-reload; a batch of pods needs one only.
///
/// # Errors
/// Where a process of the pod lives on (`KillMode=process` leaves some on purpose), or a mount
/// is in use: then the pod's directory must stay.
pub fn collect(
    directory: &Path,
    units: &PodUnits,
    services: &[String],
    unit_directory: &UnitDirectory,
    systemd: &impl Systemd,
) -> Result<()> {
    stop::stop(units, systemd, false)?;
    for service in services {
        systemd.stop(service)?;
        systemd.reset_failed(service)?;
    }
    let left = cgroup::processes(&units.slice())?;
    ensure!(
        left.is_empty(),
        "processes of the pod live on ({}): end them, or use skim stop --force",
        left.join(", ")
    );
    mounts::unmount_beneath(directory)?;
    let mut files = services.to_vec();
    files.push(units.slice());
    unit_directory.remove(&files)
}

/// [`collect`] for a pod whose plan can be read.
///
/// # Errors
/// As [`collect`].
pub fn collect_pod(
    pod: &PodDir,
    unit_directory: &UnitDirectory,
    systemd: &impl Systemd,
) -> Result<()> {
    collect(
        &pod.path,
        &pod.units,
        &pod.services(),
        unit_directory,
        systemd,
    )
}
