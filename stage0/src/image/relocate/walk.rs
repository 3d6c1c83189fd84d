//! Every file of the tree, once, at a constant number of descriptors whatever its depth.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};

use super::report::show;
use super::tree::{Tree, open_below};

/// One file as the walk meets it.
pub(super) struct Entry<'a> {
    /// The directory it stands in.
    pub(super) dir: BorrowedFd<'a>,
    /// That directory's real path in the image.
    pub(super) dir_path: &'a [u8],
    /// The file's name there.
    pub(super) name: &'a CStr,
    /// The file's own metadata (of a link, not of its target).
    pub(super) stat: &'a Stat,
}

impl Entry<'_> {
    /// The file's path in the image.
    pub(super) fn path(&self) -> Vec<u8> {
        let mut path = self.dir_path.to_vec();
        push(&mut path, self.name.to_bytes());
        path
    }

    /// What identifies the inode, whichever of its names was met.
    pub(super) fn id(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }
}

/// What is done with each file.
pub(super) trait Visitor {
    /// A regular file.
    fn regular(&mut self, entry: &Entry<'_>) -> Result<()>;
    /// A symbolic link.
    fn symlink(&mut self, entry: &Entry<'_>) -> Result<()>;
}

/// A directory that the walk is in.
struct Level {
    /// Its subdirectories still to be walked, last one first.
    pending: Vec<CString>,
    /// Device and inode, to know it again when the walk comes back up.
    id: (u64, u64),
    /// Length of its path.
    path_len: usize,
}

/// Visits every regular file and symbolic link below the root, directory by directory, names in
/// order. Other file systems mounted below are not entered.
pub(super) fn walk(tree: Tree<'_>, visitor: &mut impl Visitor) -> Result<()> {
    let mut dir = tree.open_root().context("cannot open the image's root")?;
    let mut path = b"/".to_vec();
    let device = fstat(&dir).context("cannot read the image's root")?.st_dev;
    let mut levels = vec![enter(&dir, &path, device, visitor)?];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.path_len);
        if let Some(name) = level.pending.pop() {
            push(&mut path, name.to_bytes());
            dir = open_below(&dir, &*name, OFlags::RDONLY | OFlags::DIRECTORY)
                .with_context(|| format!("cannot open {} of the image", show(&path)))?;
            levels.push(enter(&dir, &path, device, visitor)?);
        } else {
            levels.pop();
            if let Some(parent) = levels.last() {
                path.truncate(parent.path_len);
                dir = climb(&dir, parent.id)
                    .with_context(|| format!("cannot go back to {} of the image", show(&path)))?;
            }
        }
    }
    Ok(())
}

/// Visits the files of one directory.
fn enter(dir: &OwnedFd, path: &[u8], device: u64, visitor: &mut impl Visitor) -> Result<Level> {
    let own = fstat(dir).with_context(|| format!("cannot read {} of the image", show(path)))?;
    let names = names(dir).with_context(|| format!("cannot list {} of the image", show(path)))?;
    let mut pending = Vec::new();
    for name in names {
        let stat = statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW).with_context(|| {
            format!(
                "cannot read {} in {} of the image",
                show(name.to_bytes()),
                show(path)
            )
        })?;
        if stat.st_dev != device {
            continue;
        }
        let entry = Entry {
            dir: dir.as_fd(),
            dir_path: path,
            name: &name,
            stat: &stat,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => pending.push(name),
            FileType::RegularFile => visitor.regular(&entry)?,
            FileType::Symlink => visitor.symlink(&entry)?,
            _ => {}
        }
    }
    pending.reverse();
    Ok(Level {
        pending,
        id: (own.st_dev, own.st_ino),
        path_len: path.len(),
    })
}

/// All names in a directory, sorted: the visitor may change the directory meanwhile.
fn names(dir: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::new(open_below(dir, c".", OFlags::RDONLY | OFlags::DIRECTORY)?)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens the parent directory, which is known by its identity: the one step upwards that
/// RESOLVE_BENEATH cannot guard.
fn climb(dir: &OwnedFd, expected: (u64, u64)) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = openat(dir, c"..", flags, Mode::empty())?;
    let stat = fstat(&parent)?;
    if (stat.st_dev, stat.st_ino) != expected {
        bail!("the directory was moved while the image was relocated; import it again");
    }
    Ok(parent)
}

fn push(path: &mut Vec<u8>, name: &[u8]) {
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
