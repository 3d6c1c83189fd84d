//! The OCI image layout (image-spec, image-layout.md), in a directory; what is the same in an
//! archive. The image that is meant is found, and its documents are checked.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde_json::Value;

use super::config::diff_ids;
use super::document::{self, DOCUMENT_MAX, Descriptor, Document, Found, IndexDocument};
use super::platform::Platform;
use super::{Layer, OciImage, OciName};
use crate::image::blob::{Blob, Sha256};
use crate::image::manifest::fields::Fields;
use crate::image::reference::{RegistryReference, is_tag, name_of_path};

/// The file that tells a layout.
pub const LAYOUT: &str = "oci-layout";
/// The file that lists what is in a layout.
pub const INDEX: &str = "index.json";
/// The version of the layout that is known.
const VERSION: &str = "1.0.0";
/// Most bytes of the file `oci-layout`.
const LAYOUT_MAX: u64 = 64 << 10;

/// The annotation of an index's entry with its tag; podman writes a whole name
/// (image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotations that hold a whole name, containerd's and Docker's.
const FULL_NAME: [&str; 2] = ["io.containerd.image.name", "containerd.io/image.name"];
/// How many images an error lists.
pub(super) const SHOWN: usize = 20;

/// Where the files of a layout are found.
pub(super) trait Files {
    /// The file at this path; `None` where there is none.
    fn find(&self, path: &str) -> Result<Option<Blob>>;

    /// The file at this path, which must be there.
    fn get(&self, path: &str) -> Result<Blob> {
        self.find(path)?
            .with_context(|| format!("{path:?} is missing"))
    }

    /// The bytes of a file of at most `limit` bytes.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        let read = self.get(path)?.read(limit);
        read.with_context(|| format!("cannot read {path:?}"))
    }
}

/// Finds an image in the layout in a directory: the one with this tag, or the only one.
///
/// # Errors
/// Where there is no such image or several, or a document is missing, damaged or not valid; the
/// message names the directory.
pub fn open(directory: &Path, tag: Option<&str>) -> Result<OciImage> {
    let open = || {
        let files = Directory::open(directory)?;
        // Of `.` and of what ends in a slash, too, the directory's own name is meant.
        let path = std::fs::canonicalize(directory)?;
        find_image(&files, tag, &name_of_path(&path), &Platform::host())
    };
    open().with_context(|| format!("cannot use the OCI layout {}", directory.display()))
}

/// Whether a directory holds a layout.
pub fn is_layout(directory: &Path) -> bool {
    directory.join(LAYOUT).is_file()
}

/// A directory, beneath which all is looked up.
struct Directory(OwnedFd);

impl Directory {
    fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }
}

impl Files for Directory {
    fn find(&self, path: &str) -> Result<Option<Blob>> {
        let context = || format!("cannot open {path:?}");
        // Some tools share blobs between layouts by links; those that lead out are refused.
        // Without O_NONBLOCK the open would wait for the writer of a fifo.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = match rustix::fs::openat2(self.0.as_fd(), path, flags, Mode::empty(), resolve) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::XDEV) => bail!("{path:?} is a link that leads out of the layout"),
            Err(error) => return Err(error).with_context(context),
        };
        let stat = rustix::fs::fstat(&file).with_context(context)?;
        ensure!(
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
            "{path:?} is no regular file"
        );
        Ok(Some(Blob {
            file: Arc::new(File::from(file)),
            offset: 0,
            size: u64::try_from(stat.st_size).with_context(context)?,
        }))
    }
}

/// Finds an image in a layout; `fallback` is its name where the layout has none.
pub(super) fn find_image(
    files: &impl Files,
    tag: Option<&str>,
    fallback: &str,
    platform: &Platform,
) -> Result<OciImage> {
    check_version(files)?;
    let index = read_index(files)?;
    let entries = choose(&index, tag)?;
    let start = match entries[..] {
        [only] => only.clone(),
        // One entry for each platform, without an index of their own.
        _ => {
            let manifests = entries.iter().map(|entry| (*entry).clone()).collect();
            let annotations = BTreeMap::new();
            let same_tag = IndexDocument {
                manifests,
                annotations,
            };
            same_tag.choose(platform)?.clone()
        }
    };
    let found = document::find_manifest(&start, platform, |descriptor| {
        files.read(&blob_path(&descriptor.digest), DOCUMENT_MAX)
    })?;
    let config = files.read(&blob_path(&found.manifest.config.digest), DOCUMENT_MAX)?;
    found
        .manifest
        .config
        .verify(&config)
        .context("the image configuration")?;
    let names = names_of(&index, &start, fallback);
    let layers = layers(files, &found, &config)?;
    Ok(OciImage {
        manifest: Some((found.digest, found.bytes)),
        config,
        names,
        layers,
    })
}

fn check_version(files: &impl Files) -> Result<()> {
    let check = || {
        let value: Value = serde_json::from_slice(&files.read(LAYOUT, LAYOUT_MAX)?)?;
        let version = Fields::new("", &value)?.required("imageLayoutVersion")?;
        ensure!(
            version == VERSION,
            "the version of the layout is {version:?}; {VERSION} is supported"
        );
        Ok(())
    };
    check().with_context(|| format!("{LAYOUT:?} is not valid"))
}

fn read_index(files: &impl Files) -> Result<IndexDocument> {
    let bytes = files.read(INDEX, DOCUMENT_MAX)?;
    match document::parse(&bytes).with_context(|| format!("{INDEX:?} is not valid"))? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => bail!("{INDEX:?} is an image manifest, not an index"),
    }
}

/// The entries that are meant: several with one tag are one image for several platforms.
fn choose<'a>(index: &'a IndexDocument, tag: Option<&str>) -> Result<Vec<&'a Descriptor>> {
    let images = index.manifests.iter().filter(|entry| entry.is_image());
    let mut meant: Vec<_> = match tag {
        None => images.collect(),
        Some(tag) => {
            let exact: Vec<_> = images
                .clone()
                .filter(|entry| {
                    entry
                        .annotations
                        .get(REF_NAME)
                        .is_some_and(|name| name == tag)
                })
                .collect();
            let by_name = images.filter(|entry| {
                let name = name_of(entry);
                name.is_some_and(|name| name.tag.as_deref() == Some(tag))
            });
            if exact.is_empty() {
                by_name.collect()
            } else {
                exact
            }
        }
    };
    // An image with several tags has as many entries.
    let mut seen = HashSet::new();
    meant.retain(|entry| seen.insert(entry.digest));
    let same_name = meant.windows(2).all(|pair| {
        let told_apart = pair.iter().all(|entry| entry.platform.is_some());
        told_apart && label(pair[0]) == label(pair[1])
    });
    match (meant.len(), tag) {
        (0, Some(tag)) => bail!("no image has the tag {tag:?}; there are {}", list(index)),
        (0, None) => bail!("there is no image in it"),
        (1, _) => Ok(meant),
        _ if same_name => Ok(meant),
        (_, Some(tag)) => bail!("several images have the tag {tag:?}: {}", list(index)),
        (_, None) => bail!(
            "there are several images in it, name one by :TAG: {}",
            list(index)
        ),
    }
}

/// What an entry is called, as written.
fn label(entry: &Descriptor) -> Option<&String> {
    let full = FULL_NAME.iter().find_map(|key| entry.annotations.get(*key));
    full.or_else(|| entry.annotations.get(REF_NAME))
}

/// The images of an index, for an error.
fn list(index: &IndexDocument) -> String {
    let images = index.manifests.iter().filter(|entry| entry.is_image());
    let labels = images.map(|entry| match label(entry) {
        Some(label) => format!("{label:?}"),
        None => format!("{} without a tag", entry.digest),
    });
    shorten(labels)
}

/// A list of what may be many, for an error.
pub(super) fn shorten(all: impl Iterator<Item = String>) -> String {
    let mut all = all.peekable();
    if all.peek().is_none() {
        return "none".to_owned();
    }
    let mut shown: Vec<_> = all.by_ref().take(SHOWN).collect();
    match all.count() {
        0 => (),
        others => shown.push(format!("{others} others")),
    }
    shown.join(", ")
}

/// The name of an entry, where it tells one.
fn name_of(entry: &Descriptor) -> Option<OciName> {
    let full = |text: &String| {
        let name = RegistryReference::parse(text).ok()?;
        name.digest.is_none().then(|| name.to_name())
    };
    let named = FULL_NAME
        .iter()
        .find_map(|key| entry.annotations.get(*key).and_then(full));
    let whole = || {
        let ref_name = entry.annotations.get(REF_NAME)?;
        ref_name.contains(['/', ':']).then(|| full(ref_name))?
    };
    named.or_else(whole)
}

/// The names of the image that `start` leads to, in all entries that lead there; the tag alone
/// goes with the name `fallback`.
fn names_of(index: &IndexDocument, start: &Descriptor, fallback: &str) -> Vec<OciName> {
    let mut names = Vec::new();
    let same = |entry: &&Descriptor| entry.digest == start.digest;
    for entry in index.manifests.iter().filter(same) {
        let name = name_of(entry).unwrap_or_else(|| {
            let tag = entry.annotations.get(REF_NAME);
            OciName {
                name: fallback.to_owned(),
                tag: tag.filter(|tag| is_tag(tag)).cloned(),
            }
        });
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The layers of an image, opened and their sizes checked, but not read.
fn layers(files: &impl Files, found: &Found, config: &[u8]) -> Result<Vec<Layer>> {
    let descriptors = &found.manifest.layers;
    let diff_ids = diff_ids(config)?;
    ensure!(
        diff_ids.len() == descriptors.len(),
        "the image has {} layers, but its configuration tells of {}",
        descriptors.len(),
        diff_ids.len()
    );
    let layer = |(descriptor, diff_id): (&Descriptor, Sha256)| {
        let blob = files.get(&blob_path(&descriptor.digest))?;
        let (size, found) = (descriptor.size, blob.size);
        ensure!(
            size == found,
            "layer {} has {found} bytes, not the {size} that were announced: it is damaged",
            descriptor.digest
        );
        Ok(Layer {
            digest: Some(descriptor.digest),
            diff_id,
            blob,
        })
    };
    descriptors.iter().zip(diff_ids).map(layer).collect()
}

/// Where a layout has the bytes with this digest.
pub(super) fn blob_path(digest: &Sha256) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
