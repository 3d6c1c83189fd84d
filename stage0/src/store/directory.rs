//! Directories and small files beneath a descriptor, resolved without symbolic links.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the skim directory, whose path is canonical, and checks that nobody else may write
/// to it.
pub fn open_top(path: &Path) -> Result<OwnedFd> {
    let fd = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())
        .with_context(|| format!("cannot open {}", path.display()))?;
    check_owner(&fd, path.as_os_str())?;
    Ok(fd)
}

/// Opens the directory `name` beneath `parent`; makes it with `mode` if it is missing.
pub fn ensure(parent: BorrowedFd<'_>, name: &str, mode: u32) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => {
            let fd = open(parent, name)?;
            // mkdir(2) would subtract the umask.
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))
                .with_context(|| format!("cannot set the mode of {name:?}"))?;
            Ok(fd)
        }
        Err(Errno::EXIST) => {
            let fd = open(parent, name)?;
            check_owner(&fd, OsStr::new(name))?;
            widen(&fd, mode).with_context(|| format!("cannot set the mode of {name:?}"))?;
            Ok(fd)
        }
        Err(error) => Err(error).with_context(|| format!("cannot create {name:?}")),
    }
}

/// Adds what is missing of a mode: who made the directory may have been killed before.
fn widen(fd: &OwnedFd, mode: u32) -> Result<(), Errno> {
    let there = rustix::fs::fstat(fd)?.st_mode & 0o7777;
    match there & mode == mode {
        true => Ok(()),
        false => rustix::fs::fchmod(fd, Mode::from_raw_mode(there | mode)),
    }
}

/// Whoever may write here decides what runs as root.
fn check_owner(fd: &OwnedFd, name: &OsStr) -> Result<()> {
    let stat = rustix::fs::fstat(fd).with_context(|| format!("cannot look at {name:?}"))?;
    let trusted = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
    ensure!(
        trusted && stat.st_mode & 0o022 == 0,
        "{name:?} may be written to by others: its owner must be root, and only the owner may write (chown 0, chmod go-w)"
    );
    Ok(())
}

/// Opens a directory beneath `parent`.
pub fn open(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    open_beneath(parent, name, DIRECTORY).with_context(|| format!("cannot open {name:?}"))
}

/// Opens a file beneath `parent` for reading.
pub fn open_file(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    open_beneath(parent, name, flags)
}

fn open_beneath(parent: BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve)
}

/// The names in a directory, without `.` and `..`.
pub fn names(dir: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Reads a file of at most `limit` bytes; `None` where there is none.
pub fn read(parent: BorrowedFd<'_>, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let file = match open_file(parent, name) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot open {name:?}")),
    };
    let mut content = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut content)
        .with_context(|| format!("cannot read {name:?}"))?;
    ensure!(
        content.len() as u64 <= limit,
        "{name:?} has more than {limit} bytes"
    );
    Ok(Some(content))
}

/// Writes a file, a new one or over an old one, with mode 0644.
pub fn write(parent: BorrowedFd<'_>, name: &str, content: &[u8]) -> Result<()> {
    write_with(parent, name, content, 0o644)
}

/// As [`write`], for its owner alone to read.
pub fn write_private(parent: BorrowedFd<'_>, name: &str, content: &[u8]) -> Result<()> {
    write_with(parent, name, content, 0o600)
}

fn write_with(parent: BorrowedFd<'_>, name: &str, content: &[u8], mode: u32) -> Result<()> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let write = || -> Result<()> {
        let fd = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
        File::from(fd).write_all(content)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {name:?}"))
}

/// Reads a file that must be there.
pub fn required(parent: BorrowedFd<'_>, name: &str, limit: u64) -> Result<Vec<u8>> {
    read(parent, name, limit)?.with_context(|| format!("the file {name:?} is missing"))
}

/// Puts a private file in the place of an older one, in one step and for good. One process at a time may
/// do so in a directory.
pub fn replace(parent: BorrowedFd<'_>, name: &str, content: &[u8]) -> Result<()> {
    let new = format!(".{name}.new");
    write_private(parent, &new, content)?;
    let replace = || -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::fsync(rustix::fs::openat(parent, &*new, flags, Mode::empty())?)?;
        rustix::fs::renameat(parent, &*new, parent, name)?;
        Ok(rustix::fs::fsync(parent)?)
    };
    replace().with_context(|| format!("cannot replace {name:?}"))
}
