//! Where in an app's rootfs a volume is mounted.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;

/// An app's rootfs, its overlay mounted.
pub(super) struct Rootfs {
    root: OwnedFd,
}

impl Rootfs {
    /// Opens the rootfs at `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { root })
    }

    /// The overlay's root.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens the path `target` of the image, a directory or not. What is missing of it is made,
    /// unless it lies in a directory of the user's. The plan has followed all links: what is one
    /// now was put there by somebody else, and is refused.
    pub(super) fn place(
        &self,
        target: &Path,
        is_directory: bool,
        in_users: bool,
    ) -> Result<OwnedFd> {
        let inside = target.strip_prefix("/").context("it is not absolute")?;
        let mut path = PathBuf::new();
        let mut at = self.look(Path::new("."))?.context("no rootfs")?;
        let mut names = inside.iter().peekable();
        while let Some(name) = names.next() {
            path.push(name);
            let is_last = names.peek().is_none();
            at = match self.look(&path)? {
                Some(there) => there,
                None if in_users => bail!(
                    "{:?} does not exist in the volume that is mounted above it: make it there",
                    Path::new("/").join(&path)
                ),
                None => {
                    make(&at, name, is_directory || !is_last)
                        .with_context(|| format!("cannot make {:?}", Path::new("/").join(&path)))?;
                    self.look(&path)?.context("it went away")?
                }
            };
        }
        let found = FileType::from_raw_mode(fstat(&at)?.st_mode).is_dir();
        ensure!(
            found == is_directory,
            "the volume is {} directory, but the target is {}",
            if is_directory { "a" } else { "no" },
            if found { "one" } else { "none" }
        );
        Ok(at)
    }

    fn look(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let resolve =
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match openat2(&self.root, path, flags, Mode::empty(), resolve) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => bail!(
                "{:?} is or lies behind a symbolic link, which is not followed here",
                Path::new("/").join(path)
            ),
            Err(error) => {
                Err(error).with_context(|| format!("cannot open {:?}", Path::new("/").join(path)))
            }
        }
    }
}

fn make(parent: &OwnedFd, name: &OsStr, is_directory: bool) -> rustix::io::Result<()> {
    if is_directory {
        return mkdirat(parent, name, Mode::from_raw_mode(0o755));
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_missing_is_made_within_the_rootfs_and_nowhere_else() {
        let lab = tempfile::tempdir().unwrap();
        let at = |path: &str| lab.path().join("root").join(path);
        fs::create_dir_all(at("a")).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink("/etc", at("link")).unwrap();
        let rootfs = Rootfs::open(&at("")).unwrap();
        for (target, is_directory, in_users, says) in [
            ("/a", true, false, None),
            ("/a", true, true, None),
            ("/a/b/c", true, false, None),
            ("/a/d/file", false, false, None),
            ("/a/d/file", false, true, None),
            ("/file", false, true, None),
            (
                "/a/x/y",
                true,
                true,
                Some("\"/a/x\" does not exist in the volume"),
            ),
            (
                "/a",
                false,
                false,
                Some("no directory, but the target is one"),
            ),
            (
                "/file",
                true,
                false,
                Some("a directory, but the target is none"),
            ),
            ("/file/x", true, false, Some("Not a directory")),
            ("/link", true, false, Some("symbolic link")),
            ("/link/x", true, false, Some("symbolic link")),
        ] {
            let outcome = rootfs.place(Path::new(target), is_directory, in_users);
            match (outcome, says) {
                (Ok(_), None) => (),
                (Err(error), Some(says)) => {
                    let error = format!("{error:#}");
                    assert!(error.contains(says), "{target}: {error}");
                }
                (outcome, _) => panic!("{target}: {:?}", outcome.err()),
            }
        }
        assert!(at("a/b/c").is_dir() && at("a/d/file").is_file());
        assert!(!at("a/x").exists() && !Path::new("/etc/x").exists());
    }
}
