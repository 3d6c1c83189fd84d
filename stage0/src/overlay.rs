//! An app's rootfs: the image's tree below, the pod's own directory above.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use stage1_skim::names::AppDirectory;

/// Mounts the overlay of an app: `tree` stays as it is, what the app writes goes to the app's
/// own directory.
///
/// # Errors
/// Where the kernel has no overlayfs, or it cannot be mounted on this file system.
pub fn mount(tree: &Path, app: &AppDirectory) -> Result<()> {
    let failed = || format!("cannot mount the overlay {}", app.rootfs().display());
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .context("this kernel has no overlayfs, which skim needs (try modprobe overlay)")
        .with_context(failed)?;
    // The descriptors must stay open until the file system is created.
    let directories = [
        ("lowerdir", Directory::open(tree)?),
        ("upperdir", Directory::open(&app.upper())?),
        ("workdir", Directory::open(&app.work())?),
    ];
    fsconfig_set_string(&context, "source", "skim").with_context(failed)?;
    for (key, directory) in &directories {
        fsconfig_set_string(&context, *key, directory.option())
            .with_context(|| format!("overlayfs refuses {key}={}", directory.option()))
            .with_context(failed)?;
    }
    match fsconfig_create(&context) {
        Ok(()) => (),
        Err(Errno::INVAL) => {
            return Err(Errno::INVAL)
                .context(
                    "overlayfs refuses: skim's directory must be on a file system that can be \
                     an overlay's upper one, such as ext4, xfs or btrfs (see dmesg)",
                )
                .with_context(failed);
        }
        Err(error) => return Err(error).with_context(failed),
    }
    // Device nodes of an image are of no use to an app that has the host's /dev.
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount =
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).with_context(failed)?;
    attach(&mount, &app.rootfs()).with_context(failed)
}

/// What an app sees as its rootfs, read only and mounted nowhere, the descriptor alone leads
/// there: `tree` with what `app` wrote, without what is mounted in it. Where the app's overlay
/// is not mounted, as after a reboot, it is put together anew.
///
/// # Errors
/// Where the kernel refuses.
pub fn view(tree: &Path, app: &AppDirectory) -> Result<OwnedFd> {
    let rootfs = app.rootfs();
    let failed = || format!("cannot look into {}", rootfs.display());
    let table = std::fs::read("/proc/self/mountinfo").context("cannot read the mount table")?;
    // Two overlays with one upper directory would be at odds.
    if stage1_skim::mounts::beneath(&table, &rootfs).contains(&rootfs) {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        return open_tree(CWD, &rootfs, flags).with_context(failed);
    }
    let lower = [Directory::open(&app.upper())?, Directory::open(tree)?];
    let layers = lower.each_ref().map(Directory::option_by_descriptor);
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .context("this kernel has no overlayfs, which skim needs (try modprobe overlay)")
        .with_context(failed)?;
    fsconfig_set_string(&context, "source", "skim").with_context(failed)?;
    fsconfig_set_string(&context, "lowerdir", layers.join(":")).with_context(failed)?;
    fsconfig_create(&context)
        .context("overlayfs refuses (see dmesg)")
        .with_context(failed)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).with_context(failed)
}

fn attach(mount: &OwnedFd, target: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(mount.as_fd(), "", CWD, target, flags)?)
}

/// fsconfig(2) takes values shorter than this, in bytes.
const VALUE_MAX: usize = 256;

/// A directory as an option of overlayfs: by its path, which the mount table then shows; where
/// the path is too long, or holds what means something in such an option, by its descriptor.
/// Older kernels take no escaped comma.
struct Directory {
    descriptor: OwnedFd,
    path: Option<String>,
}

impl Directory {
    fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty())
            .with_context(|| format!("cannot open {}", path.display()))?;
        let path = path.to_str().map(str::to_string);
        Ok(Self {
            descriptor,
            path: path.filter(|path| path.len() < VALUE_MAX && !path.contains([':', ',', '\\'])),
        })
    }

    fn option(&self) -> String {
        match &self.path {
            Some(path) => path.clone(),
            None => self.option_by_descriptor(),
        }
    }

    fn option_by_descriptor(&self) -> String {
        format!("/proc/self/fd/{}", self.descriptor.as_raw_fd())
    }
}
