//! A working directory that an OCI image names and does not have: container engines make it when
//! a container starts, and so is it made in the app's own rootfs here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Makes what is missing of `directory`, a path of the host beneath `rootfs`, with mode 0755 and
/// owned by root. Symbolic links are followed within the rootfs alone.
///
/// # Errors
/// Where something else stands in its way.
pub fn make(rootfs: &Path, directory: &Path) -> Result<()> {
    let context = || format!("cannot make the working directory {}", directory.display());
    let inside = directory.strip_prefix(rootfs).with_context(context)?;
    make_beneath(rootfs, inside).with_context(context)?;
    Ok(())
}

/// Makes what is missing of the directory `inside`, a path of the image, in `rootfs`; as
/// [`make`]. Returns the directory.
///
/// # Errors
/// As [`make`].
pub fn make_beneath(rootfs: &Path, inside: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, rootfs, flags, Mode::empty())?;
    make_in(root.as_fd(), inside.strip_prefix("/").unwrap_or(inside))
}

fn make_in(root: BorrowedFd<'_>, inside: &Path) -> Result<OwnedFd> {
    let mut parent = open(root, Path::new("."))?;
    let mut path = PathBuf::new();
    for name in inside.components() {
        path.push(name);
        parent = match open(root, &path) {
            Err(Errno::NOENT) => {
                let mode = Mode::from_raw_mode(0o755);
                rustix::fs::mkdirat(&parent, name.as_os_str(), mode)?;
                open(root, &path)?
            }
            there => there?,
        };
    }
    Ok(parent)
}

fn open(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_missing_is_made_within_the_rootfs() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        fs::create_dir_all(root.join("a")).unwrap();
        symlink("/a", root.join("link")).unwrap();
        for path in ["", "a", "a/b/c", "link/d"] {
            make(&root, &root.join(path)).unwrap();
            make(&root, &root.join(path)).unwrap();
        }
        assert!(root.join("a/b/c").is_dir() && root.join("a/d").is_dir());
    }

    #[test]
    fn nothing_is_made_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("file"), "").unwrap();
        symlink("../outside", root.join("link")).unwrap();
        for path in ["file/a", "link/a", "../b"] {
            assert!(
                make(&root, &root.join(path)).is_err() || path == "../b",
                "{path}"
            );
        }
        let names = fs::read_dir(dir.path()).unwrap();
        assert_eq!(names.count(), 1);
        assert!(make(&root, dir.path()).is_err());
    }
}
