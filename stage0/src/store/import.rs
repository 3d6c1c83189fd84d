//! From a file to an image in the store.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Error, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::index::{self, Fingerprint};
use super::record::{self, ROOTFS, Record, nanoseconds};
use super::staging::Staging;
use super::{Image, Store, directory};
use crate::image::aci::{self, Unpacked};
use crate::image::id::ImageId;
use crate::image::limits::Limits;
use crate::image::relocate::relocate;
use crate::image::unpack::LeftOut;

impl Store {
    /// The image in a file; it is imported if it is new.
    pub(super) fn fetch_file(&self, path: &Path, limits: Limits) -> Result<Image> {
        let file = open_file(path)?;
        let before = fingerprint(&file, path)?;
        if let Some(image) = self.known(&before) {
            return Ok(image);
        }
        let began = SystemTime::now();
        let image = self
            .import(&file, path, limits)
            .map_err(|error| self.explain(error))
            .with_context(|| format!("cannot import {}", path.display()))?;
        if fingerprint(&file, path)? == before {
            index::note(self.files.as_fd(), before, began, image.id.clone())?;
        }
        Ok(image)
    }

    /// The image that a file which was read before holds, if it is still there.
    fn known(&self, file: &Fingerprint) -> Option<Image> {
        let id = index::look_up(self.files.as_fd(), file)?;
        match self.load(id.directory()) {
            Ok(image) => (image.id == id).then_some(image),
            Err(error) => {
                log::debug!("the file is read again: {error:#}");
                None
            }
        }
    }

    /// Imports an image; nothing is left of it if that fails.
    fn import(&self, file: &File, path: &Path, limits: Limits) -> Result<Image> {
        let staging = Staging::new(self.tmp.as_fd())?;
        match self.make(&staging, file, path, limits) {
            Ok((id, true)) => self.load(id.directory()),
            Ok((id, false)) => {
                staging.discard()?;
                self.existing(&id)
            }
            Err(error) => match staging.discard() {
                Ok(()) => Err(error),
                Err(also) => Err(error.context(format!("{also:#}; and before that"))),
            },
        }
    }

    /// Makes the image, and gives it its name; false if it was there already.
    fn make(
        &self,
        staging: &Staging<'_>,
        file: &File,
        path: &Path,
        limits: Limits,
    ) -> Result<(ImageId, bool)> {
        let root = directory::ensure(staging.dir(), ROOTFS, 0o755)?;
        let unpacked = aci::unpack(file, clone(&root)?, limits)?;
        let id = unpacked.digest.id.clone();
        if self.load(id.directory()).is_ok() {
            return Ok((id, false));
        }
        warn(unpacked.left_out, path);
        let tree = self.tree(id.directory());
        let relocations = relocate(root.as_fd(), &tree).context("cannot relocate the image")?;
        unpacked.directories.set_times(root.as_fd())?;
        let record = self.record(&unpacked, path)?;
        record::write(
            staging.dir(),
            &record,
            &unpacked.manifest_json,
            &relocations,
        )?;
        rustix::fs::fchmod(staging.dir(), Mode::from_raw_mode(0o755))
            .context("cannot set the mode of the image's directory")?;
        rustix::fs::syncfs(staging.dir()).context("cannot bring the image to the disk")?;
        let published = staging.publish(self.images.as_fd(), id.directory())?;
        rustix::fs::fsync(&self.images).context("cannot bring the image's name to the disk")?;
        Ok((id, published))
    }

    fn record(&self, unpacked: &Unpacked, path: &Path) -> Result<Record> {
        let id = unpacked.digest.id.clone();
        let origin = std::path::absolute(path).context("cannot find the working directory")?;
        Ok(Record {
            name: unpacked.manifest.name.clone(),
            version: unpacked.manifest.version().map(str::to_owned),
            imported: nanoseconds(SystemTime::now()),
            origin: origin.display().to_string(),
            size: unpacked.digest.bytes,
            tree: self.tree(id.directory()),
            left_out: unpacked.left_out,
            id,
        })
    }

    /// The image that was in the store before.
    fn existing(&self, id: &ImageId) -> Result<Image> {
        let image = self.load(id.directory())?;
        ensure!(
            image.id == *id,
            "the store holds another image in its place, {}",
            image.id
        );
        Ok(image)
    }

    /// Says what to do when the disk is full.
    fn explain(&self, error: Error) -> Error {
        let full = error
            .chain()
            .filter_map(errno)
            .any(|errno| [Errno::NOSPC, Errno::DQUOT].contains(&errno));
        if full {
            let store = self.path.display();
            return error.context(format!(
                "the file system of {store} is full: free some space, or give another --dir"
            ));
        }
        error
    }
}

/// The system's error number, where an error is one of its.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    error
        .downcast_ref::<Errno>()
        .copied()
        .or_else(|| Errno::from_io_error(error.downcast_ref()?))
}

fn clone(fd: &OwnedFd) -> Result<OwnedFd> {
    fd.try_clone().context("cannot copy a descriptor")
}

/// Opens an image's file; never waits, as it would on a pipe.
fn open_file(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
        .with_context(|| format!("cannot open image file {}", path.display()))?;
    Ok(File::from(fd))
}

/// What the file looks like now.
fn fingerprint(file: &File, path: &Path) -> Result<Fingerprint> {
    let stat = rustix::fs::fstat(file)
        .with_context(|| format!("cannot look at image file {}", path.display()))?;
    ensure!(
        FileType::from_raw_mode(stat.st_mode).is_file(),
        "image file {} is no regular file",
        path.display()
    );
    Ok(Fingerprint::of(&stat))
}

/// Tells the user what the tree lacks.
fn warn(left_out: LeftOut, path: &Path) {
    let path = path.display();
    let LeftOut { devices, xattrs } = left_out;
    if devices > 0 {
        log::warn!("{path}: left out {devices} device nodes; apps see the host's /dev");
    }
    if xattrs > 0 {
        log::warn!(
            "{path}: left out {xattrs} extended attributes; security.capability and user.* are kept"
        );
    }
}
