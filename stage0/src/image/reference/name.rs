//! The names of images in the store, appc's and OCI's.

use std::fmt;
use std::path::Path;

use anyhow::{Result, ensure};

use super::registry::RegistryReference;
use crate::image::name::check_identifier;

/// The tag of an image that is named without one.
pub(super) const LATEST: &str = "latest";
/// Longest tag (distribution-spec, "Pulling manifests").
const TAG_MAX: usize = 128;

/// The name of an image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameReference {
    /// The image's name: an AC Identifier, or the repository of an OCI image, such as
    /// `docker.io/library/busybox` or `localhost:5000/app`.
    pub name: String,
    /// The value of its label `version`, an OCI image's tag, where the user gave one.
    pub version: Option<String>,
}

impl NameReference {
    /// Parses `NAME` or `NAME:VERSION`. A registry's port belongs to the name: a version does
    /// not hold a `/`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let last = text.rfind('/').map_or(0, |slash| slash + 1);
        let (name, version) = match text[last..].find(':') {
            Some(colon) => (&text[..last + colon], Some(&text[last + colon + 1..])),
            None => (text, None),
        };
        check_name(name)?;
        if let Some(version) = version {
            ensure!(
                !version.is_empty()
                    && !version.contains(|c: char| c.is_control() || "/,".contains(c)),
                "{version:?} is no image version"
            );
        }
        Ok(Self {
            name: name.to_owned(),
            version: version.map(str::to_owned),
        })
    }

    /// Whether an image of this name and version is meant: `busybox` and `user/app` mean
    /// Docker's `docker.io/library/busybox` and `docker.io/user/app` too.
    pub fn fits(&self, name: &str, version: Option<&str>) -> bool {
        let short = name.strip_prefix("docker.io/").is_some_and(|rest| {
            rest == self.name || rest.strip_prefix("library/") == Some(self.name.as_str())
        });
        (name == self.name || short)
            && (self.version.is_none() || self.version.as_deref() == version)
    }
}

impl fmt::Display for NameReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(formatter, "{}:{version}", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

/// Checks the name of an image: an AC Identifier, or an OCI repository, which may begin with a
/// registry's host and port.
///
/// # Errors
/// Where it is neither.
pub fn check_name(name: &str) -> Result<()> {
    let identifier = check_identifier(name);
    if identifier.is_err() && name.contains('/') && name.contains(':') {
        return RegistryReference::check_name(name);
    }
    identifier
}

/// Whether `text` could be a tag (distribution-spec, "Pulling manifests").
pub fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_MAX
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || b".-".contains(&byte))
}

/// The name of an image whose source gives it none: made of the last part of the file's or the
/// directory's path, without what tells its format.
pub fn name_of_path(path: &Path) -> String {
    const ENDINGS: [&str; 10] = [
        ".gz", ".tgz", ".bz2", ".xz", ".zst", ".tar", ".oci", ".docker", ".aci", ".img",
    ];
    let file_name = path.file_name().unwrap_or_default();
    let mut stem = file_name.to_string_lossy().to_ascii_lowercase();
    while let Some(shorter) = ENDINGS.iter().find_map(|ending| stem.strip_suffix(ending)) {
        stem = shorter.to_owned();
    }
    let plain: String = stem
        .chars()
        .map(|c| match c {
            'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
            _ => '-',
        })
        .take(TAG_MAX)
        .collect();
    let name = plain.trim_matches(['.', '_', '-']);
    if name.is_empty() { "image" } else { name }.to_owned()
}
