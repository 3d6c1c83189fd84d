//! An image's files as its author made them: not relocated.

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};

use super::build::{Import, TreeBuilder};
use super::{Image, Store};
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
}
