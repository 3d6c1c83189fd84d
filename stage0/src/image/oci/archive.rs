//! Images in a plain tar archive: the OCI image layout, and what `docker save` writes
//! (docker's image specification 1.2, "Combined Image JSON + Filesystem Changeset Format").

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::config::diff_ids;
use super::document::{DOCUMENT_MAX, LAYERS_MAX};
use super::layout::{self, Files};
use super::members::{Members, Walk};
use super::platform::Platform;
use super::{Layer, OciImage, OciName};
use crate::image::blob::{Blob, Sha256};
use crate::image::manifest::fields::Fields;
use crate::image::reference::RegistryReference;

/// The file that lists the images of `docker save`.
const DOCKER_MANIFEST: &str = "manifest.json";
/// Most images in one archive.
const IMAGES_MAX: usize = 1000;

/// What a file of an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// An appc image.
    Aci,
    /// An OCI image layout.
    OciArchive,
    /// What `docker save` wrote before version 25, or podman's `docker-archive`.
    DockerArchive,
}

/// What the plain tar archive is, by the names of its members.
///
/// What is an appc image and an OCI layout is told by the first member that tells; an archive
/// with both `index.json` and `manifest.json`, which newer versions of Docker write, is an OCI
/// layout.
///
/// The beginning of an archive will do where that tells; it is an error where it does not.
///
/// # Errors
/// Where it is neither, or damaged before that is clear.
pub fn looks_like(archive: &Blob) -> Result<FileKind> {
    let mut is_docker = false;
    let mut walk = Walk::new(archive);
    while let Some(member) = walk.next()? {
        match member.name.as_str() {
            "manifest" | "rootfs" => return Ok(FileKind::Aci),
            layout::LAYOUT | layout::INDEX => return Ok(FileKind::OciArchive),
            DOCKER_MANIFEST => is_docker = true,
            name if name.starts_with("rootfs/") => return Ok(FileKind::Aci),
            _ => (),
        }
    }
    ensure!(
        is_docker,
        "it is no image: it has neither \"rootfs\", as an appc image, nor \"index.json\", as an OCI archive, nor \"manifest.json\", as a docker-archive"
    );
    Ok(FileKind::DockerArchive)
}

/// Finds an image in an OCI layout in a plain tar archive: the one with this tag, or the only
/// one. `fallback` is its name where the layout has none.
///
/// # Errors
/// Where there is no such image or several, or the archive or a document is damaged.
pub fn oci_image(archive: &Blob, tag: Option<&str>, fallback: &str) -> Result<OciImage> {
    let members = Members::of(archive)?;
    layout::find_image(&members, tag, fallback, &Platform::host())
}

/// Finds an image in what `docker save` writes, a plain tar archive: the one with this name, or
/// the only one. `fallback` is its name where it has none.
///
/// # Errors
/// Where there is no such image or several, or the archive or a document is damaged.
pub fn docker_image(
    archive: &Blob,
    name: Option<&RegistryReference>,
    fallback: &str,
) -> Result<OciImage> {
    let members = Members::of(archive)?;
    let images = read_images(&members)?;
    let image = choose(&images, name)?;
    let config = members.read(&image.config, DOCUMENT_MAX)?;
    check_config(&image.config, &config)?;
    let mut names = image.names.clone();
    if names.is_empty() {
        names.push(OciName {
            name: fallback.to_owned(),
            tag: None,
        });
    }
    Ok(OciImage {
        manifest: None,
        layers: layers(&members, image, &config)?,
        config,
        names,
    })
}

/// An image in the file `manifest.json`.
struct DockerImage {
    /// The path of its configuration.
    config: String,
    /// Its names, whole.
    names: Vec<OciName>,
    /// The paths of its layers, the lowest first.
    layers: Vec<String>,
}

fn read_images(members: &Members) -> Result<Vec<DockerImage>> {
    let bytes = members.read(DOCKER_MANIFEST, DOCUMENT_MAX)?;
    let parse = || {
        let value: Value = serde_json::from_slice(&bytes)?;
        let images = value.as_array().context("it is not an array")?;
        ensure!(
            images.len() <= IMAGES_MAX,
            "it lists {} images; at most {IMAGES_MAX} are possible",
            images.len()
        );
        let image =
            |(index, value)| DockerImage::parse(&Fields::new(&format!("[{index}]"), value)?);
        images.iter().enumerate().map(image).collect()
    };
    parse().with_context(|| format!("{DOCKER_MANIFEST:?} is not valid"))
}

impl DockerImage {
    fn parse(fields: &Fields<'_>) -> Result<Self> {
        let names = fields.strings("RepoTags")?;
        let name = |text: &String| {
            let name = RegistryReference::parse(text).context(fields.path_of("RepoTags"))?;
            Ok(name.to_name())
        };
        let layers = fields.strings("Layers")?;
        ensure!(
            !layers.is_empty() && layers.len() <= LAYERS_MAX,
            "{}: the image has {} layers; from 1 to {LAYERS_MAX} are possible",
            fields.path_of("Layers"),
            layers.len()
        );
        Ok(Self {
            config: fields.required("Config")?,
            names: names.iter().map(name).collect::<Result<_>>()?,
            layers,
        })
    }
}

fn choose<'a>(
    images: &'a [DockerImage],
    name: Option<&RegistryReference>,
) -> Result<&'a DockerImage> {
    let meant: Vec<_> = match name.map(RegistryReference::to_name) {
        Some(name) => images
            .iter()
            .filter(|image| image.names.contains(&name))
            .collect(),
        None => images.iter().collect(),
    };
    let list = || {
        layout::shorten(images.iter().map(|image| match image.names.first() {
            Some(OciName {
                name,
                tag: Some(tag),
            }) => format!("{name}:{tag}"),
            Some(OciName { name, tag: None }) => name.clone(),
            None => format!("{:?} without a name", image.config),
        }))
    };
    match (meant[..].split_first(), name) {
        (Some((only, [])), _) => Ok(only),
        (None, None) => bail!("there is no image in it"),
        (None, Some(name)) => bail!("no image has the name {name}; there are {}", list()),
        (Some(_), None) => bail!(
            "there are several images in it, name one by :NAME: {}",
            list()
        ),
        (Some(_), Some(name)) => bail!("several images have the name {name}: {}", list()),
    }
}

/// Checks the configuration against the digest that its file's name holds, if it is one.
fn check_config(path: &str, config: &[u8]) -> Result<()> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let digits = name.strip_suffix(".json").unwrap_or(name);
    if let Ok(expected) = Sha256::parse(&format!("sha256:{digits}")) {
        let digest = Sha256::of(config);
        ensure!(
            digest == expected,
            "the image configuration {path:?} has the digest {digest}: it is damaged"
        );
    }
    Ok(())
}

fn layers(members: &Members, image: &DockerImage, config: &[u8]) -> Result<Vec<Layer>> {
    let diff_ids = diff_ids(config)?;
    ensure!(
        diff_ids.len() == image.layers.len(),
        "the image has {} layers, but its configuration tells of {}",
        image.layers.len(),
        diff_ids.len()
    );
    let layer = |(path, diff_id): (&String, Sha256)| {
        let digest = path
            .strip_prefix("blobs/sha256/")
            .and_then(|digits| Sha256::parse(&format!("sha256:{digits}")).ok());
        Ok(Layer {
            digest,
            diff_id,
            blob: members.get(path)?,
        })
    };
    image.layers.iter().zip(diff_ids).map(layer).collect()
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
