//! An image's files as its author made them: not relocated.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};

use super::build::{Import, TreeBuilder};
use super::staging::Staging;
use super::tree::ROOTFS;
use super::{Image, Store, directory};
use crate::image::unpack::LeftOut;

impl Store {
    /// Unpacks into the directory `dir` a `rootfs`, and puts the image's documents beside it.
    /// `whole`: with what it depends on, and without what its pathWhitelist leaves out.
    ///
    /// # Errors
    /// Where an archive is missing or damaged, or the file system fails.
    pub fn extract(
        &self,
        image: &Image,
        whole: bool,
        dir: BorrowedFd<'_>,
        import: Import<'_>,
    ) -> Result<LeftOut> {
        let _hold = self.hold()?;
        let mut builder = TreeBuilder::new(dir, import)?;
        if whole || image.id.is_oci() {
            for layer in &image.layers {
                self.add_blob(&mut builder, layer)?;
            }
        } else {
            let layer = image.archive().context("the image has no archive")?;
            self.add_blob(&mut builder, layer)?;
        }
        let whitelist = match whole {
            true => image.manifest.path_whitelist.as_slice(),
            false => &[],
        };
        let left_out = builder.finish_as_made(whitelist)?;
        image.documents.write(dir)?;
        Ok(left_out)
    }

    /// Gives `work` the directory of the image's files as its author made them, whole: what was
    /// relocated in its tree is as it was before. Nothing of it is left afterwards.
    ///
    /// # Errors
    /// As [`Store::extract`], and where `work` fails.
    pub fn with_originals<T>(
        &self,
        image: &Image,
        import: Import<'_>,
        work: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
    ) -> Result<T> {
        let report = self.relocations(image)?;
        if report.changes.is_empty() && report.left.is_empty() {
            let tree = directory::open(self.trees.as_fd(), image.key.as_str())?;
            return work(directory::open(tree.as_fd(), ROOTFS)?.as_fd());
        }
        let staging = Staging::new(self.tmp.as_fd())?;
        let done = self
            .extract(image, true, staging.dir(), import)
            .and_then(|_| work(directory::open(staging.dir(), ROOTFS)?.as_fd()));
        match staging.discard() {
            Ok(()) => done.map_err(|error| self.explain(error)),
            // What went wrong first counts.
            Err(error) => done.and(Err(error)),
        }
    }
}
