//! Two files, one of each tree.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{FileType, OFlags, Stat, fstat, readlinkat};

use super::walk::{cannot, open};
use super::{Aspect, attributes};

/// Bytes of a file that are compared at once.
const BUFFER: usize = 128 << 10;

/// Where the content of two files is read to.
pub(super) struct Buffers([Vec<u8>; 2]);

impl Buffers {
    pub(super) fn new() -> Self {
        Self([vec![0; BUFFER], vec![0; BUFFER]])
    }
}

/// What two entries of one name are.
pub(super) enum Outcome {
    /// Alike.
    Same,
    /// Directories, which are to be compared when they are entered.
    Directories,
    /// Different.
    Differ(Vec<Aspect>),
}

/// Compares two entries of one name.
pub(super) fn compare(
    wanted: BorrowedFd<'_>,
    found: BorrowedFd<'_>,
    name: &CStr,
    path: &[u8],
    buffers: &mut Buffers,
) -> Result<Outcome> {
    let wanted = Entry::look(wanted, name, path)?;
    let found = Entry::look(found, name, path)?;
    let kind = wanted.kind();
    if kind != found.kind() || wanted.stat.st_rdev != found.stat.st_rdev {
        return Ok(Outcome::Differ(vec![Aspect::Type]));
    }
    if kind == FileType::Directory {
        return Ok(Outcome::Directories);
    }
    let mut aspects = metadata(&wanted.stat, &found.stat);
    match kind {
        FileType::RegularFile => files(&wanted, &found, buffers, &mut aspects)?,
        FileType::Symlink if wanted.target()? != found.target()? => aspects.push(Aspect::Target),
        _ => (),
    }
    Ok(match aspects.is_empty() {
        true => Outcome::Same,
        false => Outcome::Differ(aspects),
    })
}

/// In what two directories themselves differ.
pub(super) fn directories(
    wanted: (&OwnedFd, &Stat),
    found: (&OwnedFd, &Stat),
) -> rustix::io::Result<Vec<Aspect>> {
    let mut aspects = metadata(wanted.1, found.1);
    if attributes::read(wanted.0.as_fd())? != attributes::read(found.0.as_fd())? {
        aspects.push(Aspect::Xattrs);
    }
    Ok(aspects)
}

fn metadata(wanted: &Stat, found: &Stat) -> Vec<Aspect> {
    let mut aspects = Vec::new();
    // The permissions of a symbolic link mean nothing, and are not the same on all file systems.
    let is_link = FileType::from_raw_mode(wanted.st_mode).is_symlink();
    if wanted.st_mode != found.st_mode && !is_link {
        aspects.push(Aspect::Mode);
    }
    if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid) {
        aspects.push(Aspect::Owner);
    }
    aspects
}

fn files(
    wanted: &Entry<'_>,
    found: &Entry<'_>,
    buffers: &mut Buffers,
    aspects: &mut Vec<Aspect>,
) -> Result<()> {
    let (mut wanted_file, mut found_file) = (wanted.open()?, found.open()?);
    if wanted.stat.st_size != found.stat.st_size {
        aspects.push(Aspect::Size);
    } else if wanted.stat.st_size > 0
        && !is_same_content(&mut wanted_file, &mut found_file, buffers, found.path)
            .with_context(|| cannot("read", wanted.path))?
    {
        aspects.push(Aspect::Content);
    }
    let read = |file: &File| {
        attributes::read(file.as_fd())
            .with_context(|| cannot("read the extended attributes of", wanted.path))
    };
    if read(&wanted_file)? != read(&found_file)? {
        aspects.push(Aspect::Xattrs);
    }
    Ok(())
}

/// Whether two files have the same bytes. One that cannot be read where it should be whole, as on
/// a failing disk, has not.
fn is_same_content(
    wanted: &mut File,
    found: &mut File,
    buffers: &mut Buffers,
    path: &[u8],
) -> io::Result<bool> {
    let [ours, theirs] = &mut buffers.0;
    loop {
        let length = fill(wanted, ours)?;
        match fill(found, theirs) {
            Ok(other) if ours[..length] != theirs[..other] => return Ok(false),
            Ok(_) if length == 0 => return Ok(true),
            Ok(_) => (),
            Err(error) => {
                log::warn!("{}: {error}", cannot("read", path));
                return Ok(false);
            }
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// A file as it was looked at.
struct Entry<'a> {
    dir: BorrowedFd<'a>,
    name: &'a CStr,
    path: &'a [u8],
    /// Opened only to look at it.
    fd: OwnedFd,
    stat: Stat,
}

impl<'a> Entry<'a> {
    fn look(dir: BorrowedFd<'a>, name: &'a CStr, path: &'a [u8]) -> Result<Self> {
        let fd = open(dir, name, OFlags::PATH, path)?;
        let stat = fstat(&fd).with_context(|| cannot("look at", path))?;
        Ok(Self {
            dir,
            name,
            path,
            fd,
            stat,
        })
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    fn target(&self) -> Result<Vec<u8>> {
        let target = readlinkat(&self.fd, c"", Vec::new());
        Ok(target
            .with_context(|| cannot("read", self.path))?
            .into_bytes())
    }

    /// Opens a regular file for reading; what has taken its place meanwhile does not block.
    fn open(&self) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        Ok(File::from(open(self.dir, self.name, flags, self.path)?))
    }
}
