//! A pod as appc's pod manifest (appc spec, "Pod Manifest Schema"). Pure.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};
use stage1_skim::pod::{AppPlan, ExecPlan, Root, VolumeKind};
use stage1_skim::{escape, unit};

use super::app::{DROPIN, NOTIFY, ROOT, section};
use super::plan::REQUIRES;
use super::request::{AppRequest, EnvironmentRequest, PodRequest};
use super::unit::{Asked, UNIT};
use super::volume::{MountRequest, Volume};
use crate::image::appc::AC_VERSION;
use crate::image::manifest::{App, Isolator, MountPoint, Port};
use crate::image::name::check_identifier;

/// The manifest of a pod, `apps` being what was planned for it. `--pod-manifest` makes the same
/// pod of it, with paths of its own.
///
/// Paths of an app are those of its image, users and groups are numbers. Volumes are referred to
/// as they were, and those that image mount points get by themselves are not in it. What appc has
/// no field for stands in annotations: `skim.requires`, `skim.dropin`, `skim.root`, `skim.unit` and
/// whether the app speaks sd_notify(3).
///
/// Not in it: `--interactive`, which is how a pod is run; and of the caller's variables
/// (`--inherit-env`) those that would be taken for references to volumes. A program that a `PATH`
/// of the user's would hide stands with its whole path, so that its `argv[0]` is another.
///
/// # Errors
/// Where an app has nothing to run.
pub fn manifest(request: &PodRequest, apps: &[AppPlan]) -> Result<Value> {
    let apps = request.apps.iter().zip(apps);
    let apps: Result<Vec<_>> = apps.map(|(request, plan)| app(request, plan)).collect();
    Ok(json!({
        "acVersion": AC_VERSION,
        "acKind": "PodManifest",
        "apps": apps?,
        "volumes": request.volumes.iter().map(volume).collect::<Vec<_>>(),
        "isolators": request.isolators.iter().map(isolator).collect::<Vec<_>>(),
        "annotations": request.annotations.iter().map(pair).collect::<Vec<_>>(),
        "ports": [],
    }))
}

fn pair((name, value): (&String, &String)) -> Value {
    json!({"name": name, "value": value})
}

fn isolator(isolator: &Isolator) -> Value {
    json!({"name": isolator.name, "value": isolator.value})
}

fn app(request: &AppRequest, plan: &AppPlan) -> Result<Value> {
    let mounts = request.mounts.iter();
    let mount = |mount: &MountRequest| json!({"volume": mount.volume, "path": mount.target});
    let mut image = json!({"id": plan.image.id});
    // That of an OCI image need not be one of appc's.
    if is_identifier(&plan.image.name) {
        image["name"] = json!(plan.image.name);
    }
    Ok(json!({
        "name": plan.name,
        "image": image,
        "app": run_time(request, plan)?,
        "readOnlyRootFS": plan.read_only_rootfs,
        "mounts": mounts.map(mount).collect::<Vec<_>>(),
        "annotations": annotations(request, plan)?,
    }))
}

fn run_time(request: &AppRequest, plan: &AppPlan) -> Result<Value> {
    let section = section::section(request)?;
    let set = match &request.unit {
        Some(_) => section::of_manifest(request),
        None => section::environment(&section),
    };
    let variables = environment(&request.environment, set);
    let commands = Commands::new(&section, &variables, &plan.rootfs);
    let handlers = [
        ("pre-start", &section.pre_start, &plan.pre_start),
        ("post-stop", &section.post_stop, &plan.post_stop),
    ];
    let handlers: Vec<_> = handlers
        .into_iter()
        .filter_map(|(name, exec, found)| {
            let exec = commands.written(exec.as_ref()?, &[], found.as_ref()?);
            Some(json!({"name": name, "exec": exec}))
        })
        .collect();
    let who = &plan.credentials;
    let isolators = section::isolators(request, &section);
    let mut fields = json!({
        "exec": commands.written(&section.exec, &request.arguments, &plan.exec),
        "user": who.uid.to_string(),
        "group": who.gid.to_string(),
        "supplementaryGIDs": who.supplementary_gids,
        "workingDirectory": inside(&plan.rootfs, &plan.working_directory),
        "environment": variables.iter().map(|(name, value)| pair((name, value))).collect::<Vec<_>>(),
        "eventHandlers": handlers,
        "mountPoints": section.mount_points.iter().map(mount_point).collect::<Vec<_>>(),
        "ports": section.ports.iter().map(port).collect::<Vec<_>>(),
        "isolators": isolators.iter().map(isolator).collect::<Vec<_>>(),
    });
    if request.unit.is_some() {
        of_unit(&mut fields, request, plan);
    }
    // rkt's names for them.
    if !plan.labels.is_empty() {
        fields["userLabels"] = json!(plan.labels);
    }
    let notes = plan.annotations.iter();
    let notes: BTreeMap<_, _> = notes.filter(|(name, _)| !is_identifier(name)).collect();
    if !notes.is_empty() {
        fields["userAnnotations"] = json!(notes);
    }
    Ok(fields)
}

/// What the app section has where a unit of the image says the rest.
fn of_unit(fields: &mut Value, request: &AppRequest, plan: &AppPlan) {
    let program = inside(&plan.rootfs, &plan.exec.path);
    let rest = plan.exec.argv.iter().skip(1).cloned();
    fields["exec"] = [program].into_iter().chain(rest).collect();
    fields["eventHandlers"] = json!([]);
    let of_manifest = request.app.as_ref();
    let of_manifest = of_manifest.and_then(|app| app.working_directory.clone());
    let directory = request.working_directory.clone().or(of_manifest);
    fields["workingDirectory"] = json!(directory.unwrap_or_default());
}

/// The annotation by which the unit is found again.
fn unit_text(asked: &Asked, arguments: &[String]) -> Result<String> {
    let words = asked.arguments.iter().chain(arguments);
    let words: Result<Vec<_>, _> = [&asked.name]
        .into_iter()
        .chain(words)
        .map(|word| escape::word(word))
        .collect();
    Ok(words?.join(" "))
}

/// What was set, names unique, references to volumes as they were written.
fn environment(asked: &EnvironmentRequest, set: Vec<(String, String)>) -> Vec<(String, String)> {
    let inherited = section::inherited(asked).into_iter();
    let inherited = inherited.filter(|(_, value)| !value.contains("{volume:"));
    let others = [&asked.files, &asked.set, &asked.app];
    let all = inherited
        .chain(set)
        .chain(others.into_iter().flatten().cloned());
    let mut variables: Vec<(String, String)> = Vec::new();
    for (name, value) in all {
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => variables.push((name, value)),
        }
    }
    variables
}

/// Command lines as the manifest has them.
struct Commands<'a> {
    rootfs: &'a Path,
    /// Whether a bare name is looked for in the same directories again.
    finds_the_same: bool,
}

impl<'a> Commands<'a> {
    fn new(section: &App, variables: &[(String, String)], rootfs: &'a Path) -> Self {
        let is_path = |(name, _): &&(String, String)| name == "PATH";
        let searched = section::environment(section);
        Self {
            rootfs,
            finds_the_same: searched.iter().find(is_path) == variables.iter().find(is_path),
        }
    }

    fn written(&self, exec: &[String], arguments: &[String], found: &ExecPlan) -> Vec<String> {
        let program = match exec.first() {
            Some(name) if name.contains('/') || self.finds_the_same => name.clone(),
            _ => inside(self.rootfs, &found.path),
        };
        let rest = exec.iter().skip(1).chain(arguments).cloned();
        [program].into_iter().chain(rest).collect()
    }
}

/// A path of the host as one of the image, where it is beneath the rootfs.
fn inside(rootfs: &Path, path: &Path) -> String {
    match path.strip_prefix(rootfs) {
        Ok(inside) => format!("/{}", inside.display()),
        Err(_) => path.display().to_string(),
    }
}

fn is_identifier(name: &str) -> bool {
    check_identifier(name).is_ok()
}

fn annotations(request: &AppRequest, plan: &AppPlan) -> Result<Vec<Value>> {
    let mut annotations = plan.annotations.clone();
    annotations.retain(|name, _| is_identifier(name));
    for own in [DROPIN, NOTIFY, ROOT, UNIT] {
        annotations.remove(own);
    }
    annotations.insert(REQUIRES.into(), plan.requires.join(" "));
    // Where it is the image's word, it still is.
    if let Some(notify) = request.notify {
        annotations.insert(NOTIFY.into(), notify.to_string());
    }
    if plan.root == Root::Image {
        annotations.insert(ROOT.into(), "image".into());
    }
    let settings = [&plan.image_settings[..], &plan.user_settings].concat();
    let replaces = request.image.manifest.annotation(DROPIN).is_some();
    if replaces || !settings.is_empty() {
        annotations.insert(DROPIN.into(), unit::render(&[], &settings));
    }
    if let Some(asked) = &request.unit {
        annotations.insert(UNIT.into(), unit_text(asked, &request.arguments)?);
    }
    Ok(annotations.iter().map(pair).collect())
}

fn mount_point(point: &MountPoint) -> Value {
    json!({"name": point.name, "path": point.path, "readOnly": point.read_only})
}

fn port(port: &Port) -> Value {
    let mut fields = json!({
        "name": port.name,
        "port": port.port,
        "count": port.count,
        "socketActivated": port.socket_activated,
    });
    if let Some(protocol) = &port.protocol {
        fields["protocol"] = json!(protocol);
    }
    fields
}

fn volume(volume: &Volume) -> Value {
    let mut fields = Map::new();
    fields.insert("name".into(), json!(volume.name));
    fields.insert("readOnly".into(), json!(volume.read_only));
    match &volume.kind {
        VolumeKind::Host { recursive } => {
            fields.insert("kind".into(), json!("host"));
            fields.insert("recursive".into(), json!(recursive));
        }
        VolumeKind::Empty { mode, uid, gid, .. } => {
            fields.insert("kind".into(), json!("empty"));
            fields.insert("mode".into(), json!(format!("{mode:04o}")));
            fields.insert("uid".into(), json!(uid));
            fields.insert("gid".into(), json!(gid));
        }
    }
    if let Some(source) = &volume.source {
        fields.insert("source".into(), json!(source.display().to_string()));
    }
    Value::Object(fields)
}

#[cfg(test)]
#[path = "appc_tests.rs"]
mod tests;
