//! Image manifests and indexes, OCI's and Docker's (image-spec, manifest.md, image-index.md;
//! distribution's manifest-v2-2.md).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::image::MediaType;
use serde_json::Value;

use super::platform::Platform;
use crate::image::blob::Sha256;
use crate::image::manifest::fields::Fields;

/// Most bytes of a manifest, an index or a configuration.
pub const DOCUMENT_MAX: u64 = 4 << 20;
/// Most layers of an image.
pub const LAYERS_MAX: usize = 1000;
/// How deep indexes may be nested.
pub const INDEX_DEPTH: usize = 4;
/// Most entries of an index.
const ENTRIES_MAX: usize = 10_000;
/// Most bytes of a layer, as it is stored.
const LAYER_MAX: u64 = 1 << 40;
/// How many platforms an error lists.
const SHOWN: usize = 20;

/// Docker's media type of an index.
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's media type of an image manifest.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What the media types of Docker's manifests of the first schema start with.
const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";
/// Docker's media type of an image configuration.
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's media types of layers; the ones not compressed by gzip are other tools' doing.
const DOCKER_LAYERS: [&str; 4] = [
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.diff.tar+zstd",
];
/// What the media types of Docker's layers start with that are somewhere else.
const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.";
/// The annotation of an index's entry that describes another entry (buildkit's attestations).
const DESCRIBES: &str = "vnd.docker.reference.type";

/// A document that a name or a digest leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// One image.
    Manifest(ManifestDocument),
    /// A choice of images.
    Index(IndexDocument),
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestDocument {
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, the lowest first; at least one.
    pub layers: Vec<Descriptor>,
    /// What the manifest says besides.
    pub annotations: BTreeMap<String, String>,
}

/// An index.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexDocument {
    /// Its entries: images, indexes, and what else it may hold.
    pub manifests: Vec<Descriptor>,
    /// What the index says besides.
    pub annotations: BTreeMap<String, String>,
}

/// What a document says of another one, or of a layer (image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Sha256,
    /// How many bytes they are.
    pub size: u64,
    /// What the image is for; only in an index, and not always there.
    pub platform: Option<Platform>,
    /// What the artifact is, where it is one.
    pub artifact_type: Option<String>,
    /// What is said of it besides.
    pub annotations: BTreeMap<String, String>,
}

/// Parses and checks a manifest or an index.
///
/// # Errors
/// Where it is neither, or one of a kind that skim cannot use.
pub fn parse(bytes: &[u8]) -> Result<Document> {
    ensure!(
        bytes.len() as u64 <= DOCUMENT_MAX,
        "it has {} bytes; at most {DOCUMENT_MAX} are read",
        bytes.len()
    );
    let value: Value = serde_json::from_slice(bytes).context("it is not valid JSON")?;
    let fields = Fields::new("", &value).map_err(|_| anyhow::anyhow!("it is not a JSON object"))?;
    let media_type = fields.string("mediaType")?.unwrap_or_default();
    refuse_schema_1(&fields, &media_type)?;
    let is_manifest = fields.value("config")?.is_some() || fields.value("layers")?.is_some();
    let is_index = fields.value("manifests")?.is_some();
    // Two readers could take it for different images (CVE-2021-41190).
    ensure!(
        !(is_manifest && is_index),
        "it is ambiguous: it has both \"manifests\", as an index, and \"config\" or \"layers\", as an image manifest"
    );
    match (kind_of(&media_type), is_manifest, is_index) {
        (Some(Kind::Manifest), _, false) => manifest(&fields).map(Document::Manifest),
        (Some(Kind::Index), false, _) => index(&fields).map(Document::Index),
        (None, true, _) if media_type.is_empty() => manifest(&fields).map(Document::Manifest),
        (None, _, true) if media_type.is_empty() => index(&fields).map(Document::Index),
        (Some(_), ..) => bail!("its mediaType {media_type:?} and what it holds do not agree"),
        (None, ..) if media_type.is_empty() => {
            bail!("it is neither an image manifest nor an index")
        }
        (None, ..) => {
            bail!(
                "its mediaType {media_type:?} is neither that of an image manifest nor of an index"
            )
        }
    }
}

fn refuse_schema_1(fields: &Fields<'_>, media_type: &str) -> Result<()> {
    let version = fields.integer("schemaVersion", 0..=u64::MAX)?;
    ensure!(
        version != Some(1) && !media_type.starts_with(DOCKER_SCHEMA_1),
        "it is an image manifest of Docker's schema 1, whose layers have no digests to check: push the image again with a Docker of this decade, or convert it by skopeo copy --format oci"
    );
    ensure!(matches!(version, None | Some(2)), "schemaVersion: not 2");
    Ok(())
}

/// The two kinds of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Manifest,
    Index,
}

/// What the media type of a document means, `None` where it is not known.
fn kind_of(media_type: &str) -> Option<Kind> {
    match (MediaType::from(media_type), media_type) {
        (MediaType::ImageManifest, _) | (_, DOCKER_MANIFEST) => Some(Kind::Manifest),
        (MediaType::ImageIndex, _) | (_, DOCKER_LIST) => Some(Kind::Index),
        _ => None,
    }
}

fn manifest(fields: &Fields<'_>) -> Result<ManifestDocument> {
    let config = fields.object("config")?.context("config: missing")?;
    let config = Descriptor::parse(&config, DOCUMENT_MAX)?;
    let is_image = MediaType::from(config.media_type.as_str()) == MediaType::ImageConfig
        || config.media_type == DOCKER_CONFIG;
    ensure!(
        is_image,
        "it is an artifact, not an image: its configuration is of type {:?}",
        config.media_type
    );
    let layers = fields.objects("layers")?;
    ensure!(!layers.is_empty(), "layers: the image has none");
    ensure!(
        layers.len() <= LAYERS_MAX,
        "layers: the image has {}; at most {LAYERS_MAX} are possible",
        layers.len()
    );
    let layers = layers.iter().map(|layer| {
        let layer_descriptor = Descriptor::parse(layer, LAYER_MAX)?;
        check_layer(&layer_descriptor.media_type).context(layer.path_of("mediaType"))?;
        Ok(layer_descriptor)
    });
    Ok(ManifestDocument {
        config,
        layers: layers.collect::<Result<_>>()?,
        annotations: fields.map_of_strings("annotations")?,
    })
}

/// Checks that a layer of this type can be unpacked.
fn check_layer(media_type: &str) -> Result<()> {
    use MediaType::{
        ImageLayer, ImageLayerGzip, ImageLayerNonDistributable, ImageLayerNonDistributableGzip,
        ImageLayerNonDistributableZstd, ImageLayerZstd,
    };
    match MediaType::from(media_type) {
        ImageLayer | ImageLayerGzip | ImageLayerZstd => Ok(()),
        ImageLayerNonDistributable
        | ImageLayerNonDistributableGzip
        | ImageLayerNonDistributableZstd => refuse_foreign(),
        _ if DOCKER_LAYERS.contains(&media_type) => Ok(()),
        _ if media_type.starts_with(DOCKER_FOREIGN) => refuse_foreign(),
        _ if media_type.ends_with("+encrypted") => bail!(
            "the layer is encrypted ({media_type:?}): decrypt the image first, by skopeo copy --decryption-key"
        ),
        _ => {
            bail!("{media_type:?} is no type of layer that is known: plain tar, gzip and zstd are")
        }
    }
}

fn refuse_foreign() -> Result<()> {
    bail!(
        "the layer is foreign (nondistributable), not part of the image: have its owner's tools put it in, by docker pull and docker save"
    )
}

fn index(fields: &Fields<'_>) -> Result<IndexDocument> {
    let entries = fields.objects("manifests")?;
    ensure!(
        entries.len() <= ENTRIES_MAX,
        "manifests: the index has {} entries; at most {ENTRIES_MAX} are possible",
        entries.len()
    );
    let entries = entries
        .iter()
        .map(|entry| Descriptor::parse(entry, u64::MAX));
    Ok(IndexDocument {
        manifests: entries.collect::<Result<_>>()?,
        annotations: fields.map_of_strings("annotations")?,
    })
}

impl Descriptor {
    /// Parses a descriptor of at most `limit` bytes.
    fn parse(fields: &Fields<'_>, limit: u64) -> Result<Self> {
        let size = fields
            .integer("size", 0..=limit)?
            .with_context(|| format!("{}: missing", fields.path_of("size")))?;
        let digest = fields.required("digest")?;
        let platform = fields.object("platform")?;
        Ok(Self {
            media_type: fields.required("mediaType")?,
            digest: parse_digest(&digest).context(fields.path_of("digest"))?,
            size,
            platform: platform.map(|p| read_platform(&p)).transpose()?,
            artifact_type: fields.string("artifactType")?.filter(|t| !t.is_empty()),
            annotations: fields.map_of_strings("annotations")?,
        })
    }

    /// Whether it leads to a further index.
    pub fn is_index(&self) -> bool {
        kind_of(&self.media_type) == Some(Kind::Index)
    }

    /// Whether it leads to an image or to a further index, as far as it tells.
    pub fn is_image(&self) -> bool {
        let artifact = self.artifact_type.as_deref().unwrap_or(DOCKER_CONFIG);
        kind_of(&self.media_type).is_some()
            && (artifact == DOCKER_CONFIG || MediaType::from(artifact) == MediaType::ImageConfig)
            && !self.annotations.contains_key(DESCRIBES)
            && !self.platform.as_ref().is_some_and(Platform::is_unknown)
    }

    /// Checks that these are the bytes that are meant.
    ///
    /// # Errors
    /// Where their number or their digest is another.
    pub fn verify(&self, bytes: &[u8]) -> Result<()> {
        let (size, found) = (self.size, bytes.len());
        ensure!(
            size == found as u64,
            "{} has {found} bytes, not the {size} that were announced: it is damaged",
            self.digest
        );
        let digest = Sha256::of(bytes);
        ensure!(
            digest == self.digest,
            "{} has the digest {digest}: it is damaged",
            self.digest
        );
        Ok(())
    }
}

/// Parses a digest; names the algorithm where it is another.
pub fn parse_digest(text: &str) -> Result<Sha256> {
    if let Ok(digest) = text.parse::<oci_spec::image::Digest>() {
        let algorithm = digest.algorithm().to_string();
        ensure!(
            algorithm == "sha256",
            "digests of the algorithm {algorithm:?} are not supported, only sha256"
        );
    }
    Sha256::parse(text)
}

fn read_platform(fields: &Fields<'_>) -> Result<Platform> {
    let text = |key| Ok::<_, anyhow::Error>(fields.string(key)?.unwrap_or_default());
    let (os, architecture, variant) = (text("os")?, text("architecture")?, text("variant")?);
    Ok(Platform::new(&os, &architecture, Some(&variant)))
}

impl IndexDocument {
    /// The entry that suits the platform best: the first one of those that are equally good, or
    /// the only one where none says what it is for.
    ///
    /// # Errors
    /// Where none suits; the message lists the platforms that there are.
    pub fn choose(&self, host: &Platform) -> Result<&Descriptor> {
        let images: Vec<_> = self.manifests.iter().filter(|m| m.is_image()).collect();
        let ranked = images.iter().filter_map(|image| {
            let platform = image.platform.as_ref()?;
            Some((host.rank(platform)?, *image))
        });
        if let Some((_, best)) = ranked.min_by_key(|(rank, _)| *rank) {
            return Ok(best);
        }
        let mut silent = images.iter().filter(|image| image.platform.is_none());
        if let (Some(only), None) = (silent.next(), silent.next()) {
            return Ok(only);
        }
        bail!(
            "it has no image for {host}; it has {}",
            self.platforms(&images)
        )
    }

    /// The platforms of `images`, for an error.
    fn platforms(&self, images: &[&Descriptor]) -> String {
        let mut platforms: Vec<String> = Vec::new();
        for image in images {
            let platform = match &image.platform {
                Some(platform) => platform.to_string().escape_debug().to_string(),
                None => "one that does not say what it is for".to_owned(),
            };
            if !platforms.contains(&platform) && platforms.len() <= SHOWN {
                platforms.push(platform);
            }
        }
        if platforms.len() > SHOWN {
            platforms[SHOWN] = "others".to_owned();
        }
        if platforms.is_empty() {
            return "none".to_owned();
        }
        platforms.join(", ")
    }
}

/// An image manifest that was found, with its digest and its bytes as they came.
#[derive(Clone, Debug)]
pub struct Found {
    /// The digest of the bytes.
    pub digest: Sha256,
    /// The document as it came.
    pub bytes: Vec<u8>,
    /// What it says.
    pub manifest: ManifestDocument,
}

/// Goes from a descriptor to the image manifest for the platform; `fetch` gives the bytes that
/// a descriptor means, which are checked here.
///
/// # Errors
/// Where a document is missing, damaged or of another kind, or indexes are nested too deep.
pub fn find_manifest(
    start: &Descriptor,
    platform: &Platform,
    mut fetch: impl FnMut(&Descriptor) -> Result<Vec<u8>>,
) -> Result<Found> {
    let mut at = start.clone();
    for _ in 0..=INDEX_DEPTH {
        let context = || format!("manifest {}", at.digest);
        ensure!(
            at.size <= DOCUMENT_MAX,
            "manifest {} has {} bytes; at most {DOCUMENT_MAX} are read",
            at.digest,
            at.size
        );
        let bytes = fetch(&at).with_context(context)?;
        at.verify(&bytes)?;
        at = match parse(&bytes).with_context(context)? {
            Document::Index(index) => index.choose(platform).with_context(context)?.clone(),
            Document::Manifest(manifest) => {
                return Ok(Found {
                    digest: at.digest,
                    bytes,
                    manifest,
                });
            }
        };
    }
    bail!("indexes are nested more than {INDEX_DEPTH} deep")
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
