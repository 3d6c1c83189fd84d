//! Owner, mode, extended attributes and time of what was unpacked.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Gid, Mode, Uid, XattrFlags};

use super::directories::timestamps;
use crate::image::archive::{Entry, Kind, Xattr};

/// Sets all attributes of a file or directory that is open; says how many extended attributes
/// were left out. The time of a directory is set here too, and again when all is unpacked.
///
/// The order counts: a change of owner takes away the set-user-ID bit and file capabilities.
pub fn set_on_file(file: BorrowedFd<'_>, entry: &Entry) -> Result<u64> {
    let metadata = &entry.metadata;
    let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
    rustix::fs::fchown(file, Some(uid), Some(gid)).context("cannot set its owner")?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(metadata.mode)).context("cannot set its mode")?;
    let mut left_out = 0;
    for xattr in &entry.xattrs {
        if is_kept(&xattr.name) {
            set_xattr(file, xattr)?;
        } else {
            left_out += 1;
        }
    }
    rustix::fs::futimens(file, &timestamps(metadata.mtime)).context("cannot set its time")?;
    Ok(left_out)
}

/// Sets owner and time, and the mode where it has one, of what is not to be opened; extended
/// attributes are left out, as neither symbolic links nor pipes can have those that are kept.
pub fn set_on_name(parent: BorrowedFd<'_>, name: &OsStr, entry: &Entry) -> Result<u64> {
    let metadata = &entry.metadata;
    let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags)
        .context("cannot set its owner")?;
    if !matches!(entry.kind, Kind::Symlink(_)) {
        let mode = Mode::from_raw_mode(metadata.mode);
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
fn is_kept(name: &[u8]) -> bool {
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
