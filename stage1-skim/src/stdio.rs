//! The standard streams of a process that goes into the background.

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Points standard input, output and error at /dev/null, so that whoever waits for their end
/// sees it.
///
/// # Errors
/// Where /dev/null cannot be opened.
pub fn release() -> Result<()> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .context("cannot open /dev/null")?;
    dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null))
        .context("cannot let go of the standard streams")
}
