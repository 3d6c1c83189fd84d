//! An image as one file, which other tools read and which is that very image again.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::Digest as _;
use tar::{Builder, EntryType, Header};

use super::tree::LayerContent;
use super::{Image, ImageName, LayerRecord, Store, blobs};
use crate::image::archive::pipeline::{self, Algorithm, Content, Measured, Pipe, Source};
use crate::image::blob::{Blob, Sha256};
use crate::image::oci::document::{self, Document, ManifestDocument};
use crate::progress::Silent;

/// The media type of an image manifest that says none (image-spec, manifest.md).
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The annotation with the name of an image (image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What an image is exported as: what keeps its ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An appc image, uncompressed.
    Aci,
    /// An OCI layout in a tar archive, for an image that has a manifest.
    OciArchive,
    /// What `docker save` writes, for an image that has none.
    DockerArchive,
}

impl Form {
    /// The form for an image.
    pub fn of(image: &Image) -> Self {
        match (image.id.is_oci(), &image.documents.manifest) {
            (false, _) => Self::Aci,
            (true, Some(_)) => Self::OciArchive,
            (true, None) => Self::DockerArchive,
        }
    }
}

impl Store {
    /// Writes an image to `output`: always the same bytes. All digests are checked while it is
    /// written, so that after an error what was written is of no use.
    ///
    /// # Errors
    /// Where an archive is missing or damaged, or it cannot be written.
    pub fn export(&self, image: &Image, output: &mut dyn Write) -> Result<()> {
        let _hold = self.hold()?;
        match Form::of(image) {
            Form::Aci => self.export_aci(image, output),
            Form::OciArchive => self.export_oci(image, output),
            Form::DockerArchive => self.export_docker(image, output),
        }
    }

    fn export_aci(&self, image: &Image, output: &mut dyn Write) -> Result<()> {
        let layer = image.archive().context("the image has no archive")?;
        self.inflate(layer, |pipe| {
            io::copy(pipe, output).context("cannot write the image")?;
            Ok(())
        })
    }

    fn export_oci(&self, image: &Image, output: &mut dyn Write) -> Result<()> {
        let json = image.documents.manifest.as_deref().unwrap_or_default();
        let config = image.documents.config.as_deref().unwrap_or_default();
        let Document::Manifest(manifest) = document::parse(json)? else {
            bail!("the image's manifest is an index");
        };
        manifest.config.verify(config)?;
        let mut archive = Archive::new(output);
        for directory in ["blobs/", "blobs/sha256/"] {
            archive.directory(directory)?;
        }
        archive.file(&blob_path(&Sha256::of(json)), json)?;
        archive.file(&blob_path(&manifest.config.digest), config)?;
        self.add_layers(&manifest, &mut archive)?;
        archive.file("index.json", &serde_json::to_vec(&index(image, json))?)?;
        let layout = json!({"imageLayoutVersion": "1.0.0"});
        archive.file("oci-layout", &serde_json::to_vec(&layout)?)?;
        archive.finish()
    }

    /// Adds the layers as they came, each once.
    fn add_layers(&self, manifest: &ManifestDocument, archive: &mut Archive<'_>) -> Result<()> {
        let mut added = HashSet::from([manifest.config.digest]);
        for layer in &manifest.layers {
            if !added.insert(layer.digest) {
                continue;
            }
            // Images whose layers differ in their compression only share a tree, and the archives
            // of the first one are kept for it.
            let found = blobs::find(self.blobs.as_fd(), &layer.digest)?;
            let blob = found.with_context(|| {
                format!(
                    "the archive {} is missing from the store: it has the layer compressed otherwise, or its file was removed; remove all images with this layer and import this one again",
                    layer.digest
                )
            })?;
            ensure!(
                blob.size == layer.size,
                "the archive {} of the store has {} bytes, not {}: it is damaged",
                layer.digest,
                blob.size,
                layer.size
            );
            archive.blob(&blob_path(&layer.digest), &layer.digest, &blob)?;
        }
        Ok(())
    }

    fn export_docker(&self, image: &Image, output: &mut dyn Write) -> Result<()> {
        let config = image.documents.config.as_deref().unwrap_or_default();
        let config_name = format!("{}.json", Sha256::of(config).hex());
        let mut archive = Archive::new(output);
        let mut names = Vec::new();
        for layer in &image.layers {
            let LayerContent::DiffId(diff_id) = &layer.content else {
                bail!("the image has a layer that is none of OCI's");
            };
            let name = format!("{}.tar", diff_id.hex());
            if !names.contains(&name) {
                self.inflate(layer, |pipe| archive.member(&name, layer.size, pipe))?;
            }
            names.push(name);
        }
        archive.file(&config_name, config)?;
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": image.names.iter().map(tagged).collect::<Vec<_>>(),
            "Layers": names,
        }]);
        archive.file("manifest.json", &serde_json::to_vec(&manifest)?)?;
        archive.finish()
    }

    /// Gives the uncompressed bytes of an archive to `work`, and checks that they are what they
    /// were.
    fn inflate(
        &self,
        layer: &LayerRecord,
        work: impl FnOnce(&mut Pipe) -> Result<()>,
    ) -> Result<()> {
        let blob = self.blob(&layer.blob)?;
        let source = Source {
            blob: &blob,
            copy: None,
            algorithm: match layer.content {
                LayerContent::DiffId(_) => Algorithm::Sha256,
                LayerContent::Image(_) => Algorithm::Sha512,
            },
            limit: layer.size,
            bar: &Silent,
        };
        let ((), measured) = pipeline::run(&source, work)
            .with_context(|| format!("cannot read the archive {} of the store", layer.blob))?;
        ensure!(
            is_whole(&measured, layer),
            "the archive {} of the store is damaged; remove the image (skim image rm) and import it again",
            layer.blob
        );
        Ok(())
    }
}

fn is_whole(measured: &Measured, layer: &LayerRecord) -> bool {
    let same = match (&measured.content, &layer.content) {
        (Content::Sha256(found), LayerContent::DiffId(wanted)) => found == wanted,
        (Content::Sha512(found), LayerContent::Image(wanted)) => found == wanted,
        _ => false,
    };
    same && measured.blob == layer.blob && measured.bytes == layer.size
}

/// The index of a layout with one image (image-spec, image-layout.md). Pure.
fn index(image: &Image, manifest: &[u8]) -> Value {
    let document: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let media_type = document["mediaType"].as_str().unwrap_or(MANIFEST);
    let mut descriptor = json!({
        "mediaType": media_type,
        "digest": Sha256::of(manifest).to_string(),
        "size": manifest.len(),
    });
    if let Some(name) = image.names.first().and_then(ref_name) {
        descriptor["annotations"] = json!({ REF_NAME: name });
    }
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]})
}

/// A whole name, as podman writes it, or a tag alone, as skopeo does, where the name was made of
/// a file's.
fn ref_name(name: &ImageName) -> Option<String> {
    match name.name.contains('/') {
        true => Some(tagged(name)),
        false => name.version.clone(),
    }
}

/// A name with its tag.
fn tagged(name: &ImageName) -> String {
    let version = name.version.as_deref().unwrap_or("latest");
    format!("{}:{version}", name.name)
}

fn blob_path(digest: &Sha256) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A tar archive that is the same whoever writes it, and when.
struct Archive<'a>(Builder<&'a mut dyn Write>);

impl<'a> Archive<'a> {
    fn new(output: &'a mut dyn Write) -> Self {
        Self(Builder::new(output))
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        self.add(name, EntryType::Directory, 0o755, 0, io::empty())
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.member(name, content.len() as u64, content)
    }

    /// A file of `size` bytes; that `content` has as many is for the caller to check.
    fn member(&mut self, name: &str, size: u64, content: impl Read) -> Result<()> {
        self.add(name, EntryType::Regular, 0o644, size, content)
    }

    /// A blob, whose digest is checked.
    fn blob(&mut self, name: &str, digest: &Sha256, blob: &Blob) -> Result<()> {
        let mut content = Digesting {
            inner: blob.reader(),
            hash: sha2::Sha256::new(),
        };
        self.member(name, blob.size, &mut content)?;
        ensure!(
            Sha256::new(content.hash.finalize().into()) == *digest,
            "the archive {digest} of the store is damaged; remove the image (skim image rm) and import it again"
        );
        Ok(())
    }

    fn add(
        &mut self,
        name: &str,
        kind: EntryType,
        mode: u32,
        size: u64,
        content: impl Read,
    ) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_path(name)?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        let added = self.0.append(&header, content);
        added.with_context(|| format!("cannot write {name:?} of the image"))
    }

    fn finish(self) -> Result<()> {
        let output = self.0.into_inner().context("cannot write the image")?;
        output.flush().context("cannot write the image")
    }
}

/// Takes the digest of what is read.
struct Digesting<R> {
    inner: R,
    hash: sha2::Sha256,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}
