//! An app whose root is its image: what is mounted there must have something to be mounted on.

use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use stage1_skim::pod::AppPlan;
use stage1_skim::sandbox;

use super::working_directory;

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

    use super::*;

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
