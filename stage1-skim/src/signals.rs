//! Signals, as events.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// `SIGTERM`: what systemd sends to the holder when the pod's scope stops.
pub const TERMINATE: i32 = SIGTERM;

/// `SIGKILL`.
pub const KILL: i32 = SIGKILL;

/// From now on calls `notify` with each signal that asks this process to end, on a thread of its
/// own, instead of ending.
///
/// # Errors
/// Where the kernel refuses.
pub fn watch(notify: impl Fn(i32) + Send + 'static) -> Result<()> {
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).context("cannot watch for signals")?;
    std::thread::Builder::new()
        .name("signals".to_string())
        .spawn(move || signals.forever().for_each(notify))
        .context("cannot start a thread")?;
    Ok(())
}
