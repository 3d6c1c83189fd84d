//! The entrypoint `stop`: stops a pod's scope, and with it its apps.

use anyhow::Result;

use crate::cgroup;
use crate::names::PodUnits;
use crate::signals;
use crate::systemd::Systemd;

/// Stops the pod and waits until it has stopped: systemd stops the apps in the reverse of the
/// order in which they started, then the holder. With `force` every process of the pod is
/// killed first.
///
/// # Errors
/// Where systemd refuses.
pub fn stop(units: &PodUnits, systemd: &impl Systemd, force: bool) -> Result<()> {
    if force {
        systemd.kill(&units.slice(), signals::KILL)?;
    }
    systemd.stop(&units.scope())?;
    // It goes by itself, but only after its last unit did.
    systemd.stop(&units.slice())?;
    if force {
        // What outlived its unit, as it may by `KillMode=process`.
        cgroup::kill(&systemd.control_group()?, &units.slice())?;
    }
    Ok(())
}
