//! Downloads under way, each locked while somebody writes to it.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::{Store, blobs, directory};
use crate::image::blob::{Blob, Sha256};
use crate::registry::sink::{BlobSink, Claim, PartialBlob};
use crate::registry::url::PartialUrl;

/// What is added to a download's name for the notes on it.
const NOTE: &str = ".note";

/// A file of a web server that is being downloaded.
#[derive(Debug)]
pub struct Download<'a> {
    /// Its bytes, and the notes on them.
    pub files: PartialUrl,
    partial: BorrowedFd<'a>,
    name: String,
}

impl Download<'_> {
    /// Removes what was downloaded.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn remove(self) -> Result<()> {
        let PartialUrl { file, note } = &self.files;
        remove_own(self.partial, &self.name, file)?;
        remove_own(self.partial, &note_of(&self.name), note)
    }
}

impl Store {
    /// The place for what is downloaded from `url`, with what there is of it.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn download(&self, url: &str) -> Result<Download<'_>> {
        let name = format!("url-{}", Sha256::of(url.as_bytes()).hex());
        let partial = self.partial.as_fd();
        let file = open_locked(partial, &name)?;
        let note = open_locked(partial, &note_of(&name))?;
        Ok(Download {
            files: PartialUrl { file, note },
            partial,
            name,
        })
    }

    /// A file without a name, for what is not kept.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn temporary_file(&self) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(&self.tmp, ".", flags, mode)
            .context("cannot make a temporary file in the store")?;
        Ok(File::from(fd))
    }
}

/// The layers of one image that are downloaded, or were before. They become the store's when
/// the image does.
///
/// Dropped, they stay to be resumed, but for those of which nothing has come.
pub struct Downloads<'a> {
    store: &'a Store,
    /// With a descriptor that keeps the lock.
    claimed: RefCell<Vec<(Sha256, File)>>,
}

impl Store {
    /// A place for the layers of an image.
    pub fn downloads(&self) -> Downloads<'_> {
        Downloads {
            store: self,
            claimed: RefCell::default(),
        }
    }
}

impl Downloads<'_> {
    /// Whether the layer is among them.
    pub(super) fn has(&self, digest: &Sha256) -> bool {
        self.claimed
            .borrow()
            .iter()
            .any(|(claimed, _)| claimed == digest)
    }

    /// Moves them to where archives are kept.
    pub(super) fn publish(&self) -> Result<()> {
        for (digest, _) in &*self.claimed.borrow() {
            let name = blobs::file_name(digest);
            let (partial, blobs) = (self.store.partial.as_fd(), self.store.blobs.as_fd());
            blobs::publish(partial, &name, blobs, digest)?;
        }
        Ok(())
    }

    /// Removes what is left of them.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn discard(&self) -> Result<()> {
        let mut claimed = self.claimed.borrow_mut();
        let partial = self.store.partial.as_fd();
        let mut claimed = claimed.drain(..);
        claimed
            .try_for_each(|(digest, file)| remove_own(partial, &blobs::file_name(&digest), &file))
    }
}

impl Drop for Downloads<'_> {
    fn drop(&mut self) {
        let partial = self.store.partial.as_fd();
        for (digest, file) in &*self.claimed.borrow() {
            let name = blobs::file_name(digest);
            if let Err(error) = remove_empty(partial, &name, file) {
                log::warn!("{error:#}");
            }
        }
    }
}

impl BlobSink for Downloads<'_> {
    fn claim(&self, digest: &Sha256) -> Result<Claim> {
        let find = || blobs::find(self.store.blobs.as_fd(), digest);
        if let Some(blob) = find()? {
            return Ok(Claim::Whole(blob));
        }
        let partial = self.store.partial.as_fd();
        let name = blobs::file_name(digest);
        let file = open_locked(partial, &name)?;
        // Another process may have brought it while this one waited for the lock.
        if let Some(blob) = find()? {
            remove(partial, &name)?;
            return Ok(Claim::Whole(blob));
        }
        let lock = file.try_clone().context("cannot copy a descriptor")?;
        self.claimed.borrow_mut().push((*digest, lock));
        Ok(Claim::Partial(PartialBlob {
            digest: *digest,
            file,
        }))
    }

    fn complete(&self, partial: PartialBlob) -> Result<Blob> {
        // It stays locked as long as the blob is held.
        blobs::of_file(partial.file)
    }
}

impl Drop for Download<'_> {
    fn drop(&mut self) {
        let PartialUrl { file, note } = &self.files;
        for (name, file) in [(&self.name, file), (&note_of(&self.name), note)] {
            if let Err(error) = remove_empty(self.partial, name, file) {
                log::warn!("{error:#}");
            }
        }
    }
}

fn note_of(name: &str) -> String {
    format!("{name}{NOTE}")
}

/// Opens a file of this directory, makes it if it is missing, and waits for its lock.
fn open_locked(partial: BorrowedFd<'_>, name: &str) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let context = || format!("cannot open the download {name:?}");
    loop {
        let file = rustix::fs::openat(partial, name, flags, mode).with_context(context)?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .with_context(context)?;
        // It may have been completed, or removed, before this process got the lock.
        let own = rustix::fs::fstat(&file).with_context(context)?;
        match rustix::fs::statat(partial, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if there.st_ino == own.st_ino => return Ok(File::from(file)),
            Ok(_) | Err(Errno::NOENT) => (),
            Err(error) => return Err(error).with_context(context),
        }
    }
}

fn remove(partial: BorrowedFd<'_>, name: &str) -> Result<()> {
    match rustix::fs::unlinkat(partial, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove the download {name:?}")),
    }
}

/// Removes a download that is locked by `file`, if that is still what has the name.
fn remove_own(partial: BorrowedFd<'_>, name: &str, file: &File) -> Result<()> {
    let context = || format!("cannot look at the download {name:?}");
    let own = rustix::fs::fstat(file).with_context(context)?;
    match rustix::fs::statat(partial, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) if there.st_ino == own.st_ino => remove(partial, name),
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error).with_context(context),
    }
}

/// Removes such a download if nothing has come of it.
fn remove_empty(partial: BorrowedFd<'_>, name: &str, file: &File) -> Result<()> {
    match file.metadata()?.len() {
        0 => remove_own(partial, name, file),
        _ => Ok(()),
    }
}

/// Removes the downloads that nobody works on and that `is_stale` says are old enough; returns
/// how many.
///
/// # Errors
/// Where the file system fails.
pub fn sweep(
    partial: BorrowedFd<'_>,
    is_stale: impl Fn(std::time::SystemTime) -> bool,
) -> Result<u64> {
    let mut removed = 0;
    for name in directory::names(partial)? {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let context = || format!("cannot look at the download {name:?}");
        let file = match rustix::fs::openat(partial, &name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error).with_context(context),
        };
        let changed = file.metadata()?.modified()?;
        if is_stale(changed) && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            rustix::fs::unlinkat(partial, &name, AtFlags::empty()).with_context(context)?;
            removed += 1;
        }
    }
    Ok(removed)
}
