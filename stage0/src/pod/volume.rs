//! Volumes: what is asked for becomes the mounts of each app. Nothing is changed; sources and
//! images are looked at.
//!
//! A volume is bound at its target in an app's rootfs. As the app has no chroot, it is told the
//! path on the host: by a variable ([`variable`]) and in the place of `{volume:NAME}`
//! ([`fill_in`]). It goes there by the volume's name, and by the name of the image's mount point.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::FileType;
use stage1_skim::names;
use stage1_skim::pod::{MountPlan, VolumeKind, VolumePlan};

use super::tree::Tree;
use crate::image::manifest::MountPoint;

mod parse;
pub mod source;
mod text;

pub use self::parse::{Attributes, check_volume_name, parse_mount, parse_volume, volume};
pub use self::text::{fill_in, variable};

/// A pod has no more volumes, and an app no more mounts.
const MAX: usize = 1024;

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
    /// The absolute path in the image, or the name of one of its mount points.
    pub target: String,
}

/// The image of an app that volumes are mounted in.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// The app's name.
    pub app: &'a str,
    /// The image's tree.
    pub tree: &'a Tree,
    /// The path of the tree.
    pub path: &'a Path,
    /// The places that the image has for volumes.
    pub points: &'a [MountPoint],
    /// Whether it is an OCI image. Those who run one are not used to give its volumes.
    pub is_oci: bool,
}

/// The volumes of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppVolumes {
    /// What is mounted, outer targets before those within them.
    pub mounts: Vec<MountPlan>,
    /// Under which names the app knows which paths of the image; names are unique.
    pub names: Vec<(String, PathBuf)>,
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
        let mut planned = Self {
            directory: directory.to_path_buf(),
            plans: Vec::new(),
        };
        for volume in volumes {
            let name = &volume.name;
            ensure!(planned.find(name).is_none(), "duplicate volume name {name}");
            let source = match (&volume.kind, &volume.source) {
                (VolumeKind::Host { recursive }, Some(source)) => {
                    source::check(source, *recursive, source::skim_directory(directory))
                        .with_context(|| format!("volume {name}"))?;
                    source.clone()
                }
                _ => names::volume_directory(directory, name),
            };
            planned.add(VolumePlan {
                name: name.clone(),
                kind: volume.kind.clone(),
                source,
                read_only: volume.read_only,
            })?;
        }
        Ok(planned)
    }

    /// Whether there is a volume of this name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Where the volume of this name comes from.
    pub fn source(&self, name: &str) -> Option<&Path> {
        self.find(name).map(|volume| &*volume.source)
    }

    fn find(&self, name: &str) -> Option<&VolumePlan> {
        self.plans.iter().find(|volume| volume.name == name)
    }

    fn add(&mut self, volume: VolumePlan) -> Result<()> {
        ensure!(self.plans.len() < MAX, "a pod has at most {MAX} volumes");
        self.plans.push(volume);
        Ok(())
    }

    /// Plans the mounts of an app: what was asked for; the pod's volumes that are called as the
    /// image's mount points are; and for each mount point that is left an empty volume of its
    /// own (`APP-MOUNTPOINT`) with what the image has there.
    ///
    /// # Errors
    /// Where a volume is unknown, or a target makes no sense.
    pub fn mounts(&mut self, image: &Image<'_>, requests: &[MountRequest]) -> Result<AppVolumes> {
        ensure!(
            requests.len() <= MAX && image.points.len() <= MAX,
            "an app has at most {MAX} mounts"
        );
        let mut places = Places::default();
        for (rank, target) in sorted_targets(image, requests)? {
            let request = &requests[rank];
            let volume = self.find(&request.volume).with_context(|| {
                format!(
                    "dangling mount point {:?}: volume {:?} not found",
                    request.target, request.volume
                )
            })?;
            let target = places.resolve(image.tree, &target)?;
            places.add(volume, target, false, rank)?;
        }
        let mut unmet = Vec::new();
        for point in image.points {
            let named = || format!("mount point {}", point.name);
            let path = Path::new(&point.path);
            parse::check_target(path).with_context(named)?;
            let target = places.resolve(image.tree, path).with_context(named)?;
            if places.meets(point, &target) {
                continue;
            }
            match self.find(&point.name) {
                Some(volume) => {
                    places.add(volume, target, point.read_only, requests.len())?;
                }
                None => unmet.push((point, target)),
            }
        }
        for (point, target) in unmet {
            // What the user mounts above it holds it, too; two mount points may be one place.
            if places.meets(point, &target) || self.is_in_host_volume(&places, &target) {
                places.name(POINT, &point.name, &target);
                continue;
            }
            let volume = self.implicit(image, point, &target)?;
            places.name(POINT, &point.name, &target);
            places.add(&volume, target, point.read_only, requests.len())?;
            self.add(volume)?;
        }
        Ok(places.finish())
    }

    fn is_in_host_volume(&self, places: &Places, target: &Path) -> bool {
        let outer = places.innermost(target);
        outer
            .and_then(|mount| self.find(&mount.volume))
            .is_some_and(|volume| matches!(volume.kind, VolumeKind::Host { .. }))
    }

    /// The volume for a mount point that nobody gave one for.
    fn implicit(&self, image: &Image<'_>, point: &MountPoint, target: &Path) -> Result<VolumePlan> {
        let name = format!("{}-{}", image.app, point.name);
        parse::check_volume_name(&name)
            .with_context(|| format!("mount point {}: give it a volume", point.name))?;
        ensure!(
            self.find(&name).is_none(),
            "duplicate volume name {name}: it is that of the mount point {}, too; rename the \
             volume, or the app by --name",
            point.name
        );
        let kind = filled(image, target)?;
        let text = format!(
            "app {}: no volume is given for its mount point {} ({}): it gets one of its own, \
             which goes with the pod",
            image.app, point.name, point.path
        );
        if image.is_oci {
            log::debug!("{text}");
        } else {
            log::warn!("{text}");
        }
        Ok(VolumePlan {
            kind,
            source: names::volume_directory(&self.directory, &name),
            name,
            read_only: false,
        })
    }

    /// The volumes that were planned.
    pub fn into_plans(self) -> Vec<VolumePlan> {
        self.plans
    }
}

/// The requests' places in their list, and their targets as paths of the image, outer ones
/// first: what lies within a volume is not looked up in the image.
fn sorted_targets(image: &Image<'_>, requests: &[MountRequest]) -> Result<Vec<(usize, PathBuf)>> {
    let mut targets = Vec::new();
    for (rank, request) in requests.iter().enumerate() {
        let mut points = image.points.iter();
        let point = points.find(|point| point.name == request.target);
        let target = Path::new(point.map_or(&request.target, |point| &point.path));
        parse::check_target(target)?;
        targets.push((rank, target.to_path_buf()));
    }
    targets.sort_by(|(_, one), (_, other)| one.cmp(other));
    Ok(targets)
}

/// An empty volume with what the image has at `target`.
fn filled(image: &Image<'_>, target: &Path) -> Result<VolumeKind> {
    let Some(stat) = image.tree.stat(target)? else {
        return Ok(VolumeKind::Empty {
            mode: parse::DEFAULT_MODE,
            uid: 0,
            gid: 0,
            fill: None,
        });
    };
    ensure!(
        FileType::from_raw_mode(stat.st_mode).is_dir(),
        "{target:?} in the image is no directory: only a volume of kind=host can be mounted there"
    );
    let inside = target.strip_prefix("/").unwrap_or(target);
    Ok(VolumeKind::Empty {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        fill: Some(image.path.join(inside)),
    })
}

/// The places in an image where volumes are mounted.
#[derive(Default)]
struct Places {
    mounts: Vec<MountPlan>,
    /// What is called how, and which of two that are called alike is told: the lower number.
    names: Vec<(usize, String, PathBuf)>,
}

/// The names of mount points come after those of volumes.
const POINT: usize = usize::MAX;

impl Places {
    /// `target`, the links in the image on the way there followed.
    fn resolve(&self, tree: &Tree, target: &Path) -> Result<PathBuf> {
        let covered: Vec<_> = self.mounts.iter().map(|mount| &*mount.target).collect();
        let resolved = tree
            .resolve_links(target, &covered)
            .with_context(|| format!("target {target:?}"))?;
        ensure!(
            resolved != Path::new("/"),
            "target {target:?} leads to the image's root: an app's whole rootfs cannot be a volume"
        );
        // What stands in a link is the image's word, not the user's.
        parse::check_target(&resolved)
            .with_context(|| format!("target {target:?} leads elsewhere in the image"))?;
        Ok(resolved)
    }

    fn add(
        &mut self,
        volume: &VolumePlan,
        target: PathBuf,
        read_only: bool,
        rank: usize,
    ) -> Result<()> {
        if let Some(other) = self.mounts.iter().find(|mount| mount.target == target) {
            bail!(
                "two volumes are to be mounted at {target:?}: {} and {}",
                other.volume,
                volume.name
            );
        }
        self.name(rank, &volume.name, &target);
        self.mounts.push(MountPlan {
            volume: volume.name.clone(),
            target,
            read_only: volume.read_only || read_only,
        });
        Ok(())
    }

    /// Whether something is mounted at a mount point already: then the mount point's word on it
    /// holds, too.
    fn meets(&mut self, point: &MountPoint, target: &Path) -> bool {
        let mut mounts = self.mounts.iter_mut();
        let Some(mount) = mounts.find(|mount| mount.target == target) else {
            return false;
        };
        mount.read_only |= point.read_only;
        self.name(POINT, &point.name, target);
        true
    }

    fn name(&mut self, rank: usize, name: &str, target: &Path) {
        let name = (rank, name.to_owned(), target.to_path_buf());
        self.names.push(name);
    }

    /// The mount that what is at `target` lies in.
    fn innermost(&self, target: &Path) -> Option<&MountPlan> {
        let around = self.mounts.iter();
        around
            .filter(|mount| target.starts_with(&mount.target))
            .max_by_key(|mount| mount.target.components().count())
    }

    fn finish(mut self) -> AppVolumes {
        self.names.sort_by_key(|(rank, ..)| *rank);
        let mut names: Vec<(String, PathBuf)> = Vec::new();
        for (_, name, target) in self.names {
            if !names.iter().any(|(known, _)| *known == name) {
                names.push((name, target));
            }
        }
        self.mounts.sort_by(|a, b| a.target.cmp(&b.target));
        AppVolumes {
            mounts: self.mounts,
            names,
        }
    }
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
