//! What a user may call an image by on the command line.

mod name;
mod registry;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

pub use self::name::{NameReference, check_name, is_tag, name_of_path};
pub use self::registry::RegistryReference;

use super::id::{APPC, IdPrefix, OCI};

/// What an error says of the ways to name an image.
const SUPPORTED: &str = "give a file, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME[:TAG]], docker://[HOST[:PORT]/]NAME[:TAG|@DIGEST], https://HOST/PATH, an image ID or an image name";

/// Transports of containers-transports(5) that are not supported, and look like the name of an
/// image with its version.
const OTHER_TRANSPORTS: [&str; 4] = ["containers-storage:", "docker-daemon:", "ostree:", "sif:"];

/// How the user named an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A file, or a directory in the OCI image layout: its content tells which. Its name ends in
    /// `.aci`, or it is clearly a path.
    File(PathBuf),
    /// `oci:DIR[:TAG]`: a directory in the OCI image layout.
    OciDirectory {
        /// The directory.
        path: PathBuf,
        /// Which of its images is meant, where it has several.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: such a directory in a tar archive.
    OciArchive {
        /// The archive.
        path: PathBuf,
        /// Which of its images is meant, where it has several.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:NAME[:TAG]]`: what `docker save` writes.
    DockerArchive {
        /// The archive.
        path: PathBuf,
        /// Which of its images is meant, where it has several.
        name: Option<RegistryReference>,
    },
    /// `docker://…`: an image in a registry.
    Registry(RegistryReference),
    /// `https://…` or `http://…`: an image file on a web server.
    Url(String),
    /// An image in the store, by its ID or the beginning of it.
    Id(IdPrefix),
    /// An image in the store, by its name.
    Name(NameReference),
}

impl Reference {
    /// Parses what stands on the command line.
    ///
    /// A name such as `example.com/app` or `app.tar` may be a relative path as well; it is parsed
    /// as a name, which means the file where the store has no such image.
    ///
    /// In `oci:` and `oci-archive:` the tag is what follows the last `:` after the last `/`, if
    /// it could be one: the path may hold a `:` itself. In `docker-archive:` the name holds `:`
    /// and `/`, so that the path ends at the first `:`, as in containers-transports(5).
    ///
    /// # Errors
    /// Where it is none of all that.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(!text.is_empty(), "an image reference cannot be empty");
        ensure!(
            !text.contains('\0'),
            "an image reference cannot hold a zero byte"
        );
        if let Some(reference) = transport(text) {
            return reference.with_context(|| format!("cannot use {text:?}"));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            bail!("cannot fetch {text:?}: {scheme:?} is not supported; {SUPPORTED}");
        }
        let is_path = ["/", "./", "../"]
            .iter()
            .any(|start| text.starts_with(start));
        if is_path || matches!(text, "." | "..") || text.ends_with(".aci") {
            return Ok(Self::File(text.into()));
        }
        if IdPrefix::is_meant_by(text) && !text.contains('/') {
            return Ok(Self::Id(IdPrefix::parse(text)?));
        }
        match NameReference::parse(text) {
            Ok(name) => Ok(Self::Name(name)),
            Err(_) if text.contains('/') => Ok(Self::File(text.into())),
            Err(error) => Err(error).with_context(|| {
                format!("{text:?} is neither a file (NAME.aci, or a path with a /), an image ID ({APPC}HEX or {OCI}HEX) nor an image name")
            }),
        }
    }
}

/// A reference that begins with how the image is to be had; `None` where it begins otherwise.
fn transport(text: &str) -> Option<Result<Reference>> {
    if let Some(rest) = text.strip_prefix("docker://") {
        return Some(RegistryReference::parse(rest).map(Reference::Registry));
    }
    if text.starts_with("https://") || text.starts_with("http://") {
        return Some(url(text));
    }
    if let Some(rest) = text.strip_prefix("oci:") {
        return Some(path_and_tag(rest).map(|(path, tag)| Reference::OciDirectory { path, tag }));
    }
    if let Some(rest) = text.strip_prefix("oci-archive:") {
        return Some(path_and_tag(rest).map(|(path, tag)| Reference::OciArchive { path, tag }));
    }
    if let Some(rest) = text.strip_prefix("docker-archive:") {
        return Some(docker_archive(rest));
    }
    let other = OTHER_TRANSPORTS
        .iter()
        .find(|transport| text.starts_with(**transport))?;
    Some(Err(anyhow::anyhow!(
        "{other} is not supported; {SUPPORTED}"
    )))
}

/// `PATH[:TAG]`.
fn path_and_tag(text: &str) -> Result<(PathBuf, Option<String>)> {
    let file_name = text.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match text[file_name..].rfind(':') {
        Some(colon) if is_tag(&text[file_name + colon + 1..]) => {
            let colon = file_name + colon;
            (&text[..colon], Some(text[colon + 1..].to_owned()))
        }
        _ => (text, None),
    };
    ensure!(!path.is_empty(), "it names no path");
    Ok((path.into(), tag))
}

/// `FILE[:NAME[:TAG]]`.
fn docker_archive(text: &str) -> Result<Reference> {
    let (path, name) = match text.split_once(':') {
        Some((path, name)) => (path, Some(RegistryReference::parse(name)?)),
        None => (text, None),
    };
    ensure!(!path.is_empty(), "it names no path");
    if let Some(name) = &name {
        ensure!(
            name.digest.is_none(),
            "the images of a docker-archive go by NAME[:TAG], not by a digest"
        );
    }
    Ok(Reference::DockerArchive {
        path: path.into(),
        name,
    })
}

/// The address of a file on a web server.
fn url(text: &str) -> Result<Reference> {
    ensure!(
        text.bytes().all(|byte| byte.is_ascii_graphic()),
        "an address holds neither blanks nor characters beyond ASCII: write them as %XX"
    );
    let url = reqwest::Url::parse(text).context("it is no address")?;
    ensure!(
        url.has_host() && url.path() != "/",
        "it is not the address of a file"
    );
    Ok(Reference::Url(text.to_owned()))
}

#[cfg(test)]
#[path = "reference/tests.rs"]
mod tests;
