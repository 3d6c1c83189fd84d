//! Names of images in registries (distribution-spec, "Pulling manifests"; Docker's short forms).

use std::fmt;

use anyhow::{Context, Result, ensure};

use super::name::{LATEST, is_tag};
use crate::image::blob::Sha256;
use crate::image::oci::OciName;
use crate::image::oci::document::parse_digest;

/// Docker's registry, which is meant where none is named.
const DOCKER: &str = "docker.io";
/// Another name of it.
const DOCKER_LEGACY: &str = "index.docker.io";
/// Where it has the images that go by one word.
const DOCKER_LIBRARY: &str = "library";
/// Longest repository (distribution's reference grammar).
const REPOSITORY_MAX: usize = 255;
/// Longest reference that is looked at.
const MAX: usize = 1024;

/// An image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryReference {
    /// The registry's host and, where one is given, its port: `docker.io`, `localhost:5000`.
    pub registry: String,
    /// The repository in the registry, such as `library/busybox`.
    pub repository: String,
    /// The tag; `latest` where neither tag nor digest are given.
    pub tag: Option<String>,
    /// The digest of a manifest or an index, which counts where there is a tag, too.
    pub digest: Option<Sha256>,
}

impl RegistryReference {
    /// Parses `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`. As Docker has it, the host is `docker.io`
    /// where the first part of the name holds neither `.` nor `:` and is not `localhost`, and
    /// `busybox` there is `library/busybox`.
    ///
    /// # Errors
    /// Where it is not of that form.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(
            text.len() <= MAX,
            "the image's name has {} bytes; at most {MAX} are possible",
            text.len()
        );
        let parse = || -> Result<Self> {
            let (rest, digest) = match text.split_once('@') {
                Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
                None => (text, None),
            };
            let (name, tag) = split_tag(rest)?;
            let (registry, repository) = split_registry(name);
            check_registry(&registry)?;
            check_repository(&repository)?;
            let default = || digest.is_none().then_some(LATEST);
            Ok(Self {
                registry,
                repository,
                tag: tag.or_else(default).map(str::to_owned),
                digest,
            })
        };
        parse().with_context(|| {
            format!("{text:?} is not of the form [HOST[:PORT]/]NAME[:TAG][@DIGEST]")
        })
    }

    /// Checks that `name` is a repository with its registry, and nothing else.
    pub(super) fn check_name(name: &str) -> Result<()> {
        let parsed = Self::parse(name)?;
        ensure!(
            parsed.name() == name && parsed.digest.is_none(),
            "{name:?} is not the whole name of an image"
        );
        Ok(())
    }

    /// The name of the image: registry and repository.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// `HOST[:PORT]` that requests go to: Docker's registry does not answer at its own name.
    pub fn server(&self) -> &str {
        match self.registry.as_str() {
            DOCKER => DOCKER_LEGACY,
            registry => registry,
        }
    }

    /// What to ask the registry for: the digest, or else the tag.
    pub fn reference(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => LATEST.to_owned(),
        }
    }

    /// The image's name and tag.
    pub fn to_name(&self) -> OciName {
        OciName {
            name: self.name(),
            tag: self.tag.clone(),
        }
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(formatter, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// A name, and what follows its last `:`, which is not a port.
fn split_tag(text: &str) -> Result<(&str, Option<&str>)> {
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    let Some(colon) = text[last..].find(':').map(|colon| last + colon) else {
        return Ok((text, None));
    };
    let tag = &text[colon + 1..];
    ensure!(
        is_tag(tag),
        "{tag:?} is no tag: up to 128 letters, digits and . _ - are, not beginning with . or -"
    );
    Ok((&text[..colon], Some(tag)))
}

/// The registry and the repository, Docker's short forms written out.
fn split_registry(name: &str) -> (String, String) {
    let is_registry =
        |part: &&str| part.contains(['.', ':']) || part.eq_ignore_ascii_case("localhost");
    let (registry, repository) = match name.split_once('/').filter(|(part, _)| is_registry(part)) {
        Some((registry, repository)) => (registry.to_ascii_lowercase(), repository),
        None => (DOCKER.to_owned(), name),
    };
    match registry.as_str() {
        DOCKER | DOCKER_LEGACY if !repository.contains('/') => {
            (DOCKER.to_owned(), format!("{DOCKER_LIBRARY}/{repository}"))
        }
        DOCKER_LEGACY => (DOCKER.to_owned(), repository.to_owned()),
        _ => (registry, repository.to_owned()),
    }
}

/// Checks a registry in small letters: a host's name or its IPv4 address, and a port.
fn check_registry(registry: &str) -> Result<()> {
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    ensure!(
        host.split('.').all(is_label),
        "{host:?} is no name of a host"
    );
    if let Some(port) = port {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse::<u16>().ok().filter(|number| *number > 0);
        ensure!(digits && number.is_some(), "{port:?} is no port");
    }
    Ok(())
}

/// Checks a repository (distribution-spec, "Pulling manifests").
fn check_repository(repository: &str) -> Result<()> {
    ensure!(
        repository.len() <= REPOSITORY_MAX && repository.split('/').all(is_component),
        "{repository:?} is no repository: its parts hold small letters and digits, with . _ __ or - between them"
    );
    Ok(())
}

/// Whether `text` is of the form `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = text.split(is_word).filter(|part| !part.is_empty());
    text.starts_with(is_word)
        && text.ends_with(is_word)
        && separators
            .all(|part| matches!(part, "." | "_" | "__") || part.bytes().all(|byte| byte == b'-'))
}
