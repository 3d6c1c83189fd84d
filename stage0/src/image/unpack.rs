//! Entries of an archive become files beneath a directory descriptor.
//!
//! A name is resolved by the kernel with `RESOLVE_BENEATH` and without symbolic links, so that
//! nothing can land outside of the directory, whatever the archive holds. Files are made new
//! (`O_EXCL`): an archive that names one twice is refused.

mod attributes;
mod directories;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use self::directories::Directories;

use super::archive::{ArchiveReader, Entry, Kind, Segment};
use super::limits::Limits;

/// Longest target of a symbolic link that the kernel stores.
const MAX_TARGET: usize = 4095;
/// Bytes of a file that are copied at once.
const BUFFER: usize = 128 << 10;

/// What an image holds and the store does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Device nodes: an app sees the host's `/dev`.
    pub devices: u64,
    /// Extended attributes other than file capabilities and `user.*`, and those that
    /// overlayfs would take for its own.
    pub xattrs: u64,
}

/// Unpacks entries into a directory.
pub struct Unpacker {
    root: OwnedFd,
    directories: Directories,
    /// The directory that was used last, as entries come directory by directory.
    last: Option<(Vec<u8>, OwnedFd)>,
    left_out: LeftOut,
    buffer: Vec<u8>,
}

impl Unpacker {
    /// Unpacks into the directory `root`, which is empty.
    pub fn new(root: OwnedFd, limits: Limits) -> Self {
        Self {
            root,
            directories: Directories::new(limits.directory_names),
            last: None,
            left_out: LeftOut::default(),
            buffer: vec![0; BUFFER],
        }
    }

    /// The directories with their times, and what was left out.
    pub fn finish(self) -> (Directories, LeftOut) {
        (self.directories, self.left_out)
    }

    /// Makes what `entry` describes at `path`, which is relative to the root and has no dots.
    pub fn add<R: Read>(
        &mut self,
        path: &[u8],
        entry: &Entry,
        data: &mut ArchiveReader<R>,
    ) -> Result<()> {
        if path.is_empty() {
            ensure!(entry.kind == Kind::Directory, "it must be a directory");
            let root = self.root.try_clone().context("cannot copy a descriptor")?;
            return self.describe_directory(path, root.as_fd(), entry);
        }
        let (directory, name) = split(path);
        let parent = self.parent(directory)?;
        let made = self.make(parent.as_fd(), name, path, entry, data);
        self.last = Some((directory.to_vec(), parent));
        made
    }

    fn make<R: Read>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &[u8],
        entry: &Entry,
        data: &mut ArchiveReader<R>,
    ) -> Result<()> {
        match &entry.kind {
            Kind::File { size, segments } => {
                let file = new_file(parent, name)?;
                self.copy(&file, segments, data)?;
                file.set_len(*size).context("cannot set its size")?;
                self.left_out.xattrs += attributes::set_on_file(file.as_fd(), entry)?;
            }
            Kind::Directory => self.make_directory(parent, name, path, entry)?,
            Kind::Symlink(target) => {
                ensure!(
                    target.len() <= MAX_TARGET,
                    "the symbolic link's target has more than {MAX_TARGET} bytes"
                );
                rustix::fs::symlinkat(OsStr::from_bytes(target), parent, name).map_err(create)?;
                self.left_out.xattrs += attributes::set_on_name(parent, name, entry)?;
            }
            Kind::HardLink(target) => self.link(target, parent, name)?,
            Kind::Fifo => {
                rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::RUSR, 0).map_err(create)?;
                self.left_out.xattrs += attributes::set_on_name(parent, name, entry)?;
            }
            Kind::Device => self.left_out.devices += 1,
        }
        Ok(())
    }

    /// Copies a file's data to where it belongs.
    fn copy<R: Read>(
        &mut self,
        file: &File,
        segments: &[Segment],
        data: &mut ArchiveReader<R>,
    ) -> Result<()> {
        for segment in segments {
            let mut at = segment.offset;
            let end = segment.offset + segment.length;
            while at < end {
                let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER);
                let length = data.read_data(&mut self.buffer[..most])?;
                ensure!(length > 0, "its data ends early");
                file.write_all_at(&self.buffer[..length], at)
                    .context("cannot write")?;
                at += length as u64;
            }
        }
        Ok(())
    }

    /// Makes one more name for a file that was unpacked before.
    fn link(&mut self, target: &[u8], parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        ensure!(
            !target.is_empty(),
            "a hard link to a directory is impossible"
        );
        let shown = target.escape_ascii();
        let (directory, file) = split(target);
        let from = directories::open(self.root.as_fd(), directory)
            .with_context(|| format!("cannot find its target \"rootfs/{shown}\""))?;
        let stat = rustix::fs::statat(&from, file, AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| format!("cannot find its target \"rootfs/{shown}\""))?;
        ensure!(
            FileType::from_raw_mode(stat.st_mode).is_file(),
            "it is a hard link to \"rootfs/{shown}\", which is no regular file"
        );
        rustix::fs::linkat(from, file, parent, name, AtFlags::empty()).map_err(create)
    }

    /// Makes a directory, or takes the one that an earlier entry implied.
    fn make_directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &[u8],
        entry: &Entry,
    ) -> Result<()> {
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Err(Errno::EXIST) if self.directories.is_implied(path) => (),
            result => result.map_err(create)?,
        }
        let directory = directories::open(parent, name.as_bytes())?;
        self.describe_directory(path, directory.as_fd(), entry)
    }

    fn describe_directory(
        &mut self,
        path: &[u8],
        directory: BorrowedFd<'_>,
        entry: &Entry,
    ) -> Result<()> {
        self.directories.describe(path, entry.metadata.mtime)?;
        self.left_out.xattrs += attributes::set_on_file(directory, entry)?;
        Ok(())
    }

    /// Opens the directory at `path`, making what is missing of it.
    fn parent(&mut self, path: &[u8]) -> Result<OwnedFd> {
        match self.last.take() {
            Some((last, directory)) if last == path => return Ok(directory),
            _ => (),
        }
        match directories::open(self.root.as_fd(), path) {
            Err(Errno::NOENT) => self.directories.make_implied(self.root.as_fd(), path),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                bail!("a directory above it is no directory, but a file or a symbolic link")
            }
            result => result.context("cannot open the directory above it"),
        }
    }
}

/// Splits a path into its directory, empty for the root, and its last component.
fn split(path: &[u8]) -> (&[u8], &OsStr) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], OsStr::from_bytes(&path[slash + 1..])),
        None => (&[], OsStr::from_bytes(path)),
    }
}

fn new_file(parent: BorrowedFd<'_>, name: &OsStr) -> Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(create)?;
    Ok(File::from(fd))
}

/// Why something could not be made.
fn create(error: Errno) -> anyhow::Error {
    let what = match error {
        Errno::EXIST => "duplicate entry: something of this name was unpacked before",
        _ => "cannot create it",
    };
    anyhow::Error::new(error).context(what)
}

#[cfg(test)]
#[path = "unpack/tests.rs"]
mod tests;
