//! Where an image is made before it gets its name.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags, flock};
use rustix::io::Errno;
use stage1_skim::remove::remove_tree;

use super::directory;

/// A directory in `tmp`, locked while its maker lives.
#[derive(Debug)]
pub struct Staging<'a> {
    tmp: BorrowedFd<'a>,
    name: String,
    dir: OwnedFd,
}

impl<'a> Staging<'a> {
    /// Makes a directory of its own in `tmp`, after a sweep of what dead processes left there.
    pub fn new(tmp: BorrowedFd<'a>) -> Result<Self> {
        // Held while the directory is made and locked: a sweep in between would take it away.
        let _guard = lock(tmp).context("cannot lock the store's directory for imports")?;
        sweep(tmp).context("cannot remove what an earlier import left behind")?;
        let name = free_name(tmp).context("cannot create a directory for the import")?;
        let dir = directory::open(tmp, &name)?;
        flock(&dir, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("cannot lock {name:?}"))?;
        Ok(Self { tmp, name, dir })
    }

    /// The directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Removes the directory and all that is in it.
    pub fn discard(self) -> Result<()> {
        remove_tree(self.tmp, self.name.as_ref()).context("cannot clean up in the store")
    }
}

/// Moves what was made to its place; false where something stands there already.
pub fn publish(
    dir: BorrowedFd<'_>,
    name: &str,
    to: BorrowedFd<'_>,
    new_name: &str,
) -> Result<bool> {
    match rustix::fs::renameat_with(dir, name, to, new_name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot put the {name} at {new_name:?}")),
    }
}

/// Takes the lock on `tmp` itself, through a descriptor of its own: a lock belongs to the
/// open file, and threads share that of the store.
fn lock(tmp: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = rustix::fs::openat(tmp, ".", flags, Mode::empty())?;
    flock(&own, FlockOperation::LockExclusive)?;
    Ok(own)
}

/// Makes a directory under a name that is not in use.
fn free_name(tmp: BorrowedFd<'_>) -> Result<String> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        match rustix::fs::mkdirat(tmp, &*name, Mode::RWXU) {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => (),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes what nobody holds a lock on.
fn sweep(tmp: BorrowedFd<'_>) -> Result<()> {
    for name in directory::names(tmp)? {
        if is_abandoned(tmp, &name)? {
            log::info!("removing {name:?}, which an interrupted import left in the store");
            remove_tree(tmp, &name)?;
        }
    }
    Ok(())
}

/// Whether no process holds the lock on `name`. Whatever cannot be told is an error: to take
/// a directory away from a living import would be worse than to stop.
fn is_abandoned(tmp: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let context = || format!("cannot look at {name:?}");
    let fd = match rustix::fs::openat(tmp, name, flags, Mode::empty()) {
        // A symbolic link: not made by an import.
        Err(Errno::LOOP) => return Ok(true),
        // Published or discarded in the meantime.
        Err(Errno::NOENT) => return Ok(false),
        result => result.with_context(context)?,
    };
    match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error).with_context(context),
    }
}
