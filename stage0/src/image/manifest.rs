//! The image manifest: what an image says of itself, as appc has it. The one of an OCI image is
//! made of its configuration (see [`super::oci::config`]).

mod app;
pub(crate) mod fields;
mod metadata;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

pub(crate) use self::app::isolators;
pub use self::app::{App, EnvironmentVariable, Isolator, MountPoint, Port, is_variable_name};
pub(crate) use self::metadata::pairs;
pub use self::metadata::{Pair, host_arch};

use self::fields::Fields;
use super::name::{check_identifier, sanitize};

/// An image manifest that has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageManifest {
    /// The image's name: an AC Identifier, or an OCI repository with its registry.
    pub name: String,
    /// Labels, names unique.
    pub labels: Vec<Pair>,
    /// What the image runs, where it says so.
    pub app: Option<App>,
    /// Annotations, names unique.
    pub annotations: Vec<Pair>,
    /// Images that this one builds upon.
    pub dependencies: Vec<Dependency>,
    /// The paths that alone are to be there; empty means all.
    pub path_whitelist: Vec<String>,
}

/// An image that another one builds upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Its name, an AC Identifier.
    pub image_name: String,
    /// Its ID, where it must be that very image.
    pub image_id: Option<String>,
    /// Labels that it must have.
    pub labels: Vec<Pair>,
    /// Its size in bytes, where given.
    pub size: Option<u64>,
}

impl ImageManifest {
    /// Parses and checks a manifest.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let value: Value =
            serde_json::from_slice(json).context("the image manifest is not valid JSON")?;
        Self::from_value(&value).context("the image manifest is not valid")
    }

    fn from_value(value: &Value) -> Result<Self> {
        let fields =
            Fields::new("", value).map_err(|_| anyhow::anyhow!("it is not a JSON object"))?;
        check_kind(&fields, "ImageManifest")?;
        let name = fields.required("name")?;
        check_identifier(&name).context("name")?;
        let labels = metadata::pairs(&fields, "labels")?;
        metadata::check_labels(&labels)?;
        let annotations = metadata::pairs(&fields, "annotations")?;
        metadata::check_annotations(&annotations)?;
        let app = fields.object("app")?.map(|app| App::parse(&app));
        Ok(Self {
            name,
            labels,
            app: app.transpose()?,
            annotations,
            dependencies: dependencies(&fields)?,
            path_whitelist: fields.strings("pathWhitelist")?,
        })
    }

    /// Checks that the image can be run on a host of architecture `host_arch`.
    pub fn check_supported(&self, host_arch: &str) -> Result<()> {
        metadata::check_platform(&self.labels, host_arch)
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        metadata::value(&self.labels, name)
    }

    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        metadata::value(&self.annotations, name)
    }

    /// The value of the label `version`.
    pub fn version(&self) -> Option<&str> {
        self.label("version")
    }

    /// The name of an app that runs from this image, where the user gives none.
    pub fn default_app_name(&self) -> Option<String> {
        sanitize(&self.name)
    }
}

/// Checks that this is a document of the kind `expected`, of a version of the specification.
///
/// # Errors
/// Where it is not.
pub(crate) fn check_kind(fields: &Fields<'_>, expected: &str) -> Result<()> {
    match fields.string("acKind")?.as_deref() {
        Some(kind) if kind == expected => (),
        Some(kind) => bail!("bad ACKind: {kind:?} (must be {expected:?})"),
        None => bail!("missing acKind (must be {expected:?})"),
    }
    let version = fields.required("acVersion")?;
    let parsed = semver::Version::parse(&version)
        .with_context(|| format!("acVersion: {version:?} is no semantic version"))?;
    ensure!(
        (parsed.major, parsed.minor, parsed.patch) != (0, 0, 0),
        "acVersion: {version:?} is no version of the specification"
    );
    Ok(())
}

fn dependencies(fields: &Fields<'_>) -> Result<Vec<Dependency>> {
    fields
        .objects("dependencies")?
        .iter()
        .map(|dependency| {
            let image_name = dependency.required("imageName")?;
            check_identifier(&image_name).context(dependency.path_of("imageName"))?;
            let image_id = dependency.string("imageID")?.filter(|id| !id.is_empty());
            if let Some(id) = &image_id {
                ensure!(
                    id.starts_with(super::id::APPC),
                    "{}: {id:?} is no image ID",
                    dependency.path_of("imageID")
                );
            }
            Ok(Dependency {
                image_name,
                image_id,
                labels: metadata::pairs(dependency, "labels")?,
                size: dependency.integer("size", 0..=u64::MAX)?,
            })
        })
        .collect()
}

#[cfg(test)]
#[path = "manifest/tests.rs"]
mod tests;
