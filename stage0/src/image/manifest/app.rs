//! The `app` section of an image manifest.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::fields::{Fields, integer};
use crate::image::name::{check_identifier, check_name};

/// What an image runs by default, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct App {
    /// Program and arguments; may be empty, then the user must give them.
    pub exec: Vec<String>,
    /// User: a name, a number, or a path in the image whose owner is meant.
    pub user: String,
    /// Group, likewise; `None` means the groups that the image gives its user. Images of appc
    /// always name one.
    pub group: Option<String>,
    /// Supplementary groups.
    pub supplementary_gids: Vec<u32>,
    /// Absolute path in the image.
    pub working_directory: Option<String>,
    /// Environment, names unique.
    pub environment: Vec<EnvironmentVariable>,
    /// Run as root before the app starts.
    pub pre_start: Option<Vec<String>>,
    /// Run as root after the app has ended.
    pub post_stop: Option<Vec<String>>,
    /// Where volumes belong.
    pub mount_points: Vec<MountPoint>,
    /// What the app listens on.
    pub ports: Vec<Port>,
    /// Limits and capabilities, as written.
    pub isolators: Vec<Isolator>,
    /// The signal that ends the app, as systemd spells it; only in OCI images.
    pub stop_signal: Option<String>,
    /// How to tell that the app is well, as written; only in OCI images.
    pub healthcheck: Option<Value>,
}

/// One variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentVariable {
    /// The variable's name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Where a volume belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// The name that a volume refers to, an AC Name.
    pub name: String,
    /// Path in the image.
    pub path: String,
    /// Whether the app only reads there.
    pub read_only: bool,
}

/// Ports that an app listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The port's name, an AC Name.
    pub name: String,
    /// `tcp` or `udp`; absent in some images.
    pub protocol: Option<String>,
    /// The first port.
    pub port: u16,
    /// How many ports from there on.
    pub count: u32,
    /// Whether the app takes the sockets from its service manager.
    pub socket_activated: bool,
}

/// A limit or a set of capabilities, not looked into here.
#[derive(Clone, Debug, PartialEq)]
pub struct Isolator {
    /// The isolator's name, such as `resource/memory`.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl App {
    /// Parses and checks the `app` section.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self> {
        let (pre_start, post_stop) = event_handlers(fields)?;
        let working_directory = fields.string("workingDirectory")?.filter(|d| !d.is_empty());
        if let Some(directory) = &working_directory {
            ensure!(
                directory.starts_with('/'),
                "app.workingDirectory: {directory:?} is not an absolute path"
            );
        }
        Ok(Self {
            exec: fields.strings("exec")?,
            user: fields.required("user")?,
            group: Some(fields.required("group")?),
            supplementary_gids: supplementary_gids(fields)?,
            working_directory,
            environment: environment(fields)?,
            pre_start,
            post_stop,
            mount_points: mount_points(fields)?,
            ports: ports(fields)?,
            isolators: isolators(fields)?,
            stop_signal: None,
            healthcheck: None,
        })
    }
}

fn supplementary_gids(fields: &Fields<'_>) -> Result<Vec<u32>> {
    fields
        .elements("supplementaryGIDs")?
        .into_iter()
        // The highest number means "no group" to the kernel.
        .map(|(path, value)| integer(value, &path, 0..=u64::from(u32::MAX) - 1))
        .map(|gid| Ok(u32::try_from(gid?)?))
        .collect()
}

fn environment(fields: &Fields<'_>) -> Result<Vec<EnvironmentVariable>> {
    let mut names = HashSet::new();
    let mut environment = Vec::new();
    for variable in fields.objects("environment")? {
        let name = variable.required("name")?;
        let path = variable.path_of("name");
        ensure!(
            is_variable_name(&name),
            "{path}: {name:?} is no name of an environment variable"
        );
        ensure!(names.insert(name.clone()), "{path}: {name:?} is set twice");
        let value = variable.string("value")?.unwrap_or_default();
        environment.push(EnvironmentVariable { name, value });
    }
    Ok(environment)
}

/// Whether `name` is the name of an environment variable as appc has it.
pub fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// What runs before the app and after it.
type Handlers = (Option<Vec<String>>, Option<Vec<String>>);

fn event_handlers(fields: &Fields<'_>) -> Result<Handlers> {
    let mut handlers: Handlers = (None, None);
    for handler in fields.objects("eventHandlers")? {
        let path = handler.path_of("name");
        let name = handler.required("name")?;
        let slot = match name.as_str() {
            "pre-start" => &mut handlers.0,
            "post-stop" => &mut handlers.1,
            _ => anyhow::bail!("{path}: {name:?} is neither \"pre-start\" nor \"post-stop\""),
        };
        let exec = handler.strings("exec")?;
        ensure!(
            exec.first().is_some_and(|program| !program.is_empty()),
            "{}: empty",
            handler.path_of("exec")
        );
        ensure!(slot.is_none(), "{path}: {name:?} is given twice");
        *slot = Some(exec);
    }
    Ok(handlers)
}

/// An AC Name at `key`.
fn ac_name(fields: &Fields<'_>, key: &str) -> Result<String> {
    let name = fields.required(key)?;
    check_name(&name).map_err(|error| error.context(fields.path_of(key)))?;
    Ok(name)
}

fn mount_points(fields: &Fields<'_>) -> Result<Vec<MountPoint>> {
    fields
        .objects("mountPoints")?
        .iter()
        .map(|point| {
            Ok(MountPoint {
                name: ac_name(point, "name")?,
                path: point.required("path")?,
                read_only: point.flag("readOnly")?,
            })
        })
        .collect()
}

fn ports(fields: &Fields<'_>) -> Result<Vec<Port>> {
    let mut names = HashSet::new();
    let ports = fields.objects("ports")?;
    ports
        .iter()
        .map(|fields| {
            let port = port(fields)?;
            ensure!(
                names.insert(port.name.clone()),
                "{}: {:?} is given twice",
                fields.path_of("name"),
                port.name
            );
            Ok(port)
        })
        .collect()
}

fn port(fields: &Fields<'_>) -> Result<Port> {
    let range = 1..=u64::from(u16::MAX);
    let Some(port) = fields.integer("port", range.clone())? else {
        anyhow::bail!("{}: missing", fields.path_of("port"));
    };
    let count = fields.integer("count", range)?.unwrap_or(1);
    ensure!(
        port + count <= 65536,
        "{}: {count} ports from {port} on end beyond 65535",
        fields.path_of("count")
    );
    Ok(Port {
        name: ac_name(fields, "name")?,
        protocol: fields.string("protocol")?.filter(|p| !p.is_empty()),
        port: u16::try_from(port)?,
        count: u32::try_from(count)?,
        socket_activated: fields.flag("socketActivated")?,
    })
}

/// Reads an array of isolators.
///
/// # Errors
/// Where one has no name.
pub(crate) fn isolators(fields: &Fields<'_>) -> Result<Vec<Isolator>> {
    fields
        .objects("isolators")?
        .iter()
        .map(|isolator| {
            let name = isolator.required("name")?;
            check_identifier(&name).map_err(|error| error.context(isolator.path_of("name")))?;
            let value = isolator.value("value")?.cloned().unwrap_or_default();
            Ok(Isolator { name, value })
        })
        .collect()
}
