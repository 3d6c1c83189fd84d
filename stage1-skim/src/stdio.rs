//! The standard streams, which may be gone: closed, or read by nobody any more.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Prints `text` to standard output. A reader that has gone, such as `head`, has seen enough.
///
/// # Errors
/// Where it cannot be written, as on a full disk.
pub fn print(text: &str) -> Result<()> {
    print_bytes(text.as_bytes())
}

/// As [`print`], what may not be text.
///
/// # Errors
/// As [`print`].
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    tell_bytes(bytes).map(|_| ())
}

/// Prints `text` to standard output. Returns whether there is somebody to read it.
///
/// # Errors
/// As [`print`].
pub fn tell(text: &str) -> Result<bool> {
    tell_bytes(text.as_bytes())
}

fn tell_bytes(bytes: &[u8]) -> Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Prints a line to standard error, if that is still there: nobody else could be told.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

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
