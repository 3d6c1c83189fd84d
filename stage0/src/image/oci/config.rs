//! The configuration of an OCI or Docker image (image-spec, config.md) as the manifest that the
//! rest of skim knows. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::document::{DOCUMENT_MAX, LAYERS_MAX, parse_digest};
use super::platform::Platform;
use super::signal;
use crate::image::blob::Sha256;
use crate::image::manifest::fields::Fields;
use crate::image::manifest::{App, EnvironmentVariable, ImageManifest, MountPoint, Pair, Port};
use crate::image::reference::check_name;

/// The annotation that tells the version of what is packaged (image-spec, annotations.md).
const VERSION: &str = "org.opencontainers.image.version";
/// Most bytes of the name that is made for a volume.
const VOLUME_NAME_MAX: usize = 100;

/// A configuration that has been parsed and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageConfig {
    /// The digests of the uncompressed layers, the lowest first.
    pub diff_ids: Vec<Sha256>,
    /// What the image is for.
    pub platform: Platform,
    /// What it runs.
    app: App,
    /// Its labels.
    labels: BTreeMap<String, String>,
}

/// The image manifest that an image's configuration and the `annotations` of its OCI manifest
/// make, for an image that is called `name` and `tag`.
///
/// Labels and annotations together are the manifest's annotations, where the latter win: the
/// image's builder has less say than whoever published it. The manifest's label `version` is
/// the tag, or else what the annotation `org.opencontainers.image.version` says.
///
/// # Errors
/// Where the configuration is not valid, or the image is for another platform.
pub fn to_manifest(
    config: &[u8],
    annotations: &BTreeMap<String, String>,
    name: &str,
    tag: Option<&str>,
) -> Result<ImageManifest> {
    let config = ImageConfig::parse(config)?;
    Platform::host().check(&config.platform)?;
    config.into_manifest(annotations, name, tag)
}

/// The digests of the uncompressed layers, the lowest first.
///
/// # Errors
/// Where the configuration is not valid.
pub fn diff_ids(config: &[u8]) -> Result<Vec<Sha256>> {
    Ok(ImageConfig::parse(config)?.diff_ids)
}

impl ImageConfig {
    /// Parses and checks a configuration.
    ///
    /// # Errors
    /// Where it is not valid; the message names the field.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        ensure!(
            bytes.len() as u64 <= DOCUMENT_MAX,
            "the image configuration has {} bytes; at most {DOCUMENT_MAX} are read",
            bytes.len()
        );
        let value: Value =
            serde_json::from_slice(bytes).context("the image configuration is not valid JSON")?;
        Self::from_value(&value).context("the image configuration is not valid")
    }

    fn from_value(value: &Value) -> Result<Self> {
        let fields =
            Fields::new("", value).map_err(|_| anyhow::anyhow!("it is not a JSON object"))?;
        let variant = fields.string("variant")?;
        let platform = Platform::new(
            &fields.required("os")?,
            &fields.required("architecture")?,
            variant.as_deref(),
        );
        let empty = Value::Object(serde_json::Map::new());
        let config = match fields.object("config")? {
            Some(config) => config,
            None => Fields::new("config", &empty)?,
        };
        Ok(Self {
            diff_ids: read_diff_ids(&fields)?,
            platform,
            app: app(&config)?,
            labels: config.map_of_strings("Labels")?,
        })
    }

    /// As [`to_manifest`], whatever the platform.
    ///
    /// # Errors
    /// Where `name` is no name of an image.
    pub fn into_manifest(
        self,
        annotations: &BTreeMap<String, String>,
        name: &str,
        tag: Option<&str>,
    ) -> Result<ImageManifest> {
        check_name(name)?;
        let mut all = self.labels;
        all.extend(annotations.clone());
        let version = tag
            .or_else(|| all.get(VERSION).map(String::as_str))
            .filter(|version| !version.is_empty());
        let mut labels = vec![
            pair("os", &self.platform.os),
            pair("arch", appc_architecture(&self.platform)),
        ];
        labels.extend(version.map(|version| pair("version", version)));
        Ok(ImageManifest {
            name: name.to_owned(),
            labels,
            app: Some(self.app),
            annotations: all.iter().map(|(name, value)| pair(name, value)).collect(),
            dependencies: Vec::new(),
            path_whitelist: Vec::new(),
        })
    }
}

fn pair(name: &str, value: &str) -> Pair {
    Pair {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// An architecture in the words of appc, where it has one for it.
fn appc_architecture(platform: &Platform) -> &str {
    match (
        platform.architecture.as_str(),
        platform.variant.as_deref().unwrap_or_default(),
    ) {
        ("386", _) => "i386",
        ("arm64", _) => "aarch64",
        ("arm64be", _) => "aarch64_be",
        ("arm", "v5") => "armv5l",
        ("arm", "v6") => "armv6l",
        ("arm", _) => "armv7l",
        ("armbe", _) => "armv7b",
        (other, _) => other,
    }
}

fn read_diff_ids(fields: &Fields<'_>) -> Result<Vec<Sha256>> {
    let rootfs = fields.object("rootfs")?.context("rootfs: missing")?;
    let kind = rootfs.required("type")?;
    ensure!(kind == "layers", "rootfs.type: {kind:?} is not \"layers\"");
    let ids = rootfs.strings("diff_ids")?;
    ensure!(
        ids.len() <= LAYERS_MAX,
        "rootfs.diff_ids: the image has {} layers; at most {LAYERS_MAX} are possible",
        ids.len()
    );
    let parse = |id: &String| parse_digest(id).context("rootfs.diff_ids");
    ids.iter().map(parse).collect()
}

fn app(config: &Fields<'_>) -> Result<App> {
    let (user, group) = user_and_group(config)?;
    let mut exec = config.strings("Entrypoint")?;
    exec.extend(config.strings("Cmd")?);
    let stop_signal = config.string("StopSignal")?.filter(|s| !s.is_empty());
    let stop_signal = stop_signal.map(|text| signal::normalise(&text));
    Ok(App {
        exec,
        user,
        group,
        working_directory: working_directory(config)?,
        environment: environment(config)?,
        mount_points: mount_points(&config.keys("Volumes")?),
        ports: ports(config)?,
        stop_signal: stop_signal
            .transpose()
            .with_context(|| config.path_of("StopSignal"))?,
        healthcheck: config.value("Healthcheck")?.cloned(),
        ..App::default()
    })
}

/// `user[:group]`, names or numbers; nothing means root, and no group the user's own ones.
fn user_and_group(config: &Fields<'_>) -> Result<(String, Option<String>)> {
    let text = config.string("User")?.unwrap_or_default();
    let (user, group) = text.split_once(':').unwrap_or((&text, ""));
    for part in [user, group] {
        // An appc image would mean the owner of a file by a path.
        let plain = !part.contains(|c: char| c == ':' || c == '/' || c.is_control());
        ensure!(
            plain,
            "{}: {text:?} is not of the form USER[:GROUP]",
            config.path_of("User")
        );
    }
    let user = if user.is_empty() { "0" } else { user };
    let group = (!group.is_empty()).then(|| group.to_owned());
    Ok((user.to_owned(), group))
}

/// An absolute path, `None` for the root; runtimes take a relative one from there.
fn working_directory(config: &Fields<'_>) -> Result<Option<String>> {
    let directory = config.string("WorkingDir")?.filter(|d| !d.is_empty());
    Ok(directory.map(|directory| match directory.starts_with('/') {
        true => directory,
        false => format!("/{directory}"),
    }))
}

/// The variables, each once: the last value of a name counts, as in runtimes.
///
/// Names that systemd cannot express are kept, for the plan to refuse.
fn environment(config: &Fields<'_>) -> Result<Vec<EnvironmentVariable>> {
    let path = config.path_of("Env");
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut environment: Vec<EnvironmentVariable> = Vec::new();
    for variable in config.strings("Env")? {
        let (name, value) = variable
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .with_context(|| format!("{path}: {variable:?} is not of the form NAME=VALUE"))?;
        match places
            .get(name)
            .and_then(|place| environment.get_mut(*place))
        {
            Some(known) => known.value = value.to_owned(),
            None => {
                places.insert(name.to_owned(), environment.len());
                environment.push(EnvironmentVariable {
                    name: name.to_owned(),
                    value: value.to_owned(),
                });
            }
        }
    }
    Ok(environment)
}

/// A mount point for each volume, with a name made of its path.
fn mount_points(volumes: &[String]) -> Vec<MountPoint> {
    let mut taken = HashSet::new();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let point = |path: &String| {
        let base = volume_name(path);
        let count = counts.entry(base.clone()).or_default();
        let name = loop {
            *count += 1;
            let name = match *count {
                1 => base.clone(),
                count => format!("{base}-{count}"),
            };
            if taken.insert(name.clone()) {
                break name;
            }
        };
        MountPoint {
            name,
            path: path.clone(),
            read_only: false,
        }
    };
    volumes.iter().map(point).collect()
}

/// An AC Name made of a path.
fn volume_name(path: &str) -> String {
    let plain = path.chars().map(|c| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '-',
    });
    let plain: String = plain
        .skip_while(|c| *c == '-')
        .take(VOLUME_NAME_MAX)
        .collect();
    let name = plain.trim_matches('-');
    if name.is_empty() { "volume" } else { name }.to_owned()
}

/// Ports such as `80`, `80/tcp` and `8000-8010/udp`.
fn ports(config: &Fields<'_>) -> Result<Vec<Port>> {
    let path = config.path_of("ExposedPorts");
    let mut ports = BTreeSet::new();
    for text in config.keys("ExposedPorts")? {
        let port = parse_port(&text).with_context(|| {
            format!("{path}: {text:?} is not of the form PORT[-PORT][/PROTOCOL]")
        })?;
        ports.insert(port);
    }
    let ports = ports.into_iter().map(|(first, last, protocol)| Port {
        name: match first == last {
            true => format!("{first}-{protocol}"),
            false => format!("{first}-{last}-{protocol}"),
        },
        protocol: Some(protocol),
        port: first,
        count: u32::from(last - first) + 1,
        socket_activated: false,
    });
    Ok(ports.collect())
}

/// The first port, the last one and the protocol.
fn parse_port(text: &str) -> Option<(u16, u16, String)> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let number = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = plain.then(|| text.parse::<u16>().ok()).flatten();
        number.filter(|number| *number > 0)
    };
    let (first, last) = (number(first)?, number(last)?);
    let protocol = protocol.to_ascii_lowercase();
    let known = ["tcp", "udp", "sctp"].contains(&protocol.as_str());
    (known && first <= last).then_some((first, last, protocol))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
