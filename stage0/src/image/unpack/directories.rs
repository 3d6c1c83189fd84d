//! The directories of an image, whose times can only be set when all is unpacked.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The directories that were unpacked, and their times.
#[derive(Debug)]
pub struct Directories {
    /// By path from the root, which itself is the empty path.
    known: HashMap<Vec<u8>, Directory>,
    name_bytes: usize,
    most_name_bytes: usize,
}

/// A directory that was unpacked.
#[derive(Debug)]
struct Directory {
    mtime: Timespec,
    /// Made for what is beneath it; the archive may still describe it.
    implied: bool,
}

impl Directories {
    /// None yet; their names may have `most_name_bytes` together.
    pub(super) fn new(most_name_bytes: usize) -> Self {
        Self {
            known: HashMap::new(),
            name_bytes: 0,
            most_name_bytes,
        }
    }

    /// Whether the archive described the root.
    pub fn has_root(&self) -> bool {
        self.known.contains_key(&b""[..])
    }

    /// Whether the directory exists, but was not described by an entry.
    pub(super) fn is_implied(&self, path: &[u8]) -> bool {
        self.known.get(path).is_some_and(|known| known.implied)
    }

    /// Notes a directory that an entry describes.
    pub(super) fn describe(&mut self, path: &[u8], mtime: Timespec) -> Result<()> {
        let twice = self.known.get(path).is_some_and(|known| !known.implied);
        ensure!(
            !twice,
            "duplicate entry: the directory was described before"
        );
        self.insert(
            path,
            Directory {
                mtime,
                implied: false,
            },
        )
    }

    fn insert(&mut self, path: &[u8], directory: Directory) -> Result<()> {
        if self.known.insert(path.to_vec(), directory).is_none() {
            self.name_bytes += path.len();
        }
        ensure!(
            self.name_bytes <= self.most_name_bytes,
            "the names of all directories have more than {} bytes together",
            self.most_name_bytes
        );
        Ok(())
    }

    /// Makes the directory at `path` and all that is missing above it, owned by root.
    pub(super) fn make_implied(&mut self, root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
        let mut at = open(root, b"").context("cannot open the root")?;
        let mut end = 0;
        for component in path.split(|byte| *byte == b'/') {
            end += component.len();
            at = match open(at.as_fd(), component) {
                Err(Errno::NOENT) => {
                    let made = make(at.as_fd(), component)?;
                    // The time is fixed, so that one archive always makes the same tree.
                    let mtime = Timespec {
                        tv_sec: 0,
                        tv_nsec: 0,
                    };
                    self.insert(
                        &path[..end],
                        Directory {
                            mtime,
                            implied: true,
                        },
                    )?;
                    made
                }
                result => result.context("cannot open a directory above it")?,
            };
            end += 1;
        }
        Ok(at)
    }

    /// Sets the times of all directories beneath `root`, which nothing may change any more.
    pub fn set_times(&self, root: BorrowedFd<'_>) -> Result<()> {
        for (path, directory) in &self.known {
            let context = || format!("cannot set the time of \"rootfs/{}\"", path.escape_ascii());
            let fd = open(root, path).with_context(context)?;
            rustix::fs::futimens(&fd, &timestamps(directory.mtime)).with_context(context)?;
        }
        Ok(())
    }
}

/// Both times of a file: the time of last access is as good as the archive's other one.
pub fn timestamps(mtime: Timespec) -> Timestamps {
    Timestamps {
        last_access: mtime,
        last_modification: mtime,
    }
}

/// Opens a directory beneath another without symbolic links; the empty path is `beneath`.
pub fn open(beneath: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(
        beneath,
        OsStr::from_bytes(path),
        flags,
        Mode::empty(),
        resolve,
    )
}

/// Makes a directory with the usual mode, whatever the process's umask.
fn make(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let context = "cannot create a directory above it";
    rustix::fs::mkdirat(parent, OsStr::from_bytes(name), Mode::RWXU).context(context)?;
    let made = open(parent, name).context(context)?;
    rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).context(context)?;
    Ok(made)
}
