//! Becoming another program.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::signal::{SigHandler, Signal, signal};

/// Becomes `program` with the arguments `argv`, `argv[0]` first, and the variables of
/// `environment`. `SIGPIPE` ends it, as it ends what a shell runs: Rust's own programs ignore it.
///
/// By execve(2): what the standard library calls would have a shell run a file that is no
/// program.
///
/// # Errors
/// Where the kernel refuses.
pub fn execute(
    program: &Path,
    argv: &[OsString],
    environment: &[(OsString, OsString)],
) -> Result<Infallible> {
    let failed = || format!("cannot execute {}", program.display());
    let text = |text: &OsStr| CString::new(text.as_bytes());
    let path = text(program.as_os_str()).with_context(failed)?;
    let argv: Result<Vec<_>, _> = argv.iter().map(|word| text(word)).collect();
    let variables = environment.iter().map(|(name, value)| {
        let mut variable = name.clone();
        variable.push("=");
        variable.push(value);
        text(&variable)
    });
    let variables: Result<Vec<_>, _> = variables.collect();
    restore_sigpipe().with_context(failed)?;
    nix::unistd::execve(
        &path,
        &argv.with_context(failed)?,
        &variables.with_context(failed)?,
    )
    .with_context(failed)
}

#[allow(unsafe_code)]
fn restore_sigpipe() -> nix::Result<()> {
    // SAFETY: the default action runs no code of this process. No safe crate sets it.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(drop)
}
