//! Mounts at and beneath a directory: found, and taken away.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

/// Unmounts everything at and beneath `directory`, the last mount first.
///
/// No symbolic link is followed on the way to a mount: what is in a volume belongs to others,
/// who could make one meanwhile that leads to a mount of the host.
///
/// Nothing is unmounted anywhere else. What somebody has bound in there with all that is
/// mounted beneath it (`mount --rbind`) is a peer of the host's own mounts, from where what is
/// unmounted goes away, too (mount_namespaces(7), "Shared subtrees"). So before each step what
/// is left becomes private. Copies in the namespaces of services go when the directories do
/// that they are mounted at.
///
/// # Errors
/// Where a mount is in use: the message names the processes that use it.
pub fn unmount_beneath(directory: &Path) -> Result<()> {
    let directory = as_mounted(directory)?;
    let Some(parent) = directory.parent() else {
        bail!("{} cannot be unmounted", directory.display());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = rustix::fs::open(parent, flags, Mode::empty())
        .with_context(|| format!("cannot open {}", parent.display()))?;
    loop {
        let table = std::fs::read("/proc/self/mountinfo").context("cannot read the mount table")?;
        let targets = beneath(&table, &directory);
        let mut failure = None;
        let mut is_less = targets.is_empty();
        for target in targets.iter().rev() {
            match unmount_alone(&above, parent, target, &targets) {
                Ok(()) => is_less = true,
                // It may be hidden by another one, or hold one that is.
                Err(error) => failure = failure.or(Some((target, error))),
            }
        }
        match failure {
            None => return Ok(()),
            Some(_) if is_less => (),
            Some((target, Errno::BUSY)) => {
                let users = users_of(target)?;
                bail!("{target:?} is in use by {users}: stop them and try again");
            }
            Some((target, error)) => {
                return Err(error).with_context(|| format!("cannot unmount {target:?}"));
            }
        }
    }
}

/// Unmounts `target`, one of `targets` beneath the directory `above`, and nothing elsewhere.
fn unmount_alone(
    above: &OwnedFd,
    above_path: &Path,
    target: &Path,
    targets: &[PathBuf],
) -> rustix::io::Result<()> {
    let around = targets.iter().filter(|other| target.starts_with(other));
    if let Some(outermost) = around.min_by_key(|other| other.components().count()) {
        make_private(above, above_path, outermost)?;
    }
    unmount_in(above, above_path, target)
}

/// Makes the mount at `target`, and all beneath it, peers of none.
fn make_private(above: &OwnedFd, above_path: &Path, target: &Path) -> rustix::io::Result<()> {
    let inside = target.strip_prefix(above_path).map_err(|_| Errno::INVAL)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mount = openat2(above, inside, flags, Mode::empty(), WITHIN)?;
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(path, flags)
}

/// How paths beneath a directory are resolved: nothing leads out.
const WITHIN: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// Unmounts `target`, which lies beneath the directory `above`.
fn unmount_in(above: &OwnedFd, above_path: &Path, target: &Path) -> rustix::io::Result<()> {
    let inside = target.strip_prefix(above_path).map_err(|_| Errno::INVAL)?;
    let (Some(parent), Some(name)) = (inside.parent(), inside.file_name()) else {
        return Err(Errno::INVAL);
    };
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // An open descriptor of the mount itself would keep it in use; umount(2) takes none anyway.
    let parent = openat2(above, parent, flags, Mode::empty(), WITHIN)?;
    let path = Path::new("/proc/self/fd")
        .join(parent.as_raw_fd().to_string())
        .join(name);
    unmount(path, UnmountFlags::NOFOLLOW)
}

/// The path of `directory` as the mount table has it: no symbolic link on the way. One in the
/// directory's own place is not followed, as nothing is to be unmounted where it leads.
fn as_mounted(directory: &Path) -> Result<PathBuf> {
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
        return Ok(directory.to_path_buf());
    };
    let parent = std::fs::canonicalize(parent)
        .with_context(|| format!("cannot look up {}", parent.display()))?;
    Ok(parent.join(name))
}

/// The mount points at and beneath `directory` in a mount table (proc_pid_mountinfo(5)), in the
/// order in which they were mounted. Pure.
pub fn beneath(table: &[u8], directory: &Path) -> Vec<PathBuf> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .filter(|target| target.starts_with(directory))
        .collect()
}

/// The kernel writes blank, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = match rest {
            [b'\\', digits @ ..] if digits.len() >= 3 => std::str::from_utf8(&digits[..3])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 8).ok()),
            _ => None,
        };
        path.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &rest[4..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(path))
}

/// The processes that run, stand or have something open beneath `target`, for a message.
fn users_of(target: &Path) -> Result<String> {
    let mut users = Vec::new();
    for entry in std::fs::read_dir("/proc").context("cannot read /proc")? {
        let process = entry?.path();
        let Some(pid) = process.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if pid.bytes().all(|byte| byte.is_ascii_digit()) && uses(&process, target) {
            // A process may end while it is looked at.
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            users.push(format!("{} (process {pid})", name.trim_end()));
        }
    }
    if users.is_empty() {
        return Ok("something that is no process of this mount namespace".to_string());
    }
    Ok(users.join(", "))
}

fn uses(process: &Path, target: &Path) -> bool {
    let points_beneath =
        |link: PathBuf| std::fs::read_link(link).is_ok_and(|path| path.starts_with(target));
    ["exe", "cwd", "root"]
        .iter()
        .any(|link| points_beneath(process.join(link)))
        || std::fs::read_dir(process.join("fd"))
            .is_ok_and(|fds| fds.flatten().any(|fd| points_beneath(fd.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n\
        30 22 0:50 / /s/pods/a/rootfs rw - overlay overlay rw\n\
        31 22 0:51 / /s/pods/ab/rootfs rw - overlay overlay rw\n\
        32 30 0:52 / /s/pods/a/rootfs/x\\040y\\134 rw - tmpfs t rw\n";

    #[test]
    fn finds_what_is_beneath_and_nothing_beside() {
        assert_eq!(
            beneath(TABLE, Path::new("/s/pods/a")),
            [
                PathBuf::from("/s/pods/a/rootfs"),
                PathBuf::from("/s/pods/a/rootfs/x y\\"),
            ]
        );
        assert_eq!(beneath(TABLE, Path::new("/s/pods/b")), [] as [PathBuf; 0]);
    }

    #[test]
    fn unescapes_only_octal() {
        assert_eq!(unescape(b"a\\011b"), PathBuf::from("a\tb"));
        assert_eq!(unescape(b"a\\9"), PathBuf::from("a\\9"));
    }

    #[test]
    fn no_link_is_followed_on_the_way_to_a_mount() {
        let lab = tempfile::tempdir().unwrap();
        let at = |path: &str| lab.path().join(path);
        std::fs::create_dir_all(at("pod/real/place")).unwrap();
        std::os::unix::fs::symlink("real", at("pod/link")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let above = rustix::fs::open(lab.path(), flags, Mode::empty()).unwrap();
        let outcome = |path: &str| unmount_in(&above, lab.path(), &at(path)).unwrap_err();
        // Nothing is mounted there; only root is told so.
        for path in ["pod", "pod/real/place", "pod/link"] {
            let error = outcome(path);
            assert!(
                matches!(error, Errno::INVAL | Errno::PERM),
                "{path}: {error}"
            );
        }
        assert_eq!(outcome("pod/link/place"), Errno::LOOP);
        assert_eq!(outcome("pod/none/place"), Errno::NOENT);
        let outside = unmount_in(&above, lab.path(), Path::new("/")).unwrap_err();
        assert_eq!(outside, Errno::INVAL);
    }
}
