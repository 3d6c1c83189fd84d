//! Entries of archives become files beneath a directory descriptor, layer upon layer.
//!
//! A name is resolved by the kernel with `RESOLVE_BENEATH` and without symbolic links, so that
//! nothing can land outside of the directory, whatever the archive holds. Files are made new
//! (`O_EXCL`): an archive that names one twice is refused. What a lower layer made is removed
//! before something else takes its place, and never opened to be written: it may have another
//! name, which keeps its content.
//!
//! - [`directories`]: all directories, and what the present layer did to them
//! - [`made`]: the other files that the present layer made
//! - [`parents`]: where an entry belongs
//! - [`removal`]: what goes away

mod attributes;
mod directories;
mod made;
mod parents;
pub mod path;
mod removal;

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use self::attributes::is_kept;
pub use self::directories::Directories;

use self::made::Made;
use self::path::{join, split};
use super::archive::{ArchiveReader, Entry, Kind, Segment};
use super::limits::Limits;

/// Longest target of a symbolic link that the kernel stores, and longest path that it takes.
const MAX_TARGET: usize = 4095;
const DUPLICATE: &str = "duplicate entry: something of this name was unpacked before";

/// What an image holds and the store does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Device nodes: an app sees the host's `/dev`.
    pub devices: u64,
    /// Extended attributes other than file capabilities and `user.*`, and those that
    /// overlayfs would take for its own.
    pub xattrs: u64,
}

/// What becomes of a symbolic link that a lower layer made and that stands above an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowerLinks {
    /// The entry goes where the link leads, inside the tree.
    Followed,
    /// The layer's path wins: a directory takes the link's place.
    Replaced,
}

/// Whose the files of an image become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owners {
    /// Whose the image says, with all that it says of them.
    #[default]
    OfImage,
    /// The caller's, who has no privileges: nothing runs with others' rights (no set-ID bits, no
    /// file capabilities), and the caller can read everything.
    Caller,
}

impl Owners {
    /// What this process can do.
    pub fn of_process() -> Self {
        match rustix::process::geteuid().is_root() {
            true => Self::OfImage,
            false => Self::Caller,
        }
    }
}

/// Unpacks the layers of an image into a directory, the lowest first.
pub struct Unpacker {
    root: OwnedFd,
    limits: Limits,
    owners: Owners,
    /// How many layers were begun.
    layers: usize,
    lower_links: LowerLinks,
    directories: Directories,
    /// What the present layer made, other than directories. In the lowest layer the kernel
    /// knows, and only the device nodes are here, which were left out.
    made: Made,
    /// The directory that was used last, as entries come directory by directory.
    last: Option<(Vec<u8>, OwnedFd)>,
    left_out: LeftOut,
    /// Entries of all layers so far.
    entries: u64,
    /// Bytes of the files of all layers so far, holes included.
    file_bytes: u64,
}

/// Where something is to be made.
#[derive(Clone, Copy)]
struct Spot<'a> {
    parent: BorrowedFd<'a>,
    name: &'a OsStr,
    /// The real path of it.
    path: &'a [u8],
}

impl Unpacker {
    /// Unpacks into the directory `root`, which is empty.
    pub fn new(root: OwnedFd, limits: Limits) -> Self {
        Self {
            root,
            limits,
            owners: Owners::default(),
            layers: 0,
            lower_links: LowerLinks::Replaced,
            directories: Directories::new(limits.directory_memory),
            made: Made::default(),
            last: None,
            left_out: LeftOut::default(),
            entries: 0,
            file_bytes: 0,
        }
    }

    /// The same, and files become those of `owners`.
    pub fn with_owners(self, owners: Owners) -> Self {
        Self { owners, ..self }
    }

    /// Begins a layer: what there is may be replaced from now on, but what the layer makes may
    /// not.
    pub fn begin_layer(&mut self, lower_links: LowerLinks) {
        self.layers += 1;
        self.lower_links = lower_links;
        self.directories.begin_layer();
        self.made.clear();
        self.last = None;
    }

    /// The directories with their times, and what was left out.
    pub fn finish(self) -> (Directories, LeftOut) {
        (self.directories, self.left_out)
    }

    /// Whether the present layer described the root.
    pub fn describes_root(&self) -> bool {
        self.directories.is_described(b"")
    }

    /// Gives the root a time, where no layer describes it.
    pub fn imply_root(&mut self) -> Result<()> {
        match self.directories.contains(b"") {
            true => Ok(()),
            false => self.directories.imply(b""),
        }
    }

    /// Whether there are layers below the present one.
    fn has_lower(&self) -> bool {
        self.layers > 1
    }

    /// Counts an entry, and what its file takes.
    fn count(&mut self, bytes: u64) -> Result<()> {
        self.entries += 1;
        self.file_bytes = self.file_bytes.saturating_add(bytes);
        let Limits {
            entries,
            expanded_bytes,
            ..
        } = self.limits;
        ensure!(
            self.entries <= entries,
            "the image has more than {entries} entries"
        );
        ensure!(
            self.file_bytes <= expanded_bytes,
            "the files of the image have more than {expanded_bytes} bytes"
        );
        Ok(())
    }

    /// Makes what `entry` describes at `path`, which is relative to the root and has no dots.
    pub fn add<R: BufRead>(
        &mut self,
        path: &[u8],
        entry: &Entry,
        data: &mut ArchiveReader<R>,
    ) -> Result<()> {
        self.count(match entry.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        })?;
        if path.is_empty() {
            ensure!(entry.kind == Kind::Directory, "it must be a directory");
            let root = self.root.try_clone().context("cannot copy a descriptor")?;
            return self.describe_directory(path, root.as_fd(), entry, self.has_lower());
        }
        let (directory, name) = split(path);
        let parent = self.parent(directory)?;
        let real = parent.real.as_ref().map(|real| join(real, name.as_bytes()));
        let spot = Spot {
            parent: parent.fd.as_fd(),
            name,
            path: real.as_deref().unwrap_or(path),
        };
        self.make(spot, entry, data)?;
        if entry.kind == Kind::Device || (self.has_lower() && entry.kind != Kind::Directory) {
            self.made.insert(spot.path);
        }
        // Not where a link leads: the next entry may replace the link.
        if parent.real.is_none() {
            self.last = Some((directory.to_vec(), parent.fd));
        }
        Ok(())
    }

    fn make<R: BufRead>(
        &mut self,
        spot: Spot<'_>,
        entry: &Entry,
        data: &mut ArchiveReader<R>,
    ) -> Result<()> {
        let Spot { parent, name, .. } = spot;
        match &entry.kind {
            Kind::File { size, segments } => {
                let file = self.create(spot, || new_file(parent, name))?;
                let end = Self::copy(&file, segments, data)?;
                if end < *size {
                    file.set_len(*size).context("cannot set its size")?;
                }
                self.left_out.xattrs += attributes::set_on_file(file.as_fd(), entry, self.owners)?;
            }
            Kind::Directory => self.make_directory(spot, entry)?,
            Kind::Symlink(target) => {
                ensure!(
                    target.len() <= MAX_TARGET,
                    "the symbolic link's target has more than {MAX_TARGET} bytes"
                );
                let target = OsStr::from_bytes(target);
                self.create(spot, || rustix::fs::symlinkat(target, parent, name))?;
                self.left_out.xattrs += attributes::set_on_name(parent, name, entry, self.owners)?;
            }
            Kind::HardLink(target) => self.link(target, spot)?,
            Kind::Fifo => {
                let make = || rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::RUSR, 0);
                self.create(spot, make)?;
                self.left_out.xattrs += attributes::set_on_name(parent, name, entry, self.owners)?;
            }
            Kind::Device => self.leave_out_device(spot)?,
        }
        Ok(())
    }

    /// Makes something new, in the place of what a lower layer made.
    fn create<T>(&mut self, spot: Spot<'_>, make: impl Fn() -> Result<T, Errno>) -> Result<T> {
        ensure!(!self.made.contains(spot.path), DUPLICATE);
        match make() {
            Err(Errno::EXIST) if self.has_lower() && !self.directories.is_present(spot.path) => {
                self.remove(spot.path)?;
                make()
            }
            result => result,
        }
        .map_err(create)
    }

    /// Copies a file's data to where it belongs; says where it ends.
    fn copy<R: BufRead>(
        file: &File,
        segments: &[Segment],
        data: &mut ArchiveReader<R>,
    ) -> Result<u64> {
        let mut at = 0;
        for segment in segments {
            at = segment.offset;
            let end = segment.offset + segment.length;
            while at < end {
                let bytes = data.data()?;
                let most = usize::try_from(end - at).unwrap_or(usize::MAX);
                let length = bytes.len().min(most);
                ensure!(length > 0, "its data ends early");
                file.write_all_at(&bytes[..length], at)
                    .context("cannot write")?;
                data.consume(length);
                at += length as u64;
            }
        }
        Ok(at)
    }

    /// Makes one more name for a file that was unpacked before, by this layer or a lower one.
    fn link(&mut self, target: &[u8], spot: Spot<'_>) -> Result<()> {
        ensure!(
            !target.is_empty(),
            "a hard link to a directory is impossible"
        );
        let shown = target.escape_ascii();
        let missing =
            || format!("cannot find its target \"/{shown}\", which must come before the link");
        let (directory, file) = split(target);
        let found = self.existing(directory).with_context(missing)?;
        let from = found.with_context(missing)?;
        let stat =
            rustix::fs::statat(&from.fd, file, AtFlags::SYMLINK_NOFOLLOW).with_context(missing)?;
        ensure!(
            FileType::from_raw_mode(stat.st_mode).is_file(),
            "it is a hard link to \"/{shown}\", which is no regular file"
        );
        let real = from.real.as_deref().unwrap_or(directory);
        ensure!(
            join(real, file.as_bytes()) != spot.path,
            "duplicate entry: it is a hard link to itself"
        );
        let flags = AtFlags::empty();
        self.create(spot, || {
            rustix::fs::linkat(&from.fd, file, spot.parent, spot.name, flags)
        })
    }

    /// A device node is not made, but what a lower layer has in its place goes.
    fn leave_out_device(&mut self, spot: Spot<'_>) -> Result<()> {
        ensure!(
            !self.made.contains(spot.path) && !self.directories.is_present(spot.path),
            DUPLICATE
        );
        if self.has_lower() {
            self.remove(spot.path)?;
        } else {
            match rustix::fs::statat(spot.parent, spot.name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => (),
                Ok(_) => bail!(DUPLICATE),
                Err(error) => return Err(create(error)),
            }
        }
        self.left_out.devices += 1;
        Ok(())
    }

    /// Makes a directory, or takes the one that an earlier entry implied or a lower layer made.
    fn make_directory(&mut self, spot: Spot<'_>, entry: &Entry) -> Result<()> {
        ensure!(!self.made.contains(spot.path), DUPLICATE);
        let make = || rustix::fs::mkdirat(spot.parent, spot.name, Mode::RWXU);
        let old = match make() {
            Err(Errno::EXIST) if self.directories.contains(spot.path) => true,
            Err(Errno::EXIST) if self.has_lower() => {
                self.remove(spot.path)?;
                make().map_err(create)?;
                false
            }
            result => result.map(|()| false).map_err(create)?,
        };
        let directory = directories::open(spot.parent, spot.name.as_bytes())?;
        let old = old && self.has_lower();
        self.describe_directory(spot.path, directory.as_fd(), entry, old)
    }

    fn describe_directory(
        &mut self,
        path: &[u8],
        directory: BorrowedFd<'_>,
        entry: &Entry,
        old: bool,
    ) -> Result<()> {
        self.directories.describe(path, entry.metadata.mtime)?;
        self.left_out.xattrs += match old {
            true => attributes::set_on_old_directory(directory, entry, self.owners)?,
            false => attributes::set_on_file(directory, entry, self.owners)?,
        };
        Ok(())
    }
}

fn new_file(parent: BorrowedFd<'_>, name: &OsStr) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Why something could not be made.
fn create(error: Errno) -> anyhow::Error {
    match error {
        Errno::EXIST => anyhow!(error).context(DUPLICATE),
        _ => anyhow!(error).context("cannot create it"),
    }
}

#[cfg(test)]
#[path = "unpack/tests.rs"]
mod tests;
