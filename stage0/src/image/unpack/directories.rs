//! The directories of an image, whose times can only be set when all is unpacked.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Bound;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, ensure};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, chmodat, statat,
};
use rustix::io::Errno;

use super::path::split;

/// What a directory takes in memory besides its name: a place in a tree that is half full, and
/// what the allocator adds.
const OVERHEAD: usize = 104;

/// The time of directories that no entry describes. It is fixed, so that one image always makes
/// the same tree.
const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// All directories that were unpacked, with their times.
#[derive(Debug)]
pub struct Directories {
    /// By path from the root, which itself is the empty path. In order, so that what is beneath
    /// a directory stands together.
    known: BTreeMap<Box<[u8]>, Directory>,
    memory: usize,
    most_memory: usize,
}

/// A directory that was unpacked, and what the present layer did to it.
#[derive(Clone, Copy, Debug, Default)]
struct Directory {
    seconds: i64,
    nanoseconds: u32,
    /// The layer has an entry for it.
    described: bool,
    /// The layer has entries beneath it.
    entered: bool,
    /// The layer hides what lower layers have beneath it, and that is gone.
    hidden: bool,
    /// No entry describes it, neither this layer's nor one of a lower layer that still counts.
    implied: bool,
}

impl Directory {
    fn set_time(&mut self, time: Timespec) {
        self.seconds = time.tv_sec;
        // Below a thousand million.
        self.nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    }
}

impl Directories {
    /// None yet; they may take `most_memory` bytes.
    pub(super) fn new(most_memory: usize) -> Self {
        Self {
            known: BTreeMap::new(),
            memory: 0,
            most_memory,
        }
    }

    /// What is there belongs to lower layers from now on.
    pub(super) fn begin_layer(&mut self) {
        for directory in self.known.values_mut() {
            directory.described = false;
            directory.entered = false;
            directory.hidden = false;
        }
    }

    /// Whether there is a directory at `path`.
    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.known.contains_key(path)
    }

    /// Whether the present layer has an entry for the directory.
    pub(super) fn is_described(&self, path: &[u8]) -> bool {
        self.known.get(path).is_some_and(|known| known.described)
    }

    /// Whether no entry describes the directory.
    pub(super) fn is_implied(&self, path: &[u8]) -> bool {
        self.known.get(path).is_some_and(|known| known.implied)
    }

    /// Whether the present layer has an entry for the directory, or any beneath it.
    pub(super) fn is_present(&self, path: &[u8]) -> bool {
        self.known
            .get(path)
            .is_some_and(|known| known.described || known.entered)
    }

    /// Whether all that lower layers have beneath the directory is gone.
    pub(super) fn is_hidden(&self, path: &[u8]) -> bool {
        self.known.get(path).is_some_and(|known| known.hidden)
    }

    /// Notes a directory that an entry describes.
    pub(super) fn describe(&mut self, path: &[u8], mtime: Timespec) -> Result<()> {
        let directory = self.entry(path)?;
        ensure!(
            !directory.described,
            "duplicate entry: the directory was described before"
        );
        directory.described = true;
        directory.implied = false;
        directory.set_time(mtime);
        Ok(())
    }

    /// Notes a directory that was made for what is beneath it; an entry may still describe it.
    pub(super) fn imply(&mut self, path: &[u8]) -> Result<()> {
        let directory = self.entry(path)?;
        directory.implied = true;
        directory.set_time(NO_TIME);
        Ok(())
    }

    /// Notes that the present layer makes something in this directory.
    pub(super) fn enter(&mut self, mut path: &[u8]) {
        loop {
            if let Some(directory) = self.known.get_mut(path) {
                if directory.entered {
                    // And so is all above it.
                    return;
                }
                directory.entered = true;
            }
            if path.is_empty() {
                return;
            }
            path = split(path).0;
        }
    }

    /// Notes that nothing of lower layers is beneath the directory any more.
    pub(super) fn set_hidden(&mut self, path: &[u8]) {
        if let Some(directory) = self.known.get_mut(path) {
            directory.hidden = true;
        }
    }

    /// Forgets a directory that is gone, and all beneath it.
    pub(super) fn forget(&mut self, path: &[u8]) {
        if self.known.remove(path).is_none() {
            return;
        }
        self.memory -= cost(path);
        while let Some(below) = self.next_below(path, None) {
            self.known.remove(below.as_slice());
            self.memory -= cost(&below);
        }
    }

    /// The first directory beneath `top`, or the next one after `after`, which is beneath it.
    pub(super) fn next_below(&self, top: &[u8], after: Option<&[u8]>) -> Option<Vec<u8>> {
        let (first, end) = match top {
            [] => (vec![], None),
            // The byte after the slash: all that starts with the directory's name and a slash.
            _ => ([top, b"/"].concat(), Some([top, b"0"].concat())),
        };
        let start = match after {
            Some(path) => Bound::Excluded(path),
            None if top.is_empty() => Bound::Excluded(&b""[..]),
            None => Bound::Included(first.as_slice()),
        };
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (path, _) = self.known.range::<[u8], _>((start, end)).next()?;
        Some(path.to_vec())
    }

    /// The directory at `path`, new or known.
    fn entry(&mut self, path: &[u8]) -> Result<&mut Directory> {
        if !self.known.contains_key(path) {
            self.memory += cost(path);
            ensure!(
                self.memory <= self.most_memory,
                "the image has too many directories: they need more than {} bytes of memory",
                self.most_memory
            );
        }
        Ok(self.known.entry(path.into()).or_default())
    }

    /// Sets the times of all directories beneath `root`, which nothing may change any more.
    pub fn set_times(&self, root: BorrowedFd<'_>) -> Result<()> {
        for (path, directory) in &self.known {
            let context = || format!("cannot set the time of \"/{}\"", path.escape_ascii());
            let fd = open(root, path).with_context(context)?;
            let mtime = Timespec {
                tv_sec: directory.seconds,
                tv_nsec: i64::from(directory.nanoseconds),
            };
            rustix::fs::futimens(&fd, &timestamps(mtime)).with_context(context)?;
        }
        Ok(())
    }

    /// Takes the right to write from the directories beneath `root`, and from all that is in
    /// them: nobody changes an image by mistake. Their owner can take it back.
    pub fn seal(&self, root: BorrowedFd<'_>) -> Result<()> {
        for path in self.known.keys() {
            let context = || format!("cannot set the mode of \"/{}\"", path.escape_ascii());
            let fd = open(root, path).with_context(context)?;
            for entry in Dir::read_from(&fd).with_context(context)? {
                let entry = entry.with_context(context)?;
                if !matches!(entry.file_type(), FileType::Directory | FileType::Symlink) {
                    let name = entry.file_name();
                    let stat =
                        statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW).with_context(context)?;
                    if !FileType::from_raw_mode(stat.st_mode).is_symlink() {
                        let mode = Mode::from_raw_mode(stat.st_mode & !0o222);
                        chmodat(&fd, name, mode, AtFlags::empty()).with_context(context)?;
                    }
                }
            }
            let stat = rustix::fs::fstat(&fd).with_context(context)?;
            let mode = Mode::from_raw_mode(stat.st_mode & !0o222);
            rustix::fs::fchmod(&fd, mode).with_context(context)?;
        }
        Ok(())
    }
}

fn cost(path: &[u8]) -> usize {
    path.len() + OVERHEAD
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
pub(super) fn make(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let context = "cannot create a directory above it";
    rustix::fs::mkdirat(parent, OsStr::from_bytes(name), Mode::RWXU).context(context)?;
    let made = open(parent, name).context(context)?;
    rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).context(context)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories(paths: &[&str]) -> Directories {
        let mut directories = Directories::new(1 << 20);
        for path in paths {
            directories.describe(path.as_bytes(), NO_TIME).unwrap();
        }
        directories
    }

    fn all(directories: &Directories) -> Vec<&str> {
        let known = directories.known.keys();
        known
            .map(|path| std::str::from_utf8(path).unwrap())
            .collect()
    }

    #[test]
    fn what_is_beneath_goes_with_a_directory_and_nothing_else() {
        let paths = ["", "a", "a!", "a-b", "a.b", "a/b", "a/b/c", "a0", "aa"];
        let mut directories = directories(&paths);
        directories.forget(b"b");
        directories.forget(b"a");
        assert_eq!(all(&directories), ["", "a!", "a-b", "a.b", "a0", "aa"]);
        assert_eq!(directories.memory, 6 * OVERHEAD + 12);
        directories.forget(b"");
        assert_eq!(directories.memory, 0);
    }

    #[test]
    fn the_next_one_is_beneath() {
        let directories = directories(&["", "a", "a!", "a/b", "a/b/c", "b"]);
        let walk = |top: &[u8]| {
            let mut found = Vec::new();
            while let Some(next) = directories.next_below(top, found.last().map(Vec::as_slice)) {
                found.push(next);
            }
            found
        };
        assert_eq!(walk(b"a"), [&b"a/b"[..], b"a/b/c"]);
        assert_eq!(walk(b""), [&b"a"[..], b"a!", b"a/b", b"a/b/c", b"b"]);
        assert!(walk(b"b").is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut directories = Directories::new(2 * OVERHEAD + 2);
        directories.describe(b"a", NO_TIME).unwrap();
        directories.imply(b"b").unwrap();
        directories.describe(b"b", NO_TIME).unwrap();
        let text = directories.imply(b"c").unwrap_err().to_string();
        assert!(text.contains("too many directories"), "{text}");
    }
}
