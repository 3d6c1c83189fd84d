//! From an archive to an image in the store.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use anyhow::{Context, Error, Result, ensure};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::io::Errno;

use super::build::{Copies, Import, TreeBuilder, warn};
use super::dependencies::Below;
use super::record::{Documents, ImageName, MAX_NAMES, Record, nanoseconds};
use super::staging::Staging;
use super::tree::{LayerContent, LayerRecord, ROOTFS, TreeKey};
use super::{Downloads, Image, Store, blobs, directory, lock, staging};
use crate::image::blob::{Blob, Sha256};
use crate::image::id::ImageId;
use crate::image::manifest::ImageManifest;
use crate::image::oci::{Layer, OciImage, config, document};
use crate::registry::version::Validators;
use crate::trust::verify::Signature;

/// The tree, the image and the archives within a staging directory.
const TREE: &str = "tree";
const IMAGE: &str = "image";
const ARCHIVES: &str = "archives";

/// Where an image comes from, as the store remembers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// A path or a reference, for people to read.
    pub text: String,
    /// The digest that a registry knows it by: of an index, or of its manifest.
    pub digest: Option<Sha256>,
    /// What tells whether the file of a web server has changed.
    pub validators: Option<Validators>,
    /// Whose signature an appc image has.
    pub signature: Option<Signature>,
}

/// An appc image that was read and is not in the store yet.
#[derive(Clone, Copy, Debug)]
pub struct AciFound<'a> {
    /// Its ID.
    pub id: &'a ImageId,
    /// What it says of itself.
    pub manifest: &'a ImageManifest,
    /// The digest of its file.
    pub blob: &'a Sha256,
    /// The images that it is laid over.
    pub below: &'a [Below],
}

/// An image that is to get its name.
struct New {
    record: Record,
    documents: Documents,
}

impl Store {
    /// Imports the appc image in `blob`. `check` is asked once it is known what it is, and before
    /// anything of it can be found in the store.
    ///
    /// # Errors
    /// Where it cannot be imported; then nothing of it is left.
    pub fn import_aci(
        &self,
        blob: &Blob,
        origin: &Origin,
        import: Import<'_>,
        check: impl FnOnce(&AciFound<'_>) -> Result<()>,
    ) -> Result<Image> {
        self.staged(|staging| {
            let mut copies = Copies::new(staging.archives.as_fd(), None);
            let mut builder = TreeBuilder::new(staging.tree.as_fd(), import)?;
            let copy = copies.create()?;
            let (contents, id) = builder.add_aci(blob, &[], Some(&copy))?;
            let manifest = contents.manifest;
            let below = self.dependencies(&manifest, &id)?;
            let layer = builder.layers().last().context("nothing was unpacked")?;
            copies.name(layer.blob);
            check(&AciFound {
                id: &id,
                manifest: &manifest,
                blob: &layer.blob,
                below: &below,
            })?;
            let new = |tree| New {
                record: Record {
                    names: vec![ImageName {
                        name: manifest.name.clone(),
                        version: manifest.version().map(str::to_owned),
                    }],
                    imported: nanoseconds(SystemTime::now()),
                    origin: origin.text.clone(),
                    validators: origin.validators.clone(),
                    signature: origin.signature.clone(),
                    digest: None,
                    id: id.clone(),
                    tree,
                },
                documents: Documents {
                    manifest: Some(contents.manifest_json.clone()),
                    config: None,
                },
            };
            if manifest.dependencies.is_empty() {
                let key = TreeKey::of_image(&id);
                self.complete(&key, builder, &manifest, &origin.text)?;
                return self.publish(staging, &copies, new(key));
            }
            let ids: Vec<_> = below
                .iter()
                .map(|below| &below.id)
                .chain([&id])
                .cloned()
                .collect();
            let key = TreeKey::of_dependencies(&ids);
            if self.load_tree(&key).is_err() {
                drop(builder);
                stage1_skim::remove::remove_tree(staging.tree.as_fd(), ROOTFS.as_ref())?;
                let mut builder = TreeBuilder::new(staging.tree.as_fd(), import)?;
                for below in &below {
                    self.add_image(&mut builder, below)?;
                }
                let kept = blobs::of_file(copy)?;
                builder.add_aci(&kept, &[], None)?;
                self.complete(&key, builder, &manifest, &origin.text)?;
            }
            self.publish(staging, &copies, new(key))
        })
    }

    /// Imports an OCI image. `check` is asked first. Layers need not be given where the store has
    /// the whole tree; those among `downloads` become the store's without a copy.
    ///
    /// # Errors
    /// Where it cannot be imported; then nothing of it is left.
    pub fn import_oci(
        &self,
        image: &OciImage,
        origin: &Origin,
        import: Import<'_>,
        downloads: Option<&Downloads<'_>>,
        check: impl FnOnce(&ImageId, &[ImageName]) -> Result<()>,
    ) -> Result<Image> {
        let (id, manifest) = self.describe(image)?;
        check(&id, &names(image))?;
        let key = key_of(image)?;
        let digest = image.manifest.as_ref().map(|(digest, _)| *digest);
        let new = New {
            record: Record {
                id,
                names: names(image),
                imported: nanoseconds(SystemTime::now()),
                origin: origin.text.clone(),
                validators: None,
                signature: None,
                digest: origin.digest.or(digest),
                tree: key.clone(),
            },
            documents: documents(image),
        };
        self.staged(|staging| {
            let mut copies = Copies::new(staging.archives.as_fd(), downloads);
            if self.load_tree(&key).is_err() {
                let (layers, named) = (image.layers.len(), config::diff_ids(&image.config)?.len());
                ensure!(
                    layers == named,
                    "the image has {layers} layers, and its configuration names {named}"
                );
                let mut builder = TreeBuilder::new(staging.tree.as_fd(), import)?;
                for layer in &image.layers {
                    self.add_layer(&mut builder, layer, &mut copies)?;
                }
                self.complete(&key, builder, &manifest, &origin.text)?;
            }
            self.publish(staging, &copies, new)
        })
    }

    /// The ID of an image that was found, and what it says of itself.
    ///
    /// # Errors
    /// Where its documents are none of an image's, or it is not for this host.
    pub fn describe(&self, image: &OciImage) -> Result<(ImageId, ImageManifest)> {
        let digest = match &image.manifest {
            Some((digest, _)) => *digest,
            None => Sha256::of(&image.config),
        };
        // A document that could be read as a manifest, too, would have that one's ID.
        ensure!(
            image.manifest.is_some() || document::parse(&image.config).is_err(),
            "its configuration is a manifest as well: it is made to mislead"
        );
        let names = names(image);
        let name = names.first().context("the image has no name")?;
        Ok((ImageId::of_oci(&digest), documents(image).parse(name)?))
    }

    /// Whether the store has all layers of an image, unpacked.
    ///
    /// # Errors
    /// Where its configuration is none.
    pub fn has_tree_of(&self, image: &OciImage) -> Result<bool> {
        Ok(self.load_tree(&key_of(image)?).is_ok())
    }

    /// Unpacks a layer, and keeps a copy of it unless the store has one.
    fn add_layer(
        &self,
        builder: &mut TreeBuilder<'_>,
        layer: &Layer,
        copies: &mut Copies<'_>,
    ) -> Result<()> {
        let known = match &layer.digest {
            Some(digest) => {
                copies.has(digest) || blobs::find(self.blobs.as_fd(), digest)?.is_some()
            }
            None => false,
        };
        if known {
            builder.add_layer(layer, None)?;
        } else {
            let copy = copies.create()?;
            copies.name(builder.add_layer(layer, Some(&copy))?);
        }
        Ok(())
    }

    /// Unpacks the archive of an appc image of the store.
    fn add_image(&self, builder: &mut TreeBuilder<'_>, below: &Below) -> Result<()> {
        let image = self.load(below.id.directory())?;
        let layer = image
            .archive()
            .with_context(|| format!("image {} has no archive", below.id.short()))?;
        let layer = LayerRecord {
            whitelists: below.whitelists.clone(),
            ..layer.clone()
        };
        self.add_blob(builder, &layer)
    }

    /// Unpacks an archive of the store, and checks that it is what it was.
    pub(super) fn add_blob(
        &self,
        builder: &mut TreeBuilder<'_>,
        layer: &LayerRecord,
    ) -> Result<()> {
        let blob = self.blob(&layer.blob)?;
        match &layer.content {
            LayerContent::DiffId(diff_id) => {
                let layer = Layer {
                    digest: Some(layer.blob),
                    diff_id: *diff_id,
                    blob,
                };
                builder.add_layer(&layer, None)?;
            }
            LayerContent::Image(id) => {
                let (_, found) = builder.add_aci(&blob, &layer.whitelists, None)?;
                ensure!(
                    found == *id,
                    "the archive {} of the store is damaged; remove the image (skim image rm) and import it again",
                    blobs::file_name(&layer.blob)
                );
            }
        }
        Ok(())
    }

    /// An archive of the store.
    pub(super) fn blob(&self, digest: &Sha256) -> Result<Blob> {
        blobs::find(self.blobs.as_fd(), digest)?.with_context(|| {
            format!(
                "the archive {} is missing from the store; remove the images with it (skim image rm) and import them again",
                blobs::file_name(digest)
            )
        })
    }

    /// Relocates a tree and brings it to the disk, if the store does not have it.
    fn complete(
        &self,
        key: &TreeKey,
        builder: TreeBuilder<'_>,
        manifest: &ImageManifest,
        origin: &str,
    ) -> Result<()> {
        if self.load_tree(key).is_ok() {
            return Ok(());
        }
        let tree = builder.finish(&self.tree_path(key), &manifest.path_whitelist)?;
        warn(tree.left_out, origin);
        Ok(())
    }

    /// Gives all that was made its place: what an image is made of before the image.
    fn publish(&self, stage: &Stage<'_>, copies: &Copies<'_>, new: New) -> Result<Image> {
        let New { record, documents } = new;
        let id = record.id.clone();
        let key = &record.tree;
        record.write(stage.image.as_fd())?;
        documents.write(stage.image.as_fd())?;
        rustix::fs::fchmod(&stage.image, Mode::from_raw_mode(0o755))
            .context("cannot set the mode of the image's directory")?;
        rustix::fs::syncfs(stage.dir).context("cannot bring the image to the disk")?;
        if self.load_tree(key).is_err() {
            copies.publish(self.blobs.as_fd())?;
            staging::publish(stage.dir, TREE, self.trees.as_fd(), key.as_str())?;
            self.load_tree(key)?;
        }
        for dir in [&self.blobs, &self.trees] {
            rustix::fs::fsync(dir).context("cannot bring the image to the disk")?;
        }
        if staging::publish(stage.dir, IMAGE, self.images.as_fd(), id.directory())? {
            rustix::fs::fsync(&self.images).context("cannot bring the image's name to the disk")?;
        } else {
            self.renew(record)?;
        }
        self.load(id.directory())
    }

    /// Notes that an image which is in the store was imported again.
    fn renew(&self, new: Record) -> Result<()> {
        let dir = directory::open(self.images.as_fd(), new.id.directory())?;
        // One after the other: each takes in what the one before has noted.
        flock(&dir, FlockOperation::LockExclusive).context("cannot lock the image")?;
        let mut record = Record::read(dir.as_fd(), new.id.directory())?;
        ensure!(
            record.id == new.id,
            "the store holds another image in its place, {}",
            record.id
        );
        ensure!(
            !record.id.is_oci() || record.tree == new.tree,
            "the store holds other layers under its ID"
        );
        record.renew(new);
        record.replace(dir.as_fd())
    }

    /// Imports an image in a staging directory; nothing is left of it if that fails.
    fn staged<T>(&self, work: impl FnOnce(&Stage<'_>) -> Result<T>) -> Result<T> {
        // Nothing that the image builds upon may go before its record names it.
        let _hold = lock::share(self.images.as_fd())?;
        let staging = Staging::new(self.tmp.as_fd())?;
        let done = Stage::new(staging.dir()).and_then(|stage| work(&stage));
        match (done, staging.discard()) {
            (Ok(done), Ok(())) => Ok(done),
            (Ok(_), Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(also)) => Err(error.context(format!("{also:#}; and before that"))),
        }
    }

    /// Says what to do when the disk is full.
    pub fn explain(&self, error: Error) -> Error {
        if is_full(&error) {
            let store = self.path.display();
            return error.context(format!(
                "the file system of {store} is full: free some space, or give another --dir"
            ));
        }
        error
    }
}

/// The directories of an import under way.
struct Stage<'a> {
    dir: BorrowedFd<'a>,
    tree: OwnedFd,
    image: OwnedFd,
    archives: OwnedFd,
}

impl<'a> Stage<'a> {
    fn new(dir: BorrowedFd<'a>) -> Result<Self> {
        Ok(Self {
            tree: directory::ensure(dir, TREE, 0o700)?,
            image: directory::ensure(dir, IMAGE, 0o700)?,
            archives: directory::ensure(dir, ARCHIVES, 0o700)?,
            dir,
        })
    }
}

/// The name of an image's tree.
fn key_of(image: &OciImage) -> Result<TreeKey> {
    Ok(TreeKey::of_layers(&config::diff_ids(&image.config)?))
}

fn documents(image: &OciImage) -> Documents {
    Documents {
        manifest: image.manifest.as_ref().map(|(_, json)| json.clone()),
        config: Some(image.config.clone()),
    }
}

fn names(image: &OciImage) -> Vec<ImageName> {
    let names = image.names.iter().take(MAX_NAMES).map(|name| ImageName {
        name: name.name.clone(),
        version: name.tag.clone(),
    });
    names.collect()
}

/// Whether a file system has no room.
pub(super) fn is_full(error: &Error) -> bool {
    let mut errnos = error.chain().filter_map(errno);
    errnos.any(|errno| [Errno::NOSPC, Errno::DQUOT].contains(&errno))
}

/// The system's error number, where an error is one of its.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    error
        .downcast_ref::<Errno>()
        .copied()
        .or_else(|| Errno::from_io_error(error.downcast_ref()?))
}
