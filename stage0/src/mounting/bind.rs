//! A volume bound into an app's rootfs.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use stage1_skim::pod::{MountPlan, VolumeKind, VolumePlan};

use super::attributes::{self, Attributes, Propagation};
use super::target::Rootfs;

/// Binds a volume at its target, which is made where it is missing, unless it would be
/// `in_users`: in a directory of the host that is a volume itself.
pub(super) fn bind(
    volume: &VolumePlan,
    mount: &MountPlan,
    rootfs: &Rootfs,
    in_users: bool,
) -> Result<()> {
    let tree = clone(volume, mount.read_only)?;
    let stat = rustix::fs::fstat(&tree).context("cannot look at its source")?;
    let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
    let target = rootfs.place(&mount.target, is_directory, in_users)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree.as_fd(), "", target.as_fd(), "", flags).context("cannot mount it there")
}

/// The volume as a mount that is not attached anywhere yet.
///
/// It must not be attached before it is cut off from its source's peer group: who unmounts a
/// peer's mounts unmounts the user's own.
fn clone(volume: &VolumePlan, read_only: bool) -> Result<OwnedFd> {
    let (recursive, is_empty) = match volume.kind {
        VolumeKind::Host { recursive } => (recursive, false),
        VolumeKind::Empty { .. } => (false, true),
    };
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let source = &volume.source;
    let tree = open_tree(CWD, source, flags)
        .with_context(|| format!("cannot bind its source {source:?}"))?;
    let attributes = Attributes {
        read_only,
        // What it was filled with comes from an image, as what is in an overlay does.
        no_devices: is_empty,
        propagation: Some(propagation(recursive, read_only)),
    };
    attributes::set(tree.as_fd(), recursive, &attributes)
        .with_context(|| format!("cannot set the attributes of the mount of {source:?}"))?;
    Ok(tree)
}

/// What is mounted at the source while the pod runs is seen in a recursive volume. Not in one
/// that is not to be written to: what comes later would not be read-only.
fn propagation(recursive: bool, read_only: bool) -> Propagation {
    match (recursive, read_only) {
        (true, false) => Propagation::Slave,
        _ => Propagation::Private,
    }
}
