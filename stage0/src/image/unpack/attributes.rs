//! Owner, mode, extended attributes and time of what was unpacked.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;

use super::Owners;
use super::directories::timestamps;
use crate::image::archive::{Entry, Kind, Xattr};

/// Sets all attributes of a file or directory that is open; says how many extended attributes
/// were left out. The time of a directory is set here too, and again when all is unpacked.
///
/// The order counts: a change of owner takes away the set-user-ID bit and file capabilities.
pub fn set_on_file(file: BorrowedFd<'_>, entry: &Entry, owners: Owners) -> Result<u64> {
    let metadata = &entry.metadata;
    let left_out = match owners {
        Owners::OfImage => {
            let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            rustix::fs::fchown(file, Some(uid), Some(gid)).context("cannot set its owner")?;
            set_mode(file, entry, owners)?;
            set_xattrs(file, entry, is_kept)?
        }
        // Who has no privileges sets no attributes on what cannot be written to.
        Owners::Caller => {
            let left_out = set_xattrs(file, entry, |name| {
                is_kept(name) && name.starts_with(b"user.")
            })?;
            set_mode(file, entry, owners)?;
            left_out
        }
    };
    rustix::fs::futimens(file, &timestamps(metadata.mtime)).context("cannot set its time")?;
    Ok(left_out)
}

/// Sets the extended attributes that `is_wanted` wants; says how many it does not.
fn set_xattrs(
    file: BorrowedFd<'_>,
    entry: &Entry,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Result<u64> {
    let mut left_out = 0;
    for xattr in &entry.xattrs {
        if is_wanted(&xattr.name) {
            set_xattr(file, xattr)?;
        } else {
            left_out += 1;
        }
    }
    Ok(left_out)
}

fn set_mode(file: BorrowedFd<'_>, entry: &Entry, owners: Owners) -> Result<()> {
    let mode = Mode::from_raw_mode(mode_of(entry, owners));
    rustix::fs::fchmod(file, mode).context("cannot set its mode")
}

/// The mode that an entry gets. Of a directory its owner needs all: things are made in it.
fn mode_of(entry: &Entry, owners: Owners) -> u32 {
    let mode = entry.metadata.mode;
    match (owners, &entry.kind) {
        (Owners::OfImage, _) => mode,
        (Owners::Caller, Kind::Directory) => (mode & 0o1777) | 0o700,
        (Owners::Caller, _) => (mode & 0o777) | 0o400,
    }
}

/// Sets all attributes of a directory that was there before; it keeps none of its old ones.
pub fn set_on_old_directory(
    directory: BorrowedFd<'_>,
    entry: &Entry,
    owners: Owners,
) -> Result<u64> {
    remove_xattrs(directory)?;
    set_on_file(directory, entry, owners)
}

/// Gives a directory the attributes of one that was made for what is beneath it.
pub fn reset_directory(directory: BorrowedFd<'_>, owners: Owners) -> Result<()> {
    remove_xattrs(directory)?;
    if owners == Owners::OfImage {
        rustix::fs::fchown(directory, Some(Uid::ROOT), Some(Gid::ROOT))
            .context("cannot set its owner")?;
    }
    rustix::fs::fchmod(directory, Mode::from_raw_mode(0o755)).context("cannot set its mode")
}

/// Removes the extended attributes that came with an image; the host's own stay.
fn remove_xattrs(file: BorrowedFd<'_>) -> Result<()> {
    // As long as the kernel lets such a list become (XATTR_LIST_MAX).
    let mut names = vec![0; 65536];
    let length = match rustix::fs::flistxattr(file, &mut names) {
        Err(Errno::NOTSUP) => 0,
        result => result.context("cannot list its extended attributes")?,
    };
    let names = names.get(..length).unwrap_or_default();
    for name in names.split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        rustix::fs::fremovexattr(file, OsStr::from_bytes(name))
            .context("cannot remove an extended attribute of a lower layer")?;
    }
    Ok(())
}

/// Sets owner and time, and the mode where it has one, of what is not to be opened; extended
/// attributes are left out, as neither symbolic links nor pipes can have those that are kept.
pub fn set_on_name(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    entry: &Entry,
    owners: Owners,
) -> Result<u64> {
    let metadata = &entry.metadata;
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    if owners == Owners::OfImage {
        let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags)
            .context("cannot set its owner")?;
    }
    if !matches!(entry.kind, Kind::Symlink(_)) {
        let mode = Mode::from_raw_mode(mode_of(entry, owners));
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).context("cannot set its mode")?;
    }
    rustix::fs::utimensat(parent, name, &timestamps(metadata.mtime), flags)
        .context("cannot set its time")?;
    Ok(entry.xattrs.len() as u64)
}

/// Whether an extended attribute of an image is kept.
///
/// File capabilities and what users may set. Not `trusted.*` nor `user.overlay.*`: in a lower
/// layer they would steer overlayfs, to which they are redirections and whiteouts. Not the
/// labels of security modules either, which belong to the host's policy.
pub fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

fn set_xattr(file: BorrowedFd<'_>, xattr: &Xattr) -> Result<()> {
    let name = OsStr::from_bytes(&xattr.name);
    rustix::fs::fsetxattr(file, name, &xattr.value, XattrFlags::empty()).with_context(|| {
        let name = xattr.name.escape_ascii();
        format!(
            "cannot set its extended attribute \"{name}\"; the store's file system must have them"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_steer_the_overlay_are_left_out() {
        for kept in ["security.capability", "user.x", "user.overlayfs"] {
            assert!(is_kept(kept.as_bytes()), "{kept}");
        }
        for left in [
            "trusted.overlay.redirect",
            "trusted.x",
            "user.overlay.opaque",
            "security.selinux",
            "system.posix_acl_access",
            "security.ima",
            "",
            "user",
        ] {
            assert!(!is_kept(left.as_bytes()), "{left}");
        }
    }
}
