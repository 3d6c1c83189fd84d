//! A copy of a directory with all that is in it, at a constant number of descriptors whatever
//! its depth. No link is followed, and no other mount entered.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    chmodat, chownat, fchmod, fchown, fstat, futimens, ioctl_ficlone, linkat, mkdirat, mknodat,
    openat, openat2, readlinkat, statat, symlinkat, utimensat,
};

use crate::store::compare::attributes as xattrs;

/// Copies what is in `from` to `to`, an empty directory: owners, modes, extended attributes,
/// times, symbolic and hard links. The directories themselves keep what they have, but for the
/// attributes of `to`, which become those of `from`. With `writable`, the owner may write to
/// everything.
///
/// # Errors
/// Where a file cannot be read or made; what was copied until then stays.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, writable: bool) -> Result<()> {
    let further = if writable { Mode::WUSR } else { Mode::empty() };
    let mut copy = Copy {
        top: to,
        further,
        links: HashMap::new(),
    };
    let mut path = PathBuf::new();
    let mut at = Pair {
        from: open(from, c".", OFlags::DIRECTORY)?,
        to: open(to, c".", OFlags::DIRECTORY)?,
    };
    let mut levels = vec![copy.enter(&at, &path)?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.pending.pop() {
            path.push(name_of(&name));
            at = at.down(&name).with_context(|| cannot(&path))?;
            levels.push(copy.enter(&at, &path)?);
            continue;
        }
        // The time of a directory changes with what is made in it.
        at.finish(further).with_context(|| cannot(&path))?;
        levels.pop();
        if let Some(parent) = levels.last() {
            at = at.up(parent.ids).with_context(|| cannot(&path))?;
            path.pop();
        }
    }
    Ok(())
}

fn cannot(path: &Path) -> String {
    format!("cannot copy {path:?}")
}

/// What identifies a file.
type Id = (u64, u64);

fn id(stat: &Stat) -> Id {
    (stat.st_dev, stat.st_ino)
}

/// A directory on the way to where the copy is.
struct Level {
    /// Subdirectories still to be copied.
    pending: Vec<CString>,
    /// Which directories these are, to know them again on the way back up.
    ids: (Id, Id),
}

/// A copy under way.
struct Copy<'a> {
    /// The new tree's top.
    top: BorrowedFd<'a>,
    /// What modes get beyond the original's.
    further: Mode,
    /// Where in the new tree files are that have several names.
    links: HashMap<Id, PathBuf>,
}

impl Copy<'_> {
    /// Copies all of a directory but its subdirectories.
    fn enter(&mut self, at: &Pair, path: &Path) -> Result<Level> {
        let ids = (id(&fstat(&at.from)?), id(&fstat(&at.to)?));
        let mut pending = Vec::new();
        for entry in Dir::read_from(&at.from).with_context(|| cannot(path))? {
            let name = entry.with_context(|| cannot(path))?.file_name().to_owned();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = path.join(name_of(&name));
            let stat = statat(&at.from, &name, AtFlags::SYMLINK_NOFOLLOW)
                .with_context(|| cannot(&path))?;
            if FileType::from_raw_mode(stat.st_mode).is_dir() {
                pending.push(name);
            } else {
                self.entry(at, &name, &path, &stat)
                    .with_context(|| cannot(&path))?;
            }
        }
        Ok(Level { pending, ids })
    }

    fn entry(&mut self, at: &Pair, name: &CStr, path: &Path, stat: &Stat) -> Result<()> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&id(stat)) {
                return Ok(linkat(self.top, first, &at.to, name, AtFlags::empty())?);
            }
            self.links.insert(id(stat), path.to_path_buf());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => at.file(name, stat, self.further),
            FileType::Symlink => {
                let target = readlinkat(&at.from, name, Vec::new())?;
                symlinkat(&target, &at.to, name)?;
                at.attributes_of_name(name, stat)
            }
            kind => {
                let mode = Mode::from_raw_mode(0o600);
                mknodat(&at.to, name, kind, mode, stat.st_rdev)?;
                at.attributes_of_name(name, stat)?;
                let mode = Mode::from_raw_mode(stat.st_mode) | self.further;
                Ok(chmodat(&at.to, name, mode, AtFlags::empty())?)
            }
        }
    }
}

/// A directory, and the one that it is copied to.
struct Pair {
    from: OwnedFd,
    to: OwnedFd,
}

impl Pair {
    /// Makes a subdirectory, and goes into it.
    fn down(&self, name: &CStr) -> Result<Self> {
        mkdirat(&self.to, name, Mode::from_raw_mode(0o700))?;
        Ok(Self {
            from: open(self.from.as_fd(), name, OFlags::DIRECTORY)?,
            to: open(self.to.as_fd(), name, OFlags::DIRECTORY)?,
        })
    }

    /// Goes back to the directories `expected`.
    fn up(&self, expected: (Id, Id)) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let up = |directory: &OwnedFd, expected: Id| -> Result<OwnedFd> {
            let parent = openat(directory, c"..", flags, Mode::empty())?;
            ensure!(
                id(&fstat(&parent)?) == expected,
                "it was moved meanwhile: try again"
            );
            Ok(parent)
        };
        Ok(Self {
            from: up(&self.from, expected.0)?,
            to: up(&self.to, expected.1)?,
        })
    }

    /// Gives the new directory the attributes of the old one.
    fn finish(&self, further: Mode) -> Result<()> {
        let stat = fstat(&self.from)?;
        set_attributes(self.from.as_fd(), self.to.as_fd(), &stat, further)
    }

    fn file(&self, name: &CStr, stat: &Stat, further: Mode) -> Result<()> {
        let mut from = File::from(open(self.from.as_fd(), name, OFlags::NONBLOCK)?);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut to = File::from(openat(&self.to, name, flags, Mode::from_raw_mode(0o600))?);
        // Not all file systems can share the blocks.
        if ioctl_ficlone(&to, &from).is_err() {
            std::io::copy(&mut from, &mut to)?;
        }
        set_attributes(from.as_fd(), to.as_fd(), stat, further)
    }

    fn attributes_of_name(&self, name: &CStr, stat: &Stat) -> Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = owner(stat);
        chownat(&self.to, name, Some(uid), Some(gid), flags)?;
        Ok(utimensat(&self.to, name, &times(stat), flags)?)
    }
}

/// In this order: a change of owner takes the set-ID bits and file capabilities away.
fn set_attributes(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    stat: &Stat,
    further: Mode,
) -> Result<()> {
    let (uid, gid) = owner(stat);
    fchown(to, Some(uid), Some(gid))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode) | further)?;
    xattrs::copy(from, to).context("its extended attributes")?;
    Ok(futimens(to, &times(stat))?)
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec as _),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec as _),
    }
}

fn open(directory: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    openat2(directory, name, flags, Mode::empty(), resolve)
}

fn name_of(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use rustix::fs::{XattrFlags, getxattr, setxattr};

    use super::*;

    fn copied(from: &Path, to: &Path) -> Result<()> {
        let open = |path| File::open(path).unwrap();
        copy(open(from).as_fd(), open(to).as_fd(), false)
    }

    #[test]
    fn a_copy_has_all_that_the_original_has() {
        let lab = tempfile::tempdir().unwrap();
        let (from, to) = (lab.path().join("from"), lab.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("a/file"), "content").unwrap();
        fs::hard_link(from.join("a/file"), from.join("a/b/same")).unwrap();
        fs::set_permissions(from.join("a/file"), PermissionsExt::from_mode(0o4751)).unwrap();
        fs::set_permissions(from.join("a/b"), PermissionsExt::from_mode(0o1730)).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        setxattr(from.join("a/file"), "user.x", b"y", XattrFlags::empty()).unwrap();
        let fifo = Mode::from_raw_mode(0o640);
        mknodat(
            rustix::fs::CWD,
            from.join("a/pipe"),
            FileType::Fifo,
            fifo,
            0,
        )
        .unwrap();
        let old = Timestamps {
            last_access: Timespec {
                tv_sec: 5,
                tv_nsec: 6,
            },
            last_modification: Timespec {
                tv_sec: 7,
                tv_nsec: 8,
            },
        };
        for path in ["a/file", "link", "a/pipe", "a/b", "a"] {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            utimensat(rustix::fs::CWD, from.join(path), &old, flags).unwrap();
        }

        copied(&from, &to).unwrap();

        for path in ["a/file", "a/b/same", "link", "a/pipe", "a/b", "a"] {
            let look = |top: &Path| {
                let m = fs::symlink_metadata(top.join(path)).unwrap();
                let times = (m.mtime(), m.mtime_nsec());
                (m.mode(), m.uid(), m.gid(), m.nlink(), times)
            };
            assert_eq!(look(&to), look(&from), "{path}");
        }
        assert_eq!(fs::read_to_string(to.join("a/file")).unwrap(), "content");
        assert_eq!(
            fs::read_link(to.join("link")).unwrap(),
            Path::new("/etc/passwd")
        );
        let mut value = [0; 9];
        let length = getxattr(to.join("a/file"), "user.x", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"y");
        let inode = |path: &str| fs::metadata(to.join(path)).unwrap().ino();
        assert_eq!(inode("a/file"), inode("a/b/same"));
        assert_ne!(
            inode("a/file"),
            fs::metadata(from.join("a/file")).unwrap().ino()
        );
    }

    #[test]
    fn depth_costs_nothing() {
        const DEPTH: usize = 1500;
        let lab = tempfile::tempdir().unwrap();
        let (from, to) = (lab.path().join("from"), lab.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        let mut at = OwnedFd::from(File::open(&from).unwrap());
        for _ in 0..DEPTH {
            mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
            at = open(at.as_fd(), c"d", OFlags::DIRECTORY).unwrap();
        }
        copied(&from, &to).unwrap();
        let mut at = OwnedFd::from(File::open(&to).unwrap());
        for _ in 0..DEPTH {
            at = open(at.as_fd(), c"d", OFlags::DIRECTORY).unwrap();
        }
    }
}
