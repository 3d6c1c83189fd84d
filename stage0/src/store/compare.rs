//! Compares a tree with what it should be, and repairs it.
//!
//! Compared are the kinds of files, modes, owners, the content of files byte for byte, the targets
//! of symbolic links, and those extended attributes that unpacking keeps or that would steer an
//! overlay. Not compared are times, as they tell nothing of the content, and which names are links
//! to one file: an app sees the tree through an overlay, which does not keep that either.
//!
//! Nothing here follows a symbolic link or crosses into another mount, and the number of open
//! files does not depend on a tree's depth.

pub(crate) mod attributes;
mod entry;
mod repair;
mod walk;

use std::fmt;
use std::os::fd::BorrowedFd;

use anyhow::Result;

use self::walk::{Place, Visitor, walk};

pub use self::repair::repair;

/// The most differences that are listed one by one.
pub const MAX_LISTED: usize = 1000;

/// How a tree differs from what it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The first differences, at most [`MAX_LISTED`], directory by directory.
    pub differences: Vec<Difference>,
    /// How many there are in all. What is beneath a directory that is missing or added is not
    /// counted on its own.
    pub total: u64,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path beneath the tree's root, without a slash before it; empty for the root.
    pub path: Vec<u8>,
    /// What is different there.
    pub kind: Kind,
}

/// A kind of difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Both trees have it, but not alike.
    Changed(Vec<Aspect>),
    /// It is there, and should not be.
    Added,
    /// It should be there, and is not.
    Missing,
}

/// In what two files may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// File, directory, symbolic link and so on.
    Type,
    /// The permissions, the set-ID bits among them.
    Mode,
    /// The owner or the group.
    Owner,
    /// The number of bytes.
    Size,
    /// The bytes.
    Content,
    /// Where a symbolic link leads.
    Target,
    /// The extended attributes.
    Xattrs,
}

impl Comparison {
    /// Whether the tree is as it should be.
    pub fn is_same(&self) -> bool {
        self.total == 0
    }

    fn note(&mut self, path: &[u8], kind: Kind) {
        self.total += 1;
        if self.differences.len() < MAX_LISTED {
            let path = path.to_vec();
            self.differences.push(Difference { path, kind });
        }
    }
}

/// For people to read: `missing usr/bin/x`, `changed usr/bin/y (mode, content)`. What is no
/// printable text is escaped.
impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(&self.path);
        match &self.kind {
            Kind::Added => write!(formatter, "added {path}"),
            Kind::Missing => write!(formatter, "missing {path}"),
            Kind::Changed(aspects) => {
                let aspects: Vec<_> = aspects.iter().map(Aspect::to_string).collect();
                write!(formatter, "changed {path} ({})", aspects.join(", "))
            }
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Type => "type",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Size => "size",
            Self::Content => "content",
            Self::Target => "target",
            Self::Xattrs => "extended attributes",
        })
    }
}

/// A path beneath the root as text.
fn shown(path: &[u8]) -> String {
    format!("/{}", path.escape_ascii())
}

/// Compares the tree `found` with `wanted`, which is as it should be.
///
/// # Errors
/// Where either cannot be read, or something is mounted in one of them.
pub fn compare(wanted: BorrowedFd<'_>, found: BorrowedFd<'_>) -> Result<Comparison> {
    let mut comparison = Comparison::default();
    walk(wanted, found, &mut comparison)?;
    Ok(comparison)
}

impl Visitor for Comparison {
    fn differs(&mut self, place: &Place<'_>, kind: Kind) -> Result<()> {
        self.note(place.path, kind);
        Ok(())
    }
}

#[cfg(test)]
#[path = "compare/tests.rs"]
mod tests;
