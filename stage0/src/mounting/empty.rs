//! The directory of an empty volume.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, openat2};
use stage1_skim::remove::remove_tree;

use super::copy;

/// Whose directory it becomes.
#[derive(Clone, Copy)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether it is the caller's, whatever the numbers say.
    pub(super) is_callers: bool,
}

/// Makes the directory `path` anew, and the one above it, and fills it with a copy of a directory in
/// the tree of an image (`fill`: the tree, and the directory).
pub(super) fn make(
    path: &Path,
    attributes: Attributes,
    fill: Option<(&Path, &Path)>,
) -> Result<()> {
    let context = || format!("cannot make {}", path.display());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{path:?} is no place for a volume");
    };
    let mut builder = std::fs::DirBuilder::new();
    // Nobody but root has business in there, but all must be able to pass: see the pod's own
    // directory.
    let above = builder.recursive(true).mode(0o711);
    above.create(parent).with_context(context)?;
    // One that is left of a start that failed may be half full.
    let above = std::fs::File::open(parent).with_context(context)?;
    remove_tree(above.as_fd(), name).with_context(context)?;
    // Until all is in place, it is nobody else's.
    let builder = builder.recursive(false).mode(0o700);
    builder.create(path).with_context(context)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty()).with_context(context)?;
    if let Some((tree, from)) = fill {
        let from = open(tree, from)?;
        copy::copy(from.as_fd(), directory.as_fd(), attributes.is_callers)
            .with_context(|| format!("cannot fill {}", path.display()))?;
    }
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    let mut mode = Mode::from_raw_mode(attributes.mode);
    if attributes.is_callers {
        mode |= Mode::RWXU;
    } else {
        // In this order: a change of owner takes the set-ID bits away.
        fchown(&directory, Some(uid), Some(gid)).with_context(context)?;
    }
    fchmod(&directory, mode).with_context(context)
}

fn open(tree: &Path, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let context = || format!("cannot open {}", path.display());
    let root = rustix::fs::open(tree, flags, Mode::empty()).with_context(context)?;
    let inside = path.strip_prefix(tree).with_context(context)?;
    openat2(&root, inside, flags, Mode::empty(), resolve).with_context(context)
}
