//! What is mounted for a pod right before it starts: each app's overlay and, within it, the
//! app's volumes.
//!
//! Everything is mounted beneath the pod's own directory, where gc finds it. No mount can act
//! back on the host: what is mounted or unmounted in a volume by an app, or by gc, is so there
//! alone.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stage1_skim::names::AppDirectory;
use stage1_skim::pod::{AppPlan, MountPlan, PodPlan, Root, VolumeKind, VolumePlan};
use stage1_skim::scope::RuntimeScope;

use crate::overlay;
use crate::pod::directory::LockedPod;
use crate::pod::volume::source;
use crate::pod::{root, working_directory};

mod attributes;
mod bind;
mod copy;
mod empty;
mod target;

/// Mounts what the apps of a pod in the stage `run` need.
///
/// # Errors
/// Where the kernel refuses, or a volume or its target is not what it was when the pod was
/// planned. What was mounted until then stays.
pub fn mount(plan: &PodPlan, pod: &LockedPod, stage1: &Path) -> Result<()> {
    let directory = &pod.path;
    for volume in &plan.volumes {
        prepare(plan, directory, volume).with_context(|| format!("volume {}", volume.name))?;
    }
    for app in &plan.apps {
        let made = match plan.scope {
            RuntimeScope::System => mount_app(plan, directory, app, stage1),
            RuntimeScope::User => copy_app(app),
        };
        made.with_context(|| format!("app {}", app.name))?;
    }
    Ok(())
}

fn prepare(plan: &PodPlan, directory: &Path, volume: &VolumePlan) -> Result<()> {
    match &volume.kind {
        // The pod may have been prepared long ago.
        VolumeKind::Host { recursive } => source::check(
            &volume.source,
            *recursive,
            source::skim_directory(directory),
        ),
        VolumeKind::Empty {
            mode,
            uid,
            gid,
            fill,
        } => {
            let attributes = empty::Attributes {
                mode: *mode,
                uid: *uid,
                gid: *gid,
                is_callers: plan.scope.is_user(),
            };
            let fill = fill.as_deref();
            let fill = fill.map(|path| tree_of(plan, path).map(|tree| (tree, path)));
            empty::make(&volume.source, attributes, fill.transpose()?)
        }
    }
}

/// The image's tree that `path` lies in.
fn tree_of<'a>(plan: &'a PodPlan, path: &Path) -> Result<&'a Path> {
    let mut trees = plan.apps.iter().map(|app| &*app.image.tree);
    let tree = trees.find(|tree| path.starts_with(tree));
    tree.with_context(|| format!("{path:?} is in no image of the pod"))
}

fn mount_app(plan: &PodPlan, directory: &Path, app: &AppPlan, stage1: &Path) -> Result<()> {
    overlay::mount(&app.image.tree, &AppDirectory::new(directory, &app.name))?;
    // Before the volumes: nothing is made in what is the user's.
    root::make_mount_points(app, stage1)?;
    let rootfs = target::Rootfs::open(&app.rootfs)?;
    for (index, mount) in app.mounts.iter().enumerate() {
        let named = || format!("volume {} at {:?}", mount.volume, mount.target);
        let volume = find(plan, mount).with_context(named)?;
        let outer = innermost(plan, &app.mounts[..index], &mount.target);
        let belongs_to_user = outer.is_some_and(|(_, volume)| is_host(volume));
        bind::bind(volume, mount, &rootfs, belongs_to_user).with_context(named)?;
    }
    make_working_directory(plan, app)?;
    if app.read_only_rootfs {
        let read_only = attributes::Attributes {
            read_only: true,
            ..attributes::Attributes::default()
        };
        attributes::set(rootfs.descriptor(), false, &read_only)
            .context("cannot make the rootfs read-only")?;
    }
    Ok(())
}

/// Makes the rootfs of a user's app, where it is not the image's own tree: nothing can be mounted.
fn copy_app(app: &AppPlan) -> Result<()> {
    if app.rootfs == app.image.tree {
        return Ok(());
    }
    let open = |path: &Path| {
        let file = std::fs::File::open(path);
        file.with_context(|| format!("cannot open {}", path.display()))
    };
    let (tree, rootfs) = (open(&app.image.tree)?, open(&app.rootfs)?);
    copy::copy(tree.as_fd(), rootfs.as_fd(), true).context("cannot copy its image")?;
    let inside = app.working_directory.strip_prefix(&app.rootfs)?;
    working_directory::make(&app.rootfs, &app.rootfs.join(inside))
}

fn find<'a>(plan: &'a PodPlan, mount: &MountPlan) -> Result<&'a VolumePlan> {
    let mut volumes = plan.volumes.iter();
    volumes
        .find(|volume| volume.name == mount.volume)
        .context("the pod has no such volume")
}

fn is_host(volume: &VolumePlan) -> bool {
    matches!(volume.kind, VolumeKind::Host { .. })
}

/// The mount that `path` of the image lies in, where it is not the overlay.
fn innermost<'a>(
    plan: &'a PodPlan,
    mounts: &'a [MountPlan],
    path: &Path,
) -> Option<(&'a MountPlan, &'a VolumePlan)> {
    let around = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.target));
    let mount = around.max_by_key(|mount| mount.target.components().count())?;
    Some((mount, find(plan, mount).ok()?))
}

/// Makes the working directory if it is missing, but nothing in the user's own directories.
fn make_working_directory(plan: &PodPlan, app: &AppPlan) -> Result<()> {
    let inside: PathBuf = match app.root {
        // That of a unit of the image is the host's.
        Root::Host => match app.working_directory.strip_prefix(&app.rootfs) {
            Err(_) if app.unit.is_some() => return Ok(()),
            inside => inside?.into(),
        },
        Root::Image => app.working_directory.strip_prefix("/")?.into(),
    };
    match innermost(plan, &app.mounts, &Path::new("/").join(&inside)) {
        Some((mount, volume)) if is_host(volume) || mount.read_only => Ok(()),
        _ => working_directory::make(&app.rootfs, &app.rootfs.join(inside)),
    }
}
