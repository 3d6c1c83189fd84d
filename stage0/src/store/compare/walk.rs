//! Two trees side by side, at a constant number of descriptors whatever their depth.

use std::cmp::Ordering;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;

use super::entry::{self, Buffers, Outcome};
use super::{Kind, shown};

/// Where two trees differ.
pub(super) struct Place<'a> {
    /// The directory in the tree as it should be.
    pub(super) wanted: BorrowedFd<'a>,
    /// The directory in the tree as it is.
    pub(super) found: BorrowedFd<'a>,
    /// The entry of these directories; `None` for themselves.
    pub(super) name: Option<&'a CStr>,
    /// The path beneath the root.
    pub(super) path: &'a [u8],
}

/// What is done with differences.
pub(super) trait Visitor {
    /// A difference.
    fn differs(&mut self, place: &Place<'_>, kind: Kind) -> Result<()>;

    /// A directory some of whose entries differ: all of them were told. `wanted` is what its
    /// metadata should be.
    fn told_all(&mut self, _place: &Place<'_>, _wanted: &Stat) -> Result<()> {
        Ok(())
    }
}

/// The directories that the walk is in.
struct Both {
    wanted: OwnedFd,
    found: OwnedFd,
}

/// What identifies a directory.
type Id = (u64, u64);

/// A directory on the way to where the walk is.
struct Level {
    /// Subdirectories of both trees still to be walked, last one first.
    pending: Vec<CString>,
    /// Which directories these are, to know them again when the walk comes back up.
    ids: (Id, Id),
    /// Length of the path.
    path_len: usize,
}

/// Visits every difference, directory by directory, names in order.
pub(super) fn walk(
    wanted: BorrowedFd<'_>,
    found: BorrowedFd<'_>,
    visitor: &mut impl Visitor,
) -> Result<()> {
    let mut at = Both::open(wanted, found, c".", b"")?;
    let mut path = Vec::new();
    let mut buffers = Buffers::new();
    let mut levels = vec![at.enter(&path, &mut buffers, visitor)?];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.path_len);
        if let Some(name) = level.pending.pop() {
            push(&mut path, &name);
            at = Both::open(at.wanted.as_fd(), at.found.as_fd(), &name, &path)?;
            levels.push(at.enter(&path, &mut buffers, visitor)?);
        } else {
            levels.pop();
            if let Some(parent) = levels.last() {
                at = at
                    .climb(parent.ids)
                    .with_context(|| format!("cannot go back up from {}", shown(&path)))?;
            }
        }
    }
    Ok(())
}

impl Both {
    fn open(
        wanted: BorrowedFd<'_>,
        found: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
    ) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Ok(Self {
            wanted: open(wanted, name, flags, path)?,
            found: open(found, name, flags, path)?,
        })
    }

    /// Compares the directories themselves and their entries, but not what is beneath these.
    fn enter(
        &self,
        path: &[u8],
        buffers: &mut Buffers,
        visitor: &mut impl Visitor,
    ) -> Result<Level> {
        let look = |dir: &OwnedFd| fstat(dir).with_context(|| cannot("look at", path));
        let (wanted, found) = (look(&self.wanted)?, look(&self.found)?);
        let aspects = entry::directories((&self.wanted, &wanted), (&self.found, &found))
            .with_context(|| cannot("read the extended attributes of", path))?;
        if !aspects.is_empty() {
            visitor.differs(&self.place(None, path), Kind::Changed(aspects))?;
        }
        let mut pending = Vec::new();
        let mut is_same = true;
        let mut entry_path = path.to_vec();
        for (name, presence) in self.names(path)? {
            entry_path.truncate(path.len());
            push(&mut entry_path, &name);
            let kind = match presence {
                Presence::Wanted => Kind::Missing,
                Presence::Found => Kind::Added,
                Presence::Both => {
                    let (wanted, found) = (self.wanted.as_fd(), self.found.as_fd());
                    match entry::compare(wanted, found, &name, &entry_path, buffers)? {
                        Outcome::Same => continue,
                        Outcome::Directories => {
                            pending.push(name);
                            continue;
                        }
                        Outcome::Differ(aspects) => Kind::Changed(aspects),
                    }
                }
            };
            is_same = false;
            visitor.differs(&self.place(Some(&name), &entry_path), kind)?;
        }
        if !is_same {
            visitor.told_all(&self.place(None, path), &wanted)?;
        }
        pending.reverse();
        Ok(Level {
            pending,
            ids: (id(&wanted), id(&found)),
            path_len: path.len(),
        })
    }

    fn place<'a>(&'a self, name: Option<&'a CStr>, path: &'a [u8]) -> Place<'a> {
        Place {
            wanted: self.wanted.as_fd(),
            found: self.found.as_fd(),
            name,
            path,
        }
    }

    /// All names of both directories in order, and which of them has them.
    fn names(&self, path: &[u8]) -> Result<Vec<(CString, Presence)>> {
        let list = |dir| names(dir).with_context(|| cannot("list", path));
        Ok(merge(list(&self.wanted)?, list(&self.found)?))
    }

    /// Opens the parents, which are known by their identity: the one step upwards that
    /// RESOLVE_BENEATH cannot guard.
    fn climb(&self, expected: (Id, Id)) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let up = |dir: &OwnedFd, expected: Id| -> Result<OwnedFd> {
            let parent = openat(dir, c"..", flags, Mode::empty())?;
            ensure!(
                id(&fstat(&parent)?) == expected,
                "the directory was moved meanwhile; try again"
            );
            Ok(parent)
        };
        Ok(Self {
            wanted: up(&self.wanted, expected.0)?,
            found: up(&self.found, expected.1)?,
        })
    }
}

/// Which trees have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// Only the tree as it should be.
    Wanted,
    /// Only the tree as it is.
    Found,
    /// Both.
    Both,
}

/// Two sorted lists become one.
fn merge(wanted: Vec<CString>, found: Vec<CString>) -> Vec<(CString, Presence)> {
    let (mut wanted, mut found) = (wanted.into_iter().peekable(), found.into_iter().peekable());
    let mut merged = Vec::new();
    loop {
        let order = match (wanted.peek(), found.peek()) {
            (None, None) => return merged,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(wanted), Some(found)) => wanted.cmp(found),
        };
        let presence = match order {
            Ordering::Less => Presence::Wanted,
            Ordering::Greater => Presence::Found,
            Ordering::Equal => Presence::Both,
        };
        let (wanted, found) = (
            order.is_le().then(|| wanted.next()).flatten(),
            order.is_ge().then(|| found.next()).flatten(),
        );
        merged.extend(wanted.or(found).map(|name| (name, presence)));
    }
}

/// Opens an entry as itself: no symbolic link, no other mount.
pub(super) fn open(
    dir: BorrowedFd<'_>,
    name: &CStr,
    flags: OFlags,
    path: &[u8],
) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    match openat2(dir, name, flags, Mode::empty(), resolve) {
        Err(Errno::XDEV) => bail!(
            "something is mounted at {} of the tree; unmount it first",
            shown(path)
        ),
        opened => opened.with_context(|| cannot("open", path)),
    }
}

/// All names in a directory, sorted.
fn names(dir: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn id(stat: &Stat) -> Id {
    (stat.st_dev, stat.st_ino)
}

fn push(path: &mut Vec<u8>, name: &CStr) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
}

/// What failed.
pub(super) fn cannot(what: &str, path: &[u8]) -> String {
    format!("cannot {what} {} of the tree", shown(path))
}
