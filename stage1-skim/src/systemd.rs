//! What skim asks of systemd, as a trait: [`crate::bus`] does it over D-Bus, tests record it.

use std::path::PathBuf;

use anyhow::Result;

/// The calls to systemd's manager that taking a pod down needs. Each waits until systemd says
/// that it is done.
pub trait Systemd {
    /// Stops a unit and waits for the end of the job. A unit that is not loaded is stopped.
    ///
    /// # Errors
    /// Where systemd does not answer or refuses.
    fn stop(&self, unit: &str) -> Result<()>;

    /// Sends `signal` to every process of a unit, those of the units within a slice included.
    /// A unit that is not loaded has none.
    ///
    /// # Errors
    /// Where systemd does not answer or refuses.
    fn kill(&self, unit: &str, signal: i32) -> Result<()>;

    /// Forgets that a unit has failed, so that it can be unloaded.
    ///
    /// # Errors
    /// Where systemd does not answer or refuses.
    fn reset_failed(&self, unit: &str) -> Result<()>;

    /// The control group that all its units are beneath (see [`crate::cgroup`]).
    ///
    /// # Errors
    /// Where systemd does not answer.
    fn control_group(&self) -> Result<PathBuf>;

    /// `systemctl daemon-reload`.
    ///
    /// # Errors
    /// Where systemd does not answer or refuses.
    fn reload(&self) -> Result<()>;
}

/// Whether systemd is this host's PID 1, as sd_booted(3) tells.
pub fn booted() -> bool {
    std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|meta| meta.is_dir())
}
