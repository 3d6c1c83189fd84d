//! The directory that an entry belongs in: opened, found through links, or made.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;

use super::path::{components, join, pop};
use super::{LowerLinks, MAX_TARGET, Unpacker, directories};

/// How many symbolic links lead to one directory at most, as in the kernel.
const MAX_LINKS: usize = 40;

const NO_DIRECTORY: &str = "a directory above it is no directory, but a file or a symbolic link";

/// A directory in the tree.
pub(super) struct Parent {
    pub(super) fd: OwnedFd,
    /// Its real path, where the path that it was found by leads through symbolic links.
    pub(super) real: Option<Vec<u8>>,
}

/// Where a path leads through the symbolic links of lower layers.
enum Real {
    /// To this directory.
    Directory(Vec<u8>, OwnedFd),
    /// To a place where nothing is.
    Missing(Vec<u8>),
    /// Something at this path is no directory; was it found through a link?
    Blocked(Vec<u8>, bool),
}

impl Unpacker {
    /// Opens the directory at `path`, making what is missing of it.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<Parent> {
        match self.last.take() {
            Some((last, fd)) if last == path => return Ok(Parent { fd, real: None }),
            _ => (),
        }
        let parent = match directories::open(self.root.as_fd(), path) {
            Err(Errno::NOENT) => Parent {
                fd: self.make_implied(path)?,
                real: None,
            },
            Err(Errno::LOOP | Errno::NOTDIR) if self.has_lower() => self.reach(path)?,
            Err(Errno::LOOP | Errno::NOTDIR) => bail!(NO_DIRECTORY),
            result => Parent {
                fd: result.context("cannot open the directory above it")?,
                real: None,
            },
        };
        if self.has_lower() {
            self.directories
                .enter(parent.real.as_deref().unwrap_or(path));
        }
        Ok(parent)
    }

    /// Opens the directory at `path`, if there is one.
    pub(super) fn existing(&mut self, path: &[u8]) -> Result<Option<Parent>> {
        match directories::open(self.root.as_fd(), path) {
            Ok(fd) => Ok(Some(Parent { fd, real: None })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) if self.has_lower() => {
                Ok(match self.follow(path)? {
                    Real::Directory(real, fd) => Some(Parent {
                        fd,
                        real: Some(real),
                    }),
                    Real::Missing(_) | Real::Blocked(..) => None,
                })
            }
            Err(Errno::LOOP | Errno::NOTDIR) => bail!(NO_DIRECTORY),
            Err(error) => Err(error).context("cannot open the directory above it"),
        }
    }

    /// Opens the directory at `path` where something in its way is no directory.
    fn reach(&mut self, path: &[u8]) -> Result<Parent> {
        let real = match self.follow(path)? {
            Real::Directory(real, fd) => {
                return Ok(Parent {
                    fd,
                    real: Some(real),
                });
            }
            Real::Missing(real) => real,
            Real::Blocked(at, _) if self.made.contains(&at) => bail!(NO_DIRECTORY),
            Real::Blocked(_, true) => {
                bail!("a directory above it is a symbolic link to what is no directory")
            }
            Real::Blocked(at, false) => {
                // The layer has a directory there, so it replaces what a lower layer has.
                self.remove(&at)?;
                path.to_vec()
            }
        };
        Ok(Parent {
            fd: self.make_implied(&real)?,
            real: Some(real),
        })
    }

    /// Finds out where a path leads inside the tree. Absolute targets start at the root, and
    /// `..` does not lead above it.
    ///
    /// Links that the present layer made are not followed: an archive that writes through its
    /// own links was made to deceive.
    fn follow(&self, path: &[u8]) -> Result<Real> {
        let root = self.root.as_fd();
        let mut pending: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        let mut real = Vec::new();
        // Not there from the first missing component on.
        let mut at = open_if_there(root, b"")?;
        while let Some(component) = pending.pop() {
            if component == b".." {
                pop(&mut real);
                at = open_if_there(root, &real)?;
                continue;
            }
            let next = join(&real, &component);
            ensure!(
                next.len() <= MAX_TARGET,
                "a symbolic link makes its path longer than {MAX_TARGET} bytes"
            );
            let Some(directory) = &at else {
                real = next;
                continue;
            };
            match directories::open(directory.as_fd(), &component) {
                Ok(fd) => (at, real) = (Some(fd), next),
                Err(Errno::NOENT) => (at, real) = (None, next),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let target = read_link(directory.as_fd(), &component)?;
                    let target = match target {
                        Some(target) if self.lower_links == LowerLinks::Followed => target,
                        _ => return Ok(Real::Blocked(next, links > 0)),
                    };
                    ensure!(!self.made.contains(&next), NO_DIRECTORY);
                    links += 1;
                    ensure!(
                        links <= MAX_LINKS,
                        "its path leads through more than {MAX_LINKS} symbolic links"
                    );
                    if target.starts_with(b"/") {
                        real.clear();
                        at = open_if_there(root, b"")?;
                    }
                    pending.extend(components(&target).rev().map(<[u8]>::to_vec));
                }
                Err(error) => return Err(error).context("cannot open a directory above it"),
            }
        }
        Ok(match at {
            Some(fd) => Real::Directory(real, fd),
            None => Real::Missing(real),
        })
    }

    /// Makes the directory at `path` and all that is missing above it, owned by root.
    fn make_implied(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let mut at = directories::open(self.root.as_fd(), b"").context("cannot open the root")?;
        let mut end = 0;
        for component in path.split(|byte| *byte == b'/') {
            end += component.len();
            at = match directories::open(at.as_fd(), component) {
                Err(Errno::NOENT) => {
                    // A device node, which was left out.
                    ensure!(!self.made.contains(&path[..end]), NO_DIRECTORY);
                    let made = directories::make(at.as_fd(), component)?;
                    self.directories.imply(&path[..end])?;
                    made
                }
                result => result.context("cannot open a directory above it")?,
            };
            end += 1;
        }
        Ok(at)
    }
}

fn open_if_there(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<OwnedFd>> {
    match directories::open(root, path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).context("cannot open a directory above it"),
    }
}

/// The target of a symbolic link, `None` for anything else.
fn read_link(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>> {
    match rustix::fs::readlinkat(directory, OsStr::from_bytes(name), Vec::new()) {
        Ok(target) => Ok(Some(target.into_bytes())),
        Err(Errno::INVAL) => Ok(None),
        Err(error) => Err(error).context("cannot read a symbolic link above it"),
    }
}
