//! Is a tree still what it was unpacked to? It is unpacked anew to see.

use std::os::fd::AsFd;

use anyhow::{Context, Result};

use super::build::{Import, TreeBuilder};
use super::compare::{self, Comparison};
use super::staging::Staging;
use super::tree::ROOTFS;
use super::{Image, Store, directory, lock};

impl Store {
    /// Compares an image's tree with what its archives make, whose digests are checked on the way;
    /// with `repair`, makes the tree what it should be. Returns how the tree differs, or differed.
    ///
    /// # Errors
    /// Where an archive is missing or damaged, the tree cannot be read or repaired, or something
    /// is mounted in it.
    pub fn verify(&self, image: &Image, repair: bool, import: Import<'_>) -> Result<Comparison> {
        let _hold = lock::share(self.images.as_fd())?;
        let staging = Staging::new(self.tmp.as_fd())?;
        let verified = self.verify_in(&staging, image, repair, import);
        match staging.discard() {
            Ok(()) => verified.map_err(|error| self.explain(error)),
            // What went wrong first counts.
            Err(error) => verified.and(Err(error)),
        }
    }

    fn verify_in(
        &self,
        staging: &Staging<'_>,
        image: &Image,
        repair: bool,
        import: Import<'_>,
    ) -> Result<Comparison> {
        let mut builder = TreeBuilder::new(staging.dir(), import)?;
        for layer in &image.layers {
            self.add_blob(&mut builder, layer)?;
        }
        builder.finish(&image.tree, &image.manifest.path_whitelist)?;
        let wanted = directory::open(staging.dir(), ROOTFS)?;
        let tree = directory::open(self.trees.as_fd(), image.key.as_str())?;
        let found = directory::open(tree.as_fd(), ROOTFS)?;
        let comparison = compare::compare(wanted.as_fd(), found.as_fd())
            .with_context(|| format!("cannot compare {}", image.tree.display()))?;
        if !repair || comparison.is_same() {
            return Ok(comparison);
        }
        compare::repair(wanted.as_fd(), found.as_fd())
            .with_context(|| format!("cannot repair {}", image.tree.display()))
    }
}
