//! The store's lock: images come and are used side by side, but are taken away alone.

use std::os::fd::{BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};

/// The file that is locked.
const LOCK: &str = "lock";

/// Keeps the store as it is held, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    // flock(2) locks go with their descriptor.
    _file: OwnedFd,
}

/// Waits until nobody takes anything away; until the hold is dropped, nothing that is in the
/// store goes.
///
/// # Errors
/// Where the lock cannot be taken.
pub fn share(images: BorrowedFd<'_>) -> Result<Hold> {
    take(images, FlockOperation::LockShared)
}

/// Waits until nobody brings or uses an image.
///
/// # Errors
/// Where the lock cannot be taken.
pub fn exclude(images: BorrowedFd<'_>) -> Result<Hold> {
    take(images, FlockOperation::LockExclusive)
}

fn take(images: BorrowedFd<'_>, operation: FlockOperation) -> Result<Hold> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let lock = || -> rustix::io::Result<OwnedFd> {
        let file = rustix::fs::openat(images, LOCK, flags, mode)?;
        rustix::io::retry_on_intr(|| flock(&file, operation))?;
        Ok(file)
    };
    let _file = lock().context("cannot lock the store")?;
    Ok(Hold { _file })
}
