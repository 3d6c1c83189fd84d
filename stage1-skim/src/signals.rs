//! Signals, as events.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN};
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

/// From now on neither Ctrl-Z nor a read of the terminal by somebody else of this process's group
/// stops this process. Its children are stopped as before; signals that the caller has made this
/// process ignore stay ignored, by the children too.
///
/// Not so SIGTTOU, which a terminal sends until nobody writes any more (`stty tostop`): this
/// process may write itself, and would do so for ever.
///
/// # Errors
/// Where the kernel refuses.
pub fn outlast_terminal_stops() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status");
    let ignored = ignored(&status.context("cannot read /proc/self/status")?);
    for signal in [SIGTSTP, SIGTTIN] {
        if ignored & (1 << (signal - 1)) != 0 {
            continue;
        }
        // A handler, as an ignored signal would be ignored by the children. Nobody reads the flag.
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .with_context(|| format!("cannot handle signal {signal}"))?;
    }
    Ok(())
}

/// The signals that a process ignores, the lowest bit being signal 1 (proc_pid_status(5),
/// `SigIgn`). Pure.
fn ignored(status: &str) -> u64 {
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read() {
        let status = "Name:\ta\nSigBlk:\tffff\nSigIgn:\t0000000000180001\nSigCgt:\t0\n";
        let expected = [SIGHUP, SIGTSTP, SIGTTIN];
        let expected = expected
            .iter()
            .fold(0, |mask, signal| mask | 1 << (signal - 1));
        assert_eq!(ignored(status), expected);
        assert_eq!(ignored("Name:\ta\n"), 0);
    }
}
