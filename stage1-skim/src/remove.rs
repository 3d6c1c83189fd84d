//! Removal of a whole directory tree beneath a directory descriptor.
//!
//! What stands in a pod's or an image's tree was made by others. So nothing here follows a
//! symbolic link, and nothing crosses into another mount: a bind mount that was forgotten in a
//! pod must not cost the host the files behind it. The number of open descriptors is bounded:
//! a directory that lies deeper than [`MAX_DEPTH`] is moved up beneath the top and emptied from
//! there.

use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

/// How many directories are held open below the top.
const MAX_DEPTH: usize = 64;

/// Removes `name` beneath `parent`, and everything below it; a missing `name` is no error.
///
/// Stops at the first entry that cannot be removed, a mount point above all.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    ensure!(
        !name.is_empty() && name != "." && name != ".." && !name.as_bytes().contains(&b'/'),
        "cannot remove {name:?}: it is not the name of a directory entry"
    );
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => (),
        Err(error) => return Err(error).with_context(|| format!("cannot remove {name:?}")),
    }
    let top = open_directory(parent, name, Path::new(name))?;
    let mut removal = Removal {
        top: top.as_fd(),
        moved: 0,
    };
    removal.empty(top.as_fd(), &mut PathBuf::from(name), 0)?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
        .with_context(|| format!("cannot remove {name:?}"))
}

/// A removal under way.
struct Removal<'a> {
    /// The tree's top, where directories that lie too deep are moved to.
    top: BorrowedFd<'a>,
    /// How many were moved, for their names.
    moved: u64,
}

impl Removal<'_> {
    /// Removes all that is in `dir`, which stands at `path` (for messages only).
    fn empty(&mut self, dir: BorrowedFd<'_>, path: &mut PathBuf, depth: usize) -> Result<()> {
        // A file system may leave entries out of a listing while others are removed, and
        // directories may have been moved here: list again until nothing is left.
        loop {
            let names = list(dir, path)?;
            if names.is_empty() {
                return Ok(());
            }
            for (name, kind) in names {
                path.push(&name);
                self.remove(dir, &name, kind, path, depth)?;
                path.pop();
            }
        }
    }

    /// Removes one entry of `dir`.
    fn remove(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        kind: FileType,
        path: &mut PathBuf,
        depth: usize,
    ) -> Result<()> {
        let failed = |path: &Path| format!("cannot remove {}", path.display());
        if kind != FileType::Directory {
            match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::ISDIR) => (),
                Err(Errno::BUSY) => bail!(mounted(path)),
                Err(error) => return Err(error).with_context(|| failed(path)),
            }
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => (),
            Err(Errno::BUSY) => bail!(mounted(path)),
            Err(error) => return Err(error).with_context(|| failed(path)),
        }
        if depth >= MAX_DEPTH {
            // Its own entry `..` changes.
            open_directory(dir, name, path)?;
            return self.move_up(dir, name, path);
        }
        let child = open_directory(dir, name, path)?;
        self.empty(child.as_fd(), path, depth + 1)?;
        rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).with_context(|| failed(path))
    }

    /// Moves a directory that lies too deep to the top, where the listing finds it again.
    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<()> {
        loop {
            let to = format!(".removed-{}", self.moved);
            self.moved += 1;
            match rustix::fs::renameat_with(dir, name, self.top, &to, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => continue,
                Err(Errno::BUSY) => bail!(mounted(path)),
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot move {} up", path.display()));
                }
            }
        }
    }
}

/// Lets the caller, who is not root, make changes in an own directory, open in whatever way. Root
/// needs no such thing.
///
/// # Errors
/// Where the file system refuses.
pub fn unlock(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(dir)?;
    let caller = rustix::process::geteuid();
    let mode = Mode::from_raw_mode(stat.st_mode);
    if caller.is_root() || stat.st_uid != caller.as_raw() || mode.contains(Mode::RWXU) {
        return Ok(());
    }
    // fchmod(2) takes no descriptor by O_PATH.
    let own = format!("/proc/self/fd/{}", dir.as_raw_fd());
    rustix::fs::chmod(own, mode | Mode::RWXU)
}

/// Opens a directory as itself, to remove what is in it: no symbolic link, no other mount. Who is
/// not root cannot do so with one whose mode forbids it, and may change the mode.
fn open_directory(parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<OwnedFd> {
    if !rustix::process::geteuid().is_root() {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = open_as(parent, name, path, flags)?;
        unlock(directory.as_fd())
            .with_context(|| format!("cannot change the mode of {}", path.display()))?;
    }
    open_as(parent, name, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn open_as(parent: BorrowedFd<'_>, name: &OsStr, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        Ok(fd) => Ok(fd),
        Err(Errno::XDEV) => bail!(mounted(path)),
        Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
    }
}

/// Why a mount point stays.
fn mounted(path: &Path) -> String {
    format!(
        "cannot remove {}: something is mounted there; unmount it first",
        path.display()
    )
}

/// How many names one listing holds at most, so that a huge directory costs no huge memory.
const MAX_LISTED: usize = 4096;

/// The names in a directory (the first [`MAX_LISTED`]), without `.` and `..`.
fn list(dir: BorrowedFd<'_>, path: &Path) -> Result<Vec<(OsString, FileType)>> {
    let context = || format!("cannot list {}", path.display());
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).with_context(context)? {
        let entry = entry.with_context(context)?;
        if !is_dot(entry.file_name()) {
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            names.push((name, entry.file_type()));
        }
        if names.len() >= MAX_LISTED {
            break;
        }
    }
    Ok(names)
}

/// Whether a directory entry is `.` or `..`.
fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
#[path = "remove_tests.rs"]
mod tests;
