//! OCI images: documents that name layers by their digests (OCI image-spec 1.1).
//!
//! - [`archive`]: layouts and the output of `docker save` in a tar archive
//! - [`config`]: the image configuration, from which the image manifest is made
//! - [`document`]: image manifests and indexes
//! - [`layer`]: one layer, unpacked onto those below it
//! - [`layout`]: the OCI image layout
//! - [`platform`]: what an image is for
//! - [`signal`]: names of signals

pub mod archive;
pub mod config;
pub mod document;
#[cfg(test)]
pub(crate) mod fixture;
pub mod layer;
pub mod layout;
mod members;
pub mod platform;
pub mod signal;

use super::blob::{Blob, Sha256};

/// An image that was found in a layout, an archive or a registry: its documents, checked
/// against their digests, and its layers, which are not read yet.
#[derive(Clone, Debug)]
pub struct OciImage {
    /// The image manifest as it came and its digest; a `docker save` archive has none.
    pub manifest: Option<(Sha256, Vec<u8>)>,
    /// The image configuration as it came.
    pub config: Vec<u8>,
    /// What the source calls the image, such as `docker.io/library/busybox` and `1.36`; may be
    /// empty.
    pub names: Vec<OciName>,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// A name and, where there is one, a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciName {
    /// The repository.
    pub name: String,
    /// The tag.
    pub tag: Option<String>,
}

/// A layer: a tar archive, plain or compressed.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The digest of its bytes as they are; a `docker save` archive does not tell.
    pub digest: Option<Sha256>,
    /// The digest of the uncompressed archive (image-spec, config.md, "DiffID").
    pub diff_id: Sha256,
    /// Its bytes.
    pub blob: Blob,
}
