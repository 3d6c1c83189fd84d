//! An app whose root is its image: what is mounted there must have something to be mounted on,
//! and get along with the app's volumes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use stage1_skim::pod::{AppPlan, MountPlan, PodPlan, Root, VolumeKind};
use stage1_skim::sandbox::{self, RUN};

use super::tree::Tree;
use super::working_directory;

/// Refuses volumes that are in the way of what systemd mounts in such an app's root, or the other
/// way round: what is missing of its mount points systemd makes, be it in the user's directory,
/// and what lies beneath them is covered.
///
/// # Errors
/// Where there is one, or an image's tree cannot be read.
pub fn check_volumes(plan: &PodPlan, stage1: &Path) -> Result<()> {
    let apps = plan.apps.iter().filter(|app| app.root == Root::Image);
    for app in apps.filter(|app| !app.mounts.is_empty()) {
        let tree = Tree::open(&app.image.tree)?;
        check_app(plan, app, &tree, stage1).with_context(|| format!("app {}", app.name))?;
    }
    Ok(())
}

fn check_app(plan: &PodPlan, app: &AppPlan, tree: &Tree, stage1: &Path) -> Result<()> {
    let (directories, file) = sandbox::mount_points(app, stage1);
    let sockets = sandbox::LOG_SOCKETS.map(PathBuf::from);
    for place in directories.into_iter().chain(file).chain(sockets) {
        // As systemd does, within the app's root.
        let resolved = tree.resolve_links(&place, &[])?;
        for mount in &app.mounts {
            let MountPlan { volume, target, .. } = mount;
            let is_above = resolved.starts_with(target) && resolved != *target;
            ensure!(
                !(is_above && is_kept(plan, mount)),
                "volume {volume}: with --root=image, its target {target:?} is above {place:?}, \
                 where skim mounts something, too, and would have to make that in the volume: \
                 give it another target"
            );
            // What is beneath /run is mounted once more (see sandbox).
            let is_bound = place == Path::new(RUN) && resolved == place;
            ensure!(
                is_bound || !target.starts_with(&resolved),
                "volume {volume}: with --root=image, its target {target:?} is covered by what is \
                 mounted at {place:?}: give it another target"
            );
        }
    }
    Ok(())
}

/// Whether nothing is to be made in the volume.
fn is_kept(plan: &PodPlan, mount: &MountPlan) -> bool {
    let mut volumes = plan.volumes.iter();
    let volume = volumes.find(|volume| volume.name == mount.volume);
    let is_empty = volume.is_some_and(|volume| matches!(volume.kind, VolumeKind::Empty { .. }));
    mount.read_only || !is_empty
}

/// What systemd makes of a root's usual directories before it starts anything in there
/// (base-filesystem.c); those that it mounts on are not repeated.
const USUAL: [&str; 4] = ["/etc", "/root", "/usr", "/var"];

/// Where something may have been made in the app's rootfs for no more than to be mounted on, what
/// is above it included, or as systemd makes it: paths without their first `/`, links of the image's followed.
///
/// # Errors
/// Where the image's tree cannot be read.
pub fn made(app: &AppPlan, tree: &Tree, stage1: &Path) -> Result<BTreeSet<PathBuf>> {
    let (directories, file) = sandbox::mount_points(app, stage1);
    let targets = app.mounts.iter().map(|mount| mount.target.clone());
    let usual = USUAL.iter().filter(|_| app.root == Root::Image);
    let usual = usual.map(PathBuf::from);
    let mut made = BTreeSet::new();
    for path in directories
        .into_iter()
        .chain(file)
        .chain(targets)
        .chain(usual)
    {
        let path = tree.resolve_links(&path, &[])?;
        let path = path.strip_prefix("/")?;
        let parts = path.ancestors().filter(|part| !part.as_os_str().is_empty());
        made.extend(parts.map(Path::to_path_buf));
    }
    Ok(made)
}

/// Makes what systemd mounts on in the app's rootfs: it would do so itself, but not in a rootfs
/// that cannot be written to. Symbolic links are followed within the rootfs alone.
///
/// # Errors
/// Where something else stands in its way.
pub fn make_mount_points(app: &AppPlan, stage1: &Path) -> Result<()> {
    let (directories, file) = sandbox::mount_points(app, stage1);
    let failed = |path: &Path| format!("cannot make {} in its rootfs, to mount on", path.display());
    for path in &directories {
        working_directory::make_beneath(&app.rootfs, path).with_context(|| failed(path))?;
    }
    match file {
        Some(path) => make_file(&app.rootfs, &path).with_context(|| failed(&path)),
        None => Ok(()),
    }
}

/// Makes an empty file unless there is something: what that is matters to systemd alone.
fn make_file(rootfs: &Path, path: &Path) -> Result<()> {
    let parent = path.parent().context("it is no file")?;
    let name = path.file_name().context("it is no file")?;
    let parent = working_directory::make_beneath(rootfs, parent)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use stage1_skim::pod::VolumePlan;

    use super::*;

    fn checked(target: &str, kind: VolumeKind, image: &Path) -> Result<()> {
        let plan = serde_json::json!({
            "version": 2, "uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "apps": [{
                "name": "a", "rootfs": "/r", "working_directory": "/", "root": "image",
                "image": { "name": "a", "version": null, "id": "sha512-0", "tree": image },
                "exec": { "path": "/a", "argv": ["a"] }, "pre_start": null, "post_stop": null,
                "credentials": { "uid": 0, "gid": 0, "supplementary_gids": [] },
                "environment": [], "requires": [], "notify": false,
                "mounts": [{ "volume": "v", "target": target, "read_only": false }],
                "image_settings": [], "user_settings": [],
            }],
        });
        let mut plan: PodPlan = serde_json::from_value(plan).unwrap();
        plan.volumes.push(VolumePlan {
            name: "v".into(),
            kind,
            source: "/v".into(),
            read_only: false,
        });
        check_volumes(&plan, Path::new("/usr/local/bin/stage1-skim"))
    }

    #[test]
    fn volumes_and_what_skim_mounts_get_along() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        fs::create_dir_all(image.join("opt")).unwrap();
        symlink("/opt", image.join("usr")).unwrap();
        let parent = dir.path().to_str().unwrap();
        let above = "is above";
        let covered = "is covered by what is mounted at";
        for (target, says) in [
            ("/data", None),
            ("/run/data", None),
            ("/run/systemd/journal/x", None),
            ("/opt/share", None),
            (parent, Some(above)),
            // Where the image's link leads.
            ("/opt", Some(above)),
            ("/opt/local", Some(above)),
            ("/run", Some(above)),
            ("/run/systemd/journal", Some(above)),
            ("/run/systemd/journal/socket", Some(covered)),
            ("/proc", Some(covered)),
            ("/proc/x", Some(covered)),
            ("/sys/fs", Some(covered)),
            ("/dev/shm", Some(covered)),
            (&format!("{parent}/image"), Some(covered)),
            (&format!("{parent}/image/x"), Some(covered)),
            ("/opt/local/bin/stage1-skim", Some(covered)),
        ] {
            let host = VolumeKind::Host { recursive: false };
            match (checked(target, host, &image), says) {
                (Ok(()), None) => (),
                (Err(error), Some(says)) => {
                    assert!(format!("{error:#}").contains(says), "{target}: {error:#}");
                }
                (checked, _) => panic!("{target}: {checked:?}"),
            }
        }
        let empty = || VolumeKind::Empty {
            mode: 0o755,
            uid: 0,
            gid: 0,
            fill: None,
        };
        // An image may have its mount points there.
        checked("/opt", empty(), &image).unwrap();
        checked("/run", empty(), &image).unwrap();
        checked("/proc/x", empty(), &image).unwrap_err();
        symlink("/opt", image.join("run")).unwrap();
        let host = VolumeKind::Host { recursive: false };
        checked("/opt/data", host, &image).unwrap_err();
    }

    #[test]
    fn a_file_is_made_within_the_rootfs_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        fs::create_dir_all(root.join("usr")).unwrap();
        symlink("/usr", root.join("local")).unwrap();
        symlink("../outside", root.join("out")).unwrap();
        fs::write(root.join("usr/full"), "kept").unwrap();
        for path in ["/local/libexec/s", "/s", "/usr/full"] {
            make_file(&root, Path::new(path)).unwrap();
        }
        assert_eq!(fs::read(root.join("usr/libexec/s")).unwrap(), b"");
        assert_eq!(fs::read(root.join("usr/full")).unwrap(), b"kept");
        assert!(root.join("s").is_file());
        assert!(make_file(&root, Path::new("/out/s")).is_err());
        assert!(make_file(&root, Path::new("/usr/full/s")).is_err());
        assert!(!dir.path().join("outside").exists());
    }
}
