//! Pod manifests (appc spec, "pods"): pure.
//!
//! Beyond what the specification's own validator looks at, the version, the apps' names, the
//! images' IDs, the mounts' volumes and their paths are checked.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use stage1_skim::pod::Root;
use stage1_skim::unit;

use super::app::{DROPIN, NOTIFY, ROOT};
use super::plan::REQUIRES;
use super::request::AppRequest;
use super::unit::{Asked, UNIT};
use super::volume::{self, Attributes, MountRequest, Volume};
use crate::image::manifest::fields::Fields;
use crate::image::manifest::{self, App, Isolator, Pair};
use crate::image::name::{check_identifier, check_name};
use crate::image::reference::Reference;
use crate::store::Image;

/// More apps than a pod has.
const APPS_MAX: usize = 1024;

/// A pod manifest that has been checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodManifest {
    /// Its apps.
    pub apps: Vec<RuntimeApp>,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Isolators of all apps together.
    pub isolators: Vec<Isolator>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What rkt's users note about the pod's apps.
    pub user_annotations: BTreeMap<String, String>,
    /// What rkt's users label them with.
    pub user_labels: BTreeMap<String, String>,
}

/// One app of a pod manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeApp {
    /// Its name, an AC Name.
    pub name: String,
    /// Its image.
    pub image: ImageChoice,
    /// The app section that replaces the image's.
    pub app: Option<App>,
    /// Whether its rootfs cannot be written to.
    pub read_only_rootfs: bool,
    /// Its mounts.
    pub mounts: Vec<MountRequest>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What rkt's users note about it.
    pub user_annotations: BTreeMap<String, String>,
    /// What rkt's users label it with.
    pub user_labels: BTreeMap<String, String>,
}

/// Which image an app runs from.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageChoice {
    /// The image in the store, by its ID or by its name.
    pub reference: Reference,
    /// What it must be called.
    pub name: Option<String>,
    /// Labels that it must have.
    pub labels: Vec<Pair>,
}

impl ImageChoice {
    /// Refuses an image that was found by its ID, and is not called what the manifest says.
    ///
    /// # Errors
    /// As it says.
    pub fn check(&self, image: &Image) -> Result<()> {
        if let Some(name) = &self.name {
            ensure!(
                image.names.iter().any(|known| known.name == *name),
                "the image is called {}, and not {name}",
                image.name()
            );
        }
        for label in &self.labels {
            let value = image.manifest.label(&label.name);
            ensure!(
                value == Some(&label.value),
                "the image {} has not the label {}={}",
                image.name(),
                label.name,
                label.value
            );
        }
        Ok(())
    }
}

impl PodManifest {
    /// Parses and checks a pod manifest.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let value: Value =
            serde_json::from_slice(json).context("the pod manifest is not valid JSON")?;
        Self::from_value(&value).context("the pod manifest is not valid")
    }

    fn from_value(value: &Value) -> Result<Self> {
        let fields =
            Fields::new("", value).map_err(|_| anyhow::anyhow!("it is not a JSON object"))?;
        manifest::check_kind(&fields, "PodManifest")?;
        ensure!(
            fields.elements("ports")?.is_empty(),
            "ports: apps share the host's network, and no port is forwarded"
        );
        let mut volumes = volumes(&fields)?;
        let apps = apps(&fields, &mut volumes)?;
        check_references(&apps, &volumes)?;
        Ok(Self {
            apps,
            volumes,
            isolators: manifest::isolators(&fields)?,
            annotations: map(manifest::pairs(&fields, "annotations")?),
            user_annotations: fields.map_of_strings("userAnnotations")?,
            user_labels: fields.map_of_strings("userLabels")?,
        })
    }
}

impl RuntimeApp {
    /// The request for this app, run from `image`. The annotations `skim.requires`,
    /// `skim.dropin` and that of sd_notify(3) take the place of the image's; `skim.root` is
    /// `--root`, `skim.unit` is `--unit`.
    ///
    /// # Errors
    /// Where `skim.dropin` is no unit text, or `skim.root` no such word.
    pub fn into_request(
        self,
        image: Image,
        user_annotations: &BTreeMap<String, String>,
        user_labels: &BTreeMap<String, String>,
    ) -> Result<AppRequest> {
        let requires = self.annotations.get(REQUIRES);
        let requires = requires.map(|names| names.split_whitespace().map(str::to_owned).collect());
        let dropin = self.annotations.get(DROPIN);
        let settings = match dropin {
            Some(text) => unit::parse(text).with_context(|| format!("annotation {DROPIN}"))?,
            None => Vec::new(),
        };
        let replaces_dropin = dropin.is_some();
        let unit = self.annotations.get(UNIT);
        let unit = unit.map(|text| Asked::parse(text)).transpose();
        let unit = unit.with_context(|| format!("annotation {UNIT}"))?;
        let notify = self.annotations.get(NOTIFY).map(|value| value == "true");
        let root = root(self.annotations.get(ROOT))?;
        let mut annotations = self.annotations;
        annotations.extend(user_annotations.clone());
        annotations.extend(self.user_annotations);
        let mut labels = user_labels.clone();
        labels.extend(self.user_labels);
        Ok(AppRequest {
            name: Some(self.name),
            app: self.app,
            mounts: self.mounts,
            read_only_rootfs: self.read_only_rootfs,
            annotations,
            labels,
            requires,
            notify,
            root,
            settings,
            replaces_dropin,
            unit,
            ..AppRequest::new(image)
        })
    }
}

fn root(annotation: Option<&String>) -> Result<Root> {
    match annotation.map(String::as_str) {
        None | Some("host") => Ok(Root::Host),
        Some("image") => Ok(Root::Image),
        Some(other) => bail!("annotation {ROOT}: {other:?} (must be one of: host, image)"),
    }
}

fn volumes(fields: &Fields<'_>) -> Result<Vec<Volume>> {
    let volumes = fields.objects("volumes")?;
    volumes.iter().map(one_volume).collect()
}

fn one_volume(fields: &Fields<'_>) -> Result<Volume> {
    let name = fields.required("name")?;
    let recursive = match fields.value("recursive")? {
        Some(_) => Some(fields.flag("recursive")?),
        None => None,
    };
    let id = |key| -> Result<Option<u32>> {
        let number = fields.integer(key, 0..=u64::from(u32::MAX) - 1)?;
        Ok(number.map(u32::try_from).transpose()?)
    };
    let mode = fields.string("mode")?.map(|text| {
        u32::from_str_radix(&text, 8)
            .with_context(|| format!("{}: {text:?} is no octal mode", fields.path_of("mode")))
    });
    let attributes = Attributes {
        mode: mode.transpose()?,
        uid: id("uid")?,
        gid: id("gid")?,
    };
    let source = fields.string("source")?.filter(|source| !source.is_empty());
    volume::volume(
        &name,
        &fields.required("kind")?,
        source.as_deref().map(Path::new),
        fields.flag("readOnly")?,
        recursive,
        attributes,
    )
    .with_context(|| format!("volume {name}"))
}

fn apps(fields: &Fields<'_>, volumes: &mut Vec<Volume>) -> Result<Vec<RuntimeApp>> {
    let apps = fields.objects("apps")?;
    ensure!(!apps.is_empty(), "apps: a pod needs one");
    ensure!(apps.len() <= APPS_MAX, "apps: more than {APPS_MAX}");
    let mut names = HashSet::new();
    let apps = apps.iter().map(|fields| {
        let app = one_app(fields, volumes)?;
        ensure!(
            names.insert(app.name.clone()),
            "multiple apps with name {}",
            app.name
        );
        Ok(app)
    });
    apps.collect()
}

fn one_app(fields: &Fields<'_>, volumes: &mut Vec<Volume>) -> Result<RuntimeApp> {
    let name = fields.required("name")?;
    check_name(&name).with_context(|| fields.path_of("name"))?;
    let image = image(fields).with_context(|| format!("app {name}"))?;
    let section = fields.object("app")?;
    let notes = |key| match &section {
        Some(section) => section.map_of_strings(key),
        None => Ok(BTreeMap::new()),
    };
    let app = section.as_ref().map(App::parse);
    let app = app.transpose().with_context(|| format!("app {name}"))?;
    let mounts: Result<Vec<_>> = fields
        .objects("mounts")?
        .iter()
        .map(|mount| one_mount(mount, app.as_ref(), volumes))
        .collect();
    Ok(RuntimeApp {
        image,
        app,
        read_only_rootfs: fields.flag("readOnlyRootFS")?,
        mounts: mounts.with_context(|| format!("app {name}"))?,
        annotations: map(manifest::pairs(fields, "annotations")?),
        user_annotations: notes("userAnnotations")?,
        user_labels: notes("userLabels")?,
        name,
    })
}

/// The image: by its ID, or by its name and version.
fn image(fields: &Fields<'_>) -> Result<ImageChoice> {
    let image = fields.object("image")?.context("image: missing")?;
    let name = image.string("name")?.filter(|name| !name.is_empty());
    if let Some(name) = &name {
        check_identifier(name).with_context(|| image.path_of("name"))?;
    }
    let labels = manifest::pairs(&image, "labels")?;
    let id = image.string("id")?.filter(|id| !id.is_empty());
    let text = match (&id, &name) {
        (Some(id), _) => id.clone(),
        (None, Some(name)) => {
            let mut versions = labels.iter().filter(|label| label.name == "version");
            match versions.next() {
                Some(version) => format!("{name}:{}", version.value),
                None => name.clone(),
            }
        }
        (None, None) => bail!("image: it has neither id nor name"),
    };
    let reference = Reference::parse(&text).with_context(|| image.path_of("id"))?;
    ensure!(
        matches!(reference, Reference::Id(_)) == id.is_some(),
        "{}: {text:?} is no image ID",
        image.path_of("id")
    );
    Ok(ImageChoice {
        reference,
        name,
        labels,
    })
}

/// A mount, its target by the path or by the name of one of the app's mount points. A volume
/// that stands within it (`appVolume`) is the pod's, too.
fn one_mount(
    fields: &Fields<'_>,
    app: Option<&App>,
    volumes: &mut Vec<Volume>,
) -> Result<MountRequest> {
    if let Some(own) = fields.object("appVolume")? {
        let own = one_volume(&own)?;
        if !volumes.contains(&own) {
            volumes.push(own);
        }
    }
    let volume = fields.required("volume")?;
    check_name(&volume).with_context(|| fields.path_of("volume"))?;
    let path = fields.required("path")?;
    let point = app.and_then(|app| app.mount_points.iter().find(|point| point.name == path));
    let target = point.map_or(path, |point| point.path.clone());
    ensure!(
        target.starts_with('/'),
        "{}: {target:?} is no absolute path",
        fields.path_of("path")
    );
    Ok(MountRequest { volume, target })
}

fn check_references(apps: &[RuntimeApp], volumes: &[Volume]) -> Result<()> {
    let mut names = HashSet::new();
    for volume in volumes {
        ensure!(
            names.insert(&volume.name),
            "duplicate volume name {}",
            volume.name
        );
    }
    for app in apps {
        for mount in &app.mounts {
            ensure!(
                names.contains(&mount.volume),
                "app {}: dangling mount point {:?}: volume {:?} not found",
                app.name,
                mount.target,
                mount.volume
            );
        }
    }
    Ok(())
}

fn map(pairs: Vec<Pair>) -> BTreeMap<String, String> {
    let pairs = pairs.into_iter();
    pairs.map(|pair| (pair.name, pair.value)).collect()
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
