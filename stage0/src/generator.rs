//! From pod files to units: what skim-generator writes (systemd.generator(7)).
//!
//! All but [`writing`] is pure.

pub mod writing;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use stage1_skim::escape;
use stage1_skim::names::ROOT_SLICE;
use stage1_skim::unit::{self, Setting};

use crate::pod_file::{Faults, Install, PodFile, SocketUnit, Text, grammar, install, lines};

/// The generator's name, and where it is installed beneath a prefix.
const GENERATOR: &str = "lib/systemd/system-generators/skim-generator";

/// Where skim's images and pods are.
const DIRECTORY: &str = "/var/lib/skim";

/// The longest description, in characters.
const DESCRIPTION_MAX: usize = 300;

/// Something to be written beneath the directory that systemd gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A unit file of this name and text.
    File(String, String),
    /// A symbolic link: its path, and what it points to.
    Link(String, String),
}

/// The units of a pod file: its service and its sockets, and the links that have them started;
/// none where the file asks for none.
///
/// # Errors
/// Where a value cannot be expressed in a unit file.
pub fn outputs(file: &PodFile, skim: &Path) -> Result<Vec<Output>> {
    if !file.pod.generate {
        return Ok(Vec::new());
    }
    let service = format!("{}.service", file.name);
    let mut outputs = vec![Output::File(service.clone(), service_text(file, skim)?)];
    outputs.extend(links(&service, &file.install));
    for socket in &file.sockets {
        let text = socket_text(file, socket, &service)?;
        outputs.push(Output::File(socket.name.clone(), text));
        outputs.push(wanted("sockets.target", "wants", &socket.name));
    }
    let names: Vec<_> = outputs.iter().map(Output::path).collect();
    for (index, name) in names.iter().enumerate() {
        ensure!(
            !names[..index].contains(name),
            "two of its units are called {name}: rename an app, or an Alias="
        );
    }
    Ok(outputs)
}

/// The unit of a pod file that is faulty: it is started where the pod would have been, and fails
/// with the reason in its status.
///
/// # Errors
/// Where a path cannot be expressed in a unit file.
pub fn faulty(name: &str, texts: &[Text], faults: &Faults, skim: &Path) -> Result<Vec<Output>> {
    // Another unit runs the pod, and fails with the same reason.
    let mut pod = texts
        .iter()
        .flat_map(|text| lines::salvage(&text.text, "Pod"));
    let generate = pod.rfind(|(key, _)| key == "Generate");
    if generate.is_some_and(|(_, value)| grammar::boolean(&value) == Some(false)) {
        return Ok(Vec::new());
    }
    let service = format!("{name}.service");
    let description: String = format!("skim pod {name}, whose file is faulty: {faults}")
        .chars()
        .take(DESCRIPTION_MAX)
        .collect();
    let mut settings = vec![Setting::unit("Description", escape::text(&description))];
    if let Some(fault) = faults.list().first() {
        settings.push(Setting::unit("SourcePath", escape::path(&fault.path)?));
    }
    settings.extend([
        Setting::service("Type", "notify"),
        Setting::service("NotifyAccess", "main"),
        Setting::service("ExecStart", command(skim, &["check", "--status", name])?),
    ]);
    let mut outputs = vec![Output::File(service.clone(), unit::render(&[], &settings))];
    let install = install::salvage(texts.iter().map(|text| text.text.as_str()));
    outputs.extend(links(&service, &install));
    Ok(outputs)
}

impl Output {
    /// Its path beneath the directory.
    pub fn path(&self) -> &str {
        match self {
            Self::File(path, _) | Self::Link(path, _) => path,
        }
    }
}

/// The service that runs the pod.
fn service_text(file: &PodFile, skim: &Path) -> Result<String> {
    let name = file.name.as_str();
    let mut settings = Vec::new();
    if !file.unit.iter().any(|setting| setting.key == "Description") {
        let description = escape::text(&format!("skim pod {name}"));
        settings.push(Setting::unit("Description", description));
    }
    settings.extend(file.unit.iter().cloned());
    let source = escape::path(&file.path)
        .with_context(|| format!("the path {} of the pod file", file.path.display()))?;
    settings.push(Setting::unit("SourcePath", source));
    // At shutdown the holder asks systemd to stop the apps, over the bus.
    settings.push(Setting::unit("After", "dbus.service dbus.socket"));
    settings.push(Setting::unit("RequiresMountsFor", DIRECTORY));
    for socket in &file.sockets {
        settings.push(Setting::unit("Wants", socket.name.clone()));
        settings.push(Setting::unit("After", socket.name.clone()));
    }
    // The apps have bounds of their own. These are before the file's, which win.
    settings.push(Setting::service("TimeoutStartSec", "infinity"));
    settings.push(Setting::service("TimeoutStopSec", "infinity"));
    settings.extend(file.service.iter().cloned());
    // What follows is after the file's, so that an empty ExecStartPost= there leaves it alone.
    settings.extend([
        Setting::service("Type", "notify"),
        Setting::service("NotifyAccess", "main"),
        Setting::service("Slice", ROOT_SLICE),
        Setting::service("ExecStart", command(skim, &["service", "run", name])?),
        Setting::service("ExecReload", command(skim, &["service", "reload", name])?),
    ]);
    // Whether the pod runs has nothing to do with what is left of another.
    let sweep = format!("-{}", command(skim, &["service", "sweep", name])?);
    settings.push(Setting::service("ExecStartPost", sweep.clone()));
    settings.push(Setting::service("ExecStopPost", sweep));
    let head = sources(file);
    let head: Vec<_> = head.iter().map(String::as_str).collect();
    Ok(unit::render(&head, &settings))
}

/// The socket that starts the pod, and outlives it.
fn socket_text(file: &PodFile, socket: &SocketUnit, service: &str) -> Result<String> {
    let description = format!("sockets of {} of skim pod {}", socket.app, file.name);
    let source = escape::path(&file.path)?;
    let mut settings = vec![
        Setting::unit("Description", escape::text(&description)),
        Setting::unit("SourcePath", source),
    ];
    settings.extend(socket.settings.iter().cloned());
    settings.push(Setting::socket("Service", service));
    // What is in there is stopped when skim goes from the host.
    settings.push(Setting::socket("Slice", ROOT_SLICE));
    Ok(unit::render(&[], &settings))
}

/// The files that a unit is made of, for its head.
fn sources(file: &PodFile) -> Vec<String> {
    let paths = file.sources.iter();
    let mut head: Vec<_> = paths
        .map(|path| format!("made of {}", path.display().to_string().escape_debug()))
        .collect();
    head.push("what is written here is lost: change the files above".to_string());
    head
}

/// What has the service started.
fn links(service: &str, install: &Install) -> Vec<Output> {
    let mut links = Vec::new();
    for (units, kind) in [
        (&install.wanted_by, "wants"),
        (&install.required_by, "requires"),
        (&install.upheld_by, "upholds"),
    ] {
        links.extend(units.iter().map(|unit| wanted(unit, kind, service)));
    }
    let alias = install.alias.iter().filter(|alias| *alias != service);
    links.extend(alias.map(|alias| Output::Link(alias.clone(), service.to_string())));
    links.sort_by(|a, b| a.path().cmp(b.path()));
    links.dedup();
    links
}

fn wanted(by: &str, kind: &str, unit: &str) -> Output {
    Output::Link(format!("{by}.{kind}/{unit}"), format!("../{unit}"))
}

fn command(skim: &Path, arguments: &[&str]) -> Result<String> {
    let mut argv = vec!["skim".to_string()];
    argv.extend(arguments.iter().map(|word| (*word).to_string()));
    escape::command_line(skim, &argv).with_context(|| format!("cannot run {}", skim.display()))
}

/// Where skim may be, beside a generator at `own`: the first that there is. Pure.
pub fn candidates(own: &Path) -> Vec<PathBuf> {
    let prefix = own.to_str().and_then(|own| own.strip_suffix(GENERATOR));
    let beside = own.with_file_name("skim");
    let installed = prefix.map(|prefix| Path::new(prefix).join("bin/skim"));
    let usual = ["/usr/bin/skim", "/usr/local/bin/skim"].map(PathBuf::from);
    let mut paths: Vec<_> = installed.into_iter().collect();
    paths.push(beside);
    paths.extend(usual);
    paths
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
