//! The unpacked tree as its programs would see it if it were `/`: opening files beneath the
//! root's descriptor, and looking paths up with the root as the end of every climb.
//!
//! A path of the image is a byte string that starts with `/` and holds no empty, `.` or `..`
//! component and, where it says so, no symbolic link ("real").

use std::collections::VecDeque;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, readlinkat};
use rustix::io::{Errno, Result};

/// As many as the kernel follows in one lookup (MAXSYMLINKS).
const MAX_SYMLINKS: usize = 40;

/// How every open below the root resolves: nothing outside, no other file system, no link.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_XDEV)
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// Whether a symbolic link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// As open(2) does.
    Follow,
    /// As lstat(2) does.
    Keep,
}

/// What a path of the image leads to.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The real path (its last component a symbolic link only with [`Last::Keep`]).
    pub(super) path: Vec<u8>,
    /// What stands there.
    pub(super) kind: FileType,
    /// Device and inode number.
    pub(super) id: (u64, u64),
    /// Whether a `..` of the path itself tried to climb above the root.
    pub(super) clamped: bool,
}

/// An unpacked root file system.
#[derive(Clone, Copy)]
pub(super) struct Tree<'fd> {
    root: BorrowedFd<'fd>,
}

impl<'fd> Tree<'fd> {
    pub(super) fn new(root: BorrowedFd<'fd>) -> Self {
        Self { root }
    }

    /// The root directory, opened anew for reading.
    pub(super) fn open_root(&self) -> Result<OwnedFd> {
        open_below(self.root, c".", OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Looks `path` up from the real directory `dir`, with the image's root as `/`.
    ///
    /// `None`: nothing is there, a component is no directory, or it leads through too many links.
    pub(super) fn find(&self, dir: &[u8], path: &[u8], last: Last) -> Result<Option<Found>> {
        let mut lookup = Lookup::new(dir, path);
        while let Some(step) = lookup.pending.pop_front() {
            if step.name == b".." {
                lookup.climb(step.own);
                continue;
            }
            lookup.real.push(step.name);
            let Some((fd, stat)) = self.stat(&join(&lookup.real))? else {
                return Ok(None);
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {}
                FileType::Symlink if !lookup.pending.is_empty() || last == Last::Follow => {
                    lookup.links += 1;
                    if lookup.links > MAX_SYMLINKS {
                        return Ok(None);
                    }
                    lookup.follow(readlinkat(&fd, c"", Vec::new())?.as_bytes());
                }
                _ if !lookup.pending.is_empty() => return Ok(None),
                _ => {}
            }
        }
        let path = join(&lookup.real);
        let clamped = lookup.clamped;
        Ok(self.stat(&path)?.map(|(_, stat)| Found {
            path,
            kind: FileType::from_raw_mode(stat.st_mode),
            id: (stat.st_dev, stat.st_ino),
            clamped,
        }))
    }

    /// Looks `path` up and returns it if a regular file is there.
    pub(super) fn find_file(&self, path: &[u8]) -> Result<Option<Found>> {
        let found = self.find(b"/", path, Last::Follow)?;
        Ok(found.filter(|found| found.kind == FileType::RegularFile))
    }

    /// Looks `path` up from `dir` and returns the real path if a directory is there.
    pub(super) fn find_directory(&self, dir: &[u8], path: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.find(dir, path, Last::Follow)?;
        let directory = found.filter(|found| found.kind == FileType::Directory);
        Ok(directory.map(|found| found.path))
    }

    /// Opens the regular file at a real path for reading.
    pub(super) fn open_file(&self, real: &[u8]) -> Result<File> {
        open_regular(self.root, relative(real), OFlags::RDONLY)
    }

    /// Opens the directory at a real path for reading.
    pub(super) fn open_directory(&self, real: &[u8]) -> Result<OwnedFd> {
        open_below(
            self.root,
            relative(real),
            OFlags::RDONLY | OFlags::DIRECTORY,
        )
    }

    fn stat(&self, real: &[u8]) -> Result<Option<(OwnedFd, Stat)>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        match open_below(self.root, relative(real), flags) {
            Ok(fd) => {
                let stat = fstat(&fd)?;
                Ok(Some((fd, stat)))
            }
            // Another file system is not part of the image; a name that is too long, or that
            // no file can have, is not there.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::NAMETOOLONG | Errno::INVAL) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Opens `path` beneath `dir` without following any link, and where permitted without a trace in
/// the time of access.
pub(super) fn open_below<P: rustix::path::Arg + Copy>(
    dir: impl AsFd,
    path: P,
    flags: OFlags,
) -> Result<OwnedFd> {
    let open = |flags| openat2(&dir, path, flags | OFlags::CLOEXEC, Mode::empty(), RESOLVE);
    if flags.contains(OFlags::PATH) {
        return open(flags);
    }
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        outcome => outcome,
    }
}

/// Opens a regular file beneath `dir`; a FIFO or device in its place neither blocks nor acts.
pub(super) fn open_regular<P: rustix::path::Arg + Copy>(
    dir: impl AsFd,
    path: P,
    flags: OFlags,
) -> Result<File> {
    let fd = open_below(dir, path, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
    match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
        FileType::RegularFile => Ok(File::from(fd)),
        _ => Err(Errno::INVAL),
    }
}

/// The target of the symbolic link `name` in `dir`.
pub(super) fn read_link(dir: impl AsFd, name: &CStr) -> Result<Vec<u8>> {
    Ok(readlinkat(dir, name, Vec::new())?.into_bytes())
}

struct Step {
    name: Vec<u8>,
    /// False for what a symbolic link brought in.
    own: bool,
}

struct Lookup {
    real: Vec<Vec<u8>>,
    pending: VecDeque<Step>,
    links: usize,
    clamped: bool,
}

impl Lookup {
    fn new(dir: &[u8], path: &[u8]) -> Self {
        let start = if path.starts_with(b"/") { b"/" } else { dir };
        Self {
            real: components(start).map(<[u8]>::to_vec).collect(),
            pending: components(path)
                .map(|name| Step {
                    name: name.to_vec(),
                    own: true,
                })
                .collect(),
            links: 0,
            clamped: false,
        }
    }

    fn climb(&mut self, own: bool) {
        if self.real.pop().is_none() {
            self.clamped |= own;
        }
    }

    fn follow(&mut self, target: &[u8]) {
        if target.starts_with(b"/") {
            self.real.clear();
        } else {
            self.real.pop();
        }
        for name in components(target).collect::<Vec<_>>().into_iter().rev() {
            self.pending.push_front(Step {
                name: name.to_vec(),
                own: false,
            });
        }
    }
}

/// The components of a path, without empty ones and `.`.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}

/// The absolute path of these components.
pub(super) fn join<T: AsRef<[u8]>>(components: &[T]) -> Vec<u8> {
    if components.is_empty() {
        return b"/".to_vec();
    }
    let mut path = Vec::new();
    for component in components {
        path.push(b'/');
        path.extend_from_slice(component.as_ref());
    }
    path
}

fn relative(real: &[u8]) -> &[u8] {
    match real.strip_prefix(b"/").unwrap_or(real) {
        b"" => b".",
        path => path,
    }
}
