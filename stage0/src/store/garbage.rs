//! What in the store is not needed. Pure.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Image;
use super::record::Record;
use super::tree::{LayerRecord, TreeKey};
use crate::image::blob::Sha256;
use crate::image::oci::document::{self, Document};
use crate::pod::uses::Uses;

/// All that the store holds.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Its images.
    pub images: Vec<StoredImage>,
    /// The directories of images that cannot be read: what they need is not known.
    pub damaged: Vec<String>,
    /// Those of them of which it is not even known what they need.
    pub unknown: Vec<String>,
    /// Its trees.
    pub trees: Vec<StoredTree>,
    /// Its archives.
    pub blobs: Vec<StoredBlob>,
}

/// What counts of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// The name of its directory.
    pub directory: String,
    /// Its tree.
    pub tree: TreeKey,
    /// The archives that its manifest names.
    pub blobs: Vec<Sha256>,
    /// When it was imported or used last, whichever came later.
    pub needed: SystemTime,
}

/// A tree.
#[derive(Clone, Debug)]
pub struct StoredTree {
    /// Its name.
    pub key: TreeKey,
    /// Where it stands.
    pub path: PathBuf,
    /// What it was unpacked from; `None` where that cannot be read.
    pub layers: Option<Vec<LayerRecord>>,
}

/// An archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its digest.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub written: SystemTime,
}

/// What is to be taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Directories of images.
    pub images: Vec<String>,
    /// Trees that neither an image nor a pod needs.
    pub trees: Vec<TreeKey>,
    /// Archives that no image needs.
    pub blobs: Vec<Sha256>,
    /// The bytes that these take, as `skim image list` counts them.
    pub bytes: u64,
}

/// What of the store is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// Only what the images that go have needed.
    OfTheirs,
    /// Everything; archives that belong to nothing only if they were written until then, as a
    /// download that was interrupted may be resumed.
    All {
        /// The last moment.
        until: SystemTime,
    },
}

impl StoredImage {
    /// An image of which only the record can be read.
    pub fn damaged(record: &Record) -> Self {
        Self {
            directory: record.id.directory().to_owned(),
            tree: record.tree.clone(),
            blobs: Vec::new(),
            needed: record.imported(),
        }
    }

    /// What counts of an image.
    pub fn of(image: &Image) -> Self {
        let used = image.last_used.into_iter();
        Self {
            directory: image.id.directory().to_owned(),
            tree: image.key.clone(),
            blobs: named_blobs(image),
            needed: used.fold(image.imported, SystemTime::max),
        }
    }
}

/// The archives that an OCI image's manifest names.
fn named_blobs(image: &Image) -> Vec<Sha256> {
    let manifest = image.documents.manifest.as_deref();
    match manifest.filter(|_| image.id.is_oci()).map(document::parse) {
        Some(Ok(Document::Manifest(manifest))) => {
            manifest.layers.iter().map(|layer| layer.digest).collect()
        }
        _ => Vec::new(),
    }
}

impl Contents {
    /// The directories of the images that neither a pod nor a service uses, and that nobody has needed for `grace`.
    pub fn expired(&self, uses: &Uses, grace: Duration, now: SystemTime) -> Vec<String> {
        if !uses.unknown().is_empty() {
            return Vec::new();
        }
        let is_old = |needed: SystemTime| now.duration_since(needed).is_ok_and(|age| age >= grace);
        let images = self.images.iter();
        images
            .filter(|image| is_old(image.needed) && !uses.has_directory(&image.directory))
            .map(|image| image.directory.clone())
            .collect()
    }

    /// What can go with the images in the directories `going`. Where the record of another image,
    /// of a tree or of a pod cannot be read, what these may need stays.
    pub fn garbage(&self, uses: &Uses, going: &[String], scope: Scope) -> Garbage {
        let goes = |directory: &String| going.contains(directory);
        let mut garbage = Garbage {
            images: going.to_vec(),
            ..Garbage::default()
        };
        if !uses.unknown().is_empty() || !self.unknown.iter().all(goes) {
            return garbage;
        }
        let (gone, kept): (Vec<_>, Vec<_>) =
            self.images.iter().partition(|image| goes(&image.directory));
        let needed: HashSet<_> = kept.iter().map(|image| &image.tree).collect();
        let theirs: HashSet<_> = gone.iter().map(|image| &image.tree).collect();
        let (idle, trees): (Vec<_>, Vec<_>) = self.trees.iter().partition(|tree| {
            let in_scope = matches!(scope, Scope::All { .. }) || theirs.contains(&tree.key);
            in_scope && !needed.contains(&tree.key) && !uses.has_tree(&tree.path)
        });
        for tree in &idle {
            garbage.trees.push(tree.key.clone());
            let layers = tree.layers.iter().flatten();
            garbage.bytes += layers.map(|layer| layer.size).sum::<u64>();
        }
        let all: Option<Vec<_>> = trees.iter().map(|tree| tree.layers.as_ref()).collect();
        let Some(layers) = all else {
            return garbage;
        };
        let mut needed: HashSet<_> = layers.into_iter().flatten().map(|l| &l.blob).collect();
        needed.extend(kept.iter().flat_map(|image| &image.blobs));
        let mut theirs: HashSet<_> = gone.iter().flat_map(|image| &image.blobs).collect();
        let layers = idle
            .iter()
            .filter_map(|tree| tree.layers.as_ref())
            .flatten();
        theirs.extend(layers.map(|layer| &layer.blob));
        for blob in &self.blobs {
            let in_scope = match scope {
                Scope::OfTheirs => theirs.contains(&blob.digest),
                Scope::All { until } => theirs.contains(&blob.digest) || blob.written <= until,
            };
            if in_scope && !needed.contains(&blob.digest) {
                garbage.blobs.push(blob.digest);
                garbage.bytes += blob.size;
            }
        }
        garbage
    }
}

#[cfg(test)]
#[path = "garbage_tests.rs"]
mod tests;
