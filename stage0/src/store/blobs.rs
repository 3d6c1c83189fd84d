//! Archives as they came, each once, named by the digest of their bytes.

use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::directory;
use crate::image::blob::{Blob, Sha256};

/// What every blob's name starts with.
const PREFIX: &str = "sha256-";

/// The name of the file of the blob with this digest.
pub fn file_name(digest: &Sha256) -> String {
    format!("{PREFIX}{}", digest.hex())
}

/// The digest in the name of a blob's file.
pub fn digest_of(name: &str) -> Option<Sha256> {
    let digits = name.strip_prefix(PREFIX)?;
    Sha256::parse(&format!("sha256:{digits}")).ok()
}

/// The blob, if the store has it. Its bytes are not checked here: whoever reads them does.
///
/// # Errors
/// Where the file system fails.
pub fn find(blobs: BorrowedFd<'_>, digest: &Sha256) -> Result<Option<Blob>> {
    let name = file_name(digest);
    let context = || format!("cannot open the archive {name:?} of the store");
    match directory::open_file(blobs, &name) {
        Ok(fd) => Ok(Some(of_file(File::from(fd)).with_context(context)?)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).with_context(context),
    }
}

/// All bytes of a file.
///
/// # Errors
/// Where the file cannot be looked at.
pub fn of_file(file: File) -> Result<Blob> {
    let size = file.metadata()?.len();
    Ok(Blob {
        file: Arc::new(file),
        offset: 0,
        size,
    })
}

/// Makes a file for an archive that is on its way in.
///
/// # Errors
/// Where it cannot be made.
pub fn create(dir: BorrowedFd<'_>, name: &str) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd: OwnedFd = rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
        .with_context(|| format!("cannot create {name:?}"))?;
    Ok(File::from(fd))
}

/// Moves the file `name` of `dir` to the blobs; one that is there already stays.
///
/// # Errors
/// Where the file system fails.
pub fn publish(
    dir: BorrowedFd<'_>,
    name: &str,
    blobs: BorrowedFd<'_>,
    digest: &Sha256,
) -> Result<()> {
    let to = file_name(digest);
    match rustix::fs::renameat_with(dir, name, blobs, &*to, RenameFlags::NOREPLACE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot put an archive at {to:?}")),
    }
}
