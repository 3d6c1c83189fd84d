//! An app's rootfs as it was left, as an appc image: the image's files and what the app wrote.
//!
//! The image's tree in the store was relocated. In an export stands what the image's author
//! made, wherever the app has left it alone: of a file that was only copied up to the app's own
//! directory (by chown(2), say) the content is the author's, too. What was made only to mount
//! something on is not in it, unless the image has it or something was put there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::{
    Dir, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, fgetxattr, flistxattr,
    flistxattr_query, fstat, openat2, readlinkat,
};
use rustix::io::Errno;

use crate::image::archive::writer::ArchiveWriter;
use crate::image::archive::{Entry, Kind, Metadata, Xattr};
use crate::image::unpack::is_kept;

/// Bytes of files that are compared at once.
const BUFFER: usize = 128 << 10;
/// The kernel's bound for a list of names (XATTR_LIST_MAX) and for a value (XATTR_SIZE_MAX).
const XATTR_MAX: usize = 65536;
/// Where the files stand in an appc image's archive.
const ROOTFS: &[u8] = b"rootfs";

/// The directories that an export is made of.
#[derive(Clone, Copy)]
pub struct Layers<'a> {
    /// What the app sees: the tree with what it wrote.
    pub view: BorrowedFd<'a>,
    /// What it wrote alone.
    pub upper: BorrowedFd<'a>,
    /// The image's tree, relocated.
    pub tree: BorrowedFd<'a>,
    /// The image's files as their author made them.
    pub originals: BorrowedFd<'a>,
}

/// What was not exported, as an archive cannot hold it, or an image must not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Sockets.
    pub sockets: u64,
    /// Device nodes.
    pub devices: u64,
}

/// Writes the archive: the manifest, then the files in the order of their paths, without those
/// of `made`, where something was mounted, that are still empty and not the image's.
///
/// # Errors
/// Where a file cannot be read, or the archive not be written.
pub fn write(
    manifest: &[u8],
    layers: Layers<'_>,
    made: &BTreeSet<PathBuf>,
    output: impl Write,
) -> Result<LeftOut> {
    let mut archive = ArchiveWriter::new(output);
    archive.add(&document(b"manifest", manifest), manifest)?;
    let mut export = Export {
        layers,
        archive,
        links: HashMap::new(),
        mount_points: mount_points(layers, made).context("cannot tell what skim has made")?,
        left_out: LeftOut::default(),
    };
    let mut pending = vec![Vec::new()];
    // Popped from the end: directories before what is in them, paths in order.
    while let Some(path) = pending.pop() {
        export
            .add(&path, &mut pending)
            .with_context(|| format!("cannot export \"/{}\"", path.escape_ascii()))?;
    }
    let mut output = export.archive.finish()?;
    output.flush().context("cannot write the archive")?;
    Ok(export.left_out)
}

/// An entry for a document of the image.
fn document(name: &[u8], content: &[u8]) -> Entry {
    Entry {
        name: name.to_vec(),
        kind: file(content.len() as u64),
        metadata: Metadata {
            uid: 0,
            gid: 0,
            mode: 0o644,
            mtime: Timespec::default(),
        },
        xattrs: Vec::new(),
    }
}

fn file(size: u64) -> Kind {
    Kind::File {
        size,
        segments: Vec::new(),
    }
}

struct Export<'a, W: Write> {
    layers: Layers<'a>,
    archive: ArchiveWriter<W>,
    /// The first names of files that have several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// What is left out, as it was made to mount something on.
    mount_points: HashSet<Vec<u8>>,
    left_out: LeftOut,
}

impl<W: Write> Export<'_, W> {
    /// Adds what is at a path beneath the root; of a directory, what is in it becomes pending.
    fn add(&mut self, path: &[u8], pending: &mut Vec<Vec<u8>>) -> Result<()> {
        if self.mount_points.contains(path) {
            return Ok(());
        }
        let fd = open(self.layers.view, path, OFlags::PATH)?;
        let stat = fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let directory = open(self.layers.view, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
                let xattrs = xattrs(directory.as_fd())?;
                self.entry(path, Kind::Directory, &stat, xattrs, io::empty())?;
                children(path, &directory, pending)
            }
            FileType::RegularFile => self.add_file(path, &stat),
            FileType::Symlink => {
                let target = self.target(path, &fd)?;
                self.entry(path, Kind::Symlink(target), &stat, Vec::new(), io::empty())
            }
            FileType::Fifo => self.entry(path, Kind::Fifo, &stat, Vec::new(), io::empty()),
            FileType::Socket => {
                self.left_out.sockets += 1;
                Ok(())
            }
            _ => {
                self.left_out.devices += 1;
                Ok(())
            }
        }
    }

    fn add_file(&mut self, path: &[u8], stat: &Stat) -> Result<()> {
        if stat.st_nlink > 1 {
            let name = in_archive(path);
            match self.links.entry((stat.st_dev, stat.st_ino)) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    let kind = Kind::HardLink(first.get().clone());
                    return self.entry(path, kind, stat, Vec::new(), io::empty());
                }
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(name);
                }
            }
        }
        let shown = open_file(self.layers.view, path)?;
        let xattrs = xattrs(shown.as_fd())?;
        let content = match self.is_untouched(path, stat)? {
            true => regular(self.layers.originals, path)?.unwrap_or(shown),
            false => shown,
        };
        let size = content.metadata()?.len();
        self.entry(path, file(size), stat, xattrs, content)
    }

    /// Whether the content of a file is that of the image's tree.
    fn is_untouched(&self, path: &[u8], stat: &Stat) -> Result<bool> {
        if look(self.layers.upper, path)?.is_none() {
            return Ok(true);
        }
        match regular(self.layers.tree, path)? {
            Some(tree) if tree.metadata()?.len() == u64::try_from(stat.st_size)? => {
                is_same(open_file(self.layers.view, path)?, tree)
            }
            _ => Ok(false),
        }
    }

    /// Where a symbolic link leads; one of the image's as its author made it.
    fn target(&self, path: &[u8], link: &OwnedFd) -> Result<Vec<u8>> {
        let target = readlinkat(link, c"", Vec::new())?.into_bytes();
        let of = |layer| -> Result<Option<Vec<u8>>> {
            match look(layer, path)? {
                Some((fd, stat)) if FileType::from_raw_mode(stat.st_mode).is_symlink() => {
                    Ok(Some(readlinkat(fd, c"", Vec::new())?.into_bytes()))
                }
                _ => Ok(None),
            }
        };
        if of(self.layers.tree)?.as_ref() == Some(&target)
            && let Some(original) = of(self.layers.originals)?
        {
            return Ok(original);
        }
        Ok(target)
    }

    fn entry(
        &mut self,
        path: &[u8],
        kind: Kind,
        stat: &Stat,
        xattrs: Vec<Xattr>,
        content: impl Read,
    ) -> Result<()> {
        let entry = Entry {
            name: in_archive(path),
            kind,
            metadata: Metadata {
                uid: stat.st_uid,
                gid: stat.st_gid,
                mode: stat.st_mode & 0o7777,
                mtime: Timespec {
                    tv_sec: stat.st_mtime,
                    tv_nsec: 0,
                },
            },
            xattrs,
        };
        self.archive.add(&entry, content)
    }
}

/// Those of `made` that hold nothing but each other, and are not the image's.
fn mount_points(layers: Layers<'_>, made: &BTreeSet<PathBuf>) -> Result<HashSet<Vec<u8>>> {
    let mut empty = HashSet::new();
    // The last ones first: what is in a directory before it.
    for path in made.iter().rev() {
        let path = path.as_os_str().as_bytes();
        let Some((_, stat)) = look(layers.view, path)? else {
            continue;
        };
        if look(layers.tree, path)?.is_some() {
            continue;
        }
        let is_empty = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let directory = open(layers.view, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
                let mut within = Vec::new();
                children(path, &directory, &mut within)?;
                within.iter().all(|path| empty.contains(path))
            }
            FileType::RegularFile => stat.st_size == 0,
            _ => false,
        };
        if is_empty {
            empty.insert(path.to_vec());
        }
    }
    Ok(empty)
}

/// The name of a path in the archive.
fn in_archive(path: &[u8]) -> Vec<u8> {
    match path {
        b"" => ROOTFS.to_vec(),
        path => [ROOTFS, b"/", path].concat(),
    }
}

/// What is in a directory becomes pending, the last name first.
fn children(path: &[u8], directory: &OwnedFd, pending: &mut Vec<Vec<u8>>) -> Result<()> {
    let first = pending.len();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            pending.push(match path {
                b"" => name.to_vec(),
                path => [path, b"/", name].concat(),
            });
        }
    }
    pending[first..].sort_unstable_by(|a, b| b.cmp(a));
    Ok(())
}

/// Opens a path beneath a root as itself: no symbolic link on the way, nor at its end.
fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    openat2(root, path, flags, Mode::empty(), resolve)
}

/// What a layer has at a path.
fn look(layer: BorrowedFd<'_>, path: &[u8]) -> Result<Option<(OwnedFd, Stat)>> {
    match open(layer, path, OFlags::PATH) {
        Ok(fd) => {
            let stat = fstat(&fd)?;
            Ok(Some((fd, stat)))
        }
        // A link or a file stands where the path has a directory.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The regular file that a layer has at a path.
fn regular(layer: BorrowedFd<'_>, path: &[u8]) -> Result<Option<File>> {
    match look(layer, path)? {
        Some((_, stat)) if FileType::from_raw_mode(stat.st_mode).is_file() => {
            Ok(Some(open_file(layer, path)?))
        }
        _ => Ok(None),
    }
}

fn open_file(layer: BorrowedFd<'_>, path: &[u8]) -> Result<File> {
    Ok(File::from(open(
        layer,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK,
    )?))
}

/// Whether two files of one size have the same content.
fn is_same(mut one: File, mut other: File) -> Result<bool> {
    let mut buffers = [vec![0; BUFFER], vec![0; BUFFER]];
    loop {
        let [ours, theirs] = &mut buffers;
        let length = one.read(ours)?;
        if length == 0 {
            return Ok(true);
        }
        // It became shorter since its size was asked for: it is another one.
        if other.read_exact(&mut theirs[..length]).is_err() || ours[..length] != theirs[..length] {
            return Ok(false);
        }
    }
}

/// The extended attributes that an image may have, by name.
fn xattrs(file: BorrowedFd<'_>) -> Result<Vec<Xattr>> {
    match flistxattr_query(file) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        length => length.context("cannot list its extended attributes")?,
    };
    let mut names = Vec::with_capacity(XATTR_MAX);
    flistxattr(file, rustix::buffer::spare_capacity(&mut names))
        .context("cannot list its extended attributes")?;
    let mut xattrs = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        let mut value = Vec::with_capacity(XATTR_MAX);
        fgetxattr(file, name, rustix::buffer::spare_capacity(&mut value))
            .context("cannot read an extended attribute")?;
        xattrs.push(Xattr {
            name: name.to_vec(),
            value,
        });
    }
    xattrs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_made_to_mount_on_is_left_out_while_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(dir.path().join(path)).unwrap();
        for path in [
            "view/a/b/c",
            "view/a/used",
            "view/img/x/y",
            "view/new/one/two",
            "tree/img",
        ] {
            make(path);
        }
        let at = |path: &str| dir.path().join(path);
        fs::write(at("view/a/b/stage1"), "").unwrap();
        fs::write(at("view/a/used/file"), "x").unwrap();
        fs::write(at("view/full"), "x").unwrap();
        let (view, tree) = (
            File::open(at("view")).unwrap(),
            File::open(at("tree")).unwrap(),
        );
        let layers = Layers {
            view: view.as_fd(),
            upper: view.as_fd(),
            tree: tree.as_fd(),
            originals: tree.as_fd(),
        };
        let made = [
            "a",
            "a/b",
            "a/b/c",
            "a/b/stage1",
            "a/used",
            "full",
            "gone",
            "img",
            "img/x",
            "img/x/y",
            "new",
            "new/one",
            "new/one/two",
        ];
        let found = mount_points(layers, &made.map(PathBuf::from).into()).unwrap();
        let mut found: Vec<_> = found
            .iter()
            .map(|path| path.escape_ascii().to_string())
            .collect();
        found.sort();
        let expected = [
            "a/b",
            "a/b/c",
            "a/b/stage1",
            "img/x",
            "img/x/y",
            "new",
            "new/one",
            "new/one/two",
        ];
        assert_eq!(found, expected);
    }
}
