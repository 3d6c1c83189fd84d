//! Trees: what images are unpacked to. Several images may share one.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};

use super::directory;
use crate::image::blob::Sha256;
use crate::image::id::ImageId;
use crate::image::relocate::Report;
use crate::image::unpack::LeftOut;

/// The unpacked tree itself.
pub const ROOTFS: &str = "rootfs";
const RECORD: &str = "tree";
const RELOCATIONS: &str = "relocations";

/// What the names of trees of images with dependencies start with.
const DEPENDENCIES: &str = "deps-";

/// Most bytes of a record: some hundred for each layer.
const MAX_RECORD: u64 = 4 << 20;
/// Most bytes of a relocation report: some hundred for each entry of the largest image.
const MAX_RELOCATIONS: u64 = 512 << 20;

/// The name of a tree in the store. It says what the tree is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreeKey(String);

impl TreeKey {
    /// The tree of an appc image that stands alone.
    pub fn of_image(id: &ImageId) -> Self {
        Self(id.directory().to_owned())
    }

    /// The tree of an appc image with its dependencies: all images in the order in which they
    /// are laid over one another, the image itself last.
    pub fn of_dependencies(ids: &[ImageId]) -> Self {
        let mut hash = Sha512::new();
        for id in ids {
            hash.update(id.as_str());
        }
        let id = ImageId::from_digest(&hash.finalize().into());
        Self(format!("{DEPENDENCIES}{}", id.directory()))
    }

    /// The tree of layers with these digests, the lowest first (image-spec, config.md,
    /// "ChainID").
    pub fn of_layers(diff_ids: &[Sha256]) -> Self {
        let chain = diff_ids
            .iter()
            .copied()
            .reduce(|chain, diff_id| Sha256::of(format!("{chain} {diff_id}").as_bytes()));
        let chain = chain.unwrap_or_else(|| Sha256::of(b""));
        Self(ImageId::of_oci(&chain).directory().to_owned())
    }

    /// The key as it names the tree's directory.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key that a directory is named by, if it is one.
    pub fn of_directory(name: &str) -> Option<Self> {
        let id = name.strip_prefix(DEPENDENCIES).unwrap_or(name);
        super::is_image_directory(id).then(|| Self(name.to_owned()))
    }
}

/// The file `tree`: what a tree is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRecord {
    /// The path that it was relocated to.
    pub path: PathBuf,
    /// The archives that it was unpacked from, the lowest first.
    pub layers: Vec<LayerRecord>,
    /// What they hold and the tree does not.
    pub left_out: LeftOut,
}

/// An archive that a tree was unpacked from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The digest of the archive as it came, which names it in the store.
    pub blob: Sha256,
    /// Its size as it came.
    pub blob_size: u64,
    /// The digest of its content: an OCI layer's DiffID, an appc image's ID.
    pub content: LayerContent,
    /// Its uncompressed size.
    pub size: u64,
    /// Lists of the paths that alone were unpacked, those of all of them (appc's
    /// pathWhitelist, of the image and of those that led to it).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub whitelists: Vec<Vec<String>>,
}

/// What an archive is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerContent {
    /// An OCI layer with this DiffID.
    DiffId(Sha256),
    /// An appc image.
    Image(ImageId),
}

impl TreeRecord {
    /// The bytes that it takes: of the archives as they came, and of what is in them.
    pub fn size(&self) -> u64 {
        let layers = self.layers.iter();
        layers.map(|layer| layer.blob_size + layer.size).sum()
    }

    /// Writes the record and the report beside the tree.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write(&self, dir: BorrowedFd<'_>, relocations: &Report) -> Result<()> {
        directory::write(dir, RELOCATIONS, &serde_json::to_vec(relocations)?)?;
        let json = serde_json::to_vec_pretty(self)?;
        // What cannot be read again is not written.
        ensure!(
            json.len() as u64 <= MAX_RECORD,
            "what is to be kept of its layers has more than {MAX_RECORD} bytes"
        );
        directory::write(dir, RECORD, &json)
    }

    /// Reads the record of the tree `key`, which stands at `path`.
    ///
    /// # Errors
    /// Where there is none, or it cannot be used.
    pub fn read(trees: BorrowedFd<'_>, key: &TreeKey, path: &Path) -> Result<Self> {
        let dir = directory::open(trees, key.as_str())?;
        let json = directory::required(dir.as_fd(), RECORD, MAX_RECORD)?;
        let record: Self = serde_json::from_slice(&json).context(
            "the tree's record is damaged; remove the image (skim image rm) and import it again",
        )?;
        directory::open(dir.as_fd(), ROOTFS)?;
        ensure!(
            record.path == path,
            "it was made to run from {}, but stands at {}; move the store back, or remove the image (skim image rm) and import it again",
            record.path.display(),
            path.display()
        );
        Ok(record)
    }
}

/// Reads what relocation did to a tree.
///
/// # Errors
/// Where the report is missing or damaged.
pub fn read_relocations(trees: BorrowedFd<'_>, key: &TreeKey) -> Result<Report> {
    let dir = directory::open(trees, key.as_str())?;
    let json = directory::required(dir.as_fd(), RELOCATIONS, MAX_RELOCATIONS)?;
    serde_json::from_slice(&json).context("the report is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_by_their_chain() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|content| Sha256::of(content));
        assert_eq!(
            TreeKey::of_layers(&[a]).as_str(),
            format!("sha256-{}", a.hex())
        );
        let ab = Sha256::of(format!("{a} {b}").as_bytes());
        let abc = Sha256::of(format!("{ab} {c}").as_bytes());
        let key = TreeKey::of_layers(&[a, b, c]);
        assert_eq!(key.as_str(), format!("sha256-{}", abc.hex()));
        assert_ne!(TreeKey::of_layers(&[b, a]), TreeKey::of_layers(&[a, b]));
    }

    #[test]
    fn directories_that_are_no_trees_are_told_apart() {
        let ids = [1, 2].map(|byte| ImageId::from_digest(&[byte; 64]));
        for key in [
            TreeKey::of_image(&ids[0]),
            TreeKey::of_dependencies(&ids),
            TreeKey::of_layers(&[]),
        ] {
            assert_eq!(TreeKey::of_directory(key.as_str()), Some(key));
        }
        for other in [
            "",
            "deps-",
            "lost+found",
            "sha512-ab",
            "deps-deps-sha512-ab",
        ] {
            assert_eq!(TreeKey::of_directory(other), None, "{other}");
        }
    }
}
