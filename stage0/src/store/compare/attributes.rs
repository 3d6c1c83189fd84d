//! The extended attributes that are compared.

use std::os::fd::BorrowedFd;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, flistxattr_query, fremovexattr, fsetxattr};
use rustix::io::{Errno, Result};

use crate::image::unpack::is_kept;

/// The kernel's bound for a list of names (XATTR_LIST_MAX) and for a value (XATTR_SIZE_MAX).
const XATTR_MAX: usize = 65536;

/// Names and values, by name.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Whether an attribute counts: what unpacking keeps, and what overlayfs would obey. Others are
/// the host's own, such as the labels of security modules.
fn counts(name: &[u8]) -> bool {
    is_kept(name) || name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// The attributes of an open file that count.
pub(super) fn read(file: BorrowedFd<'_>) -> Result<Xattrs> {
    let mut names = Vec::new();
    // Most files have none at all.
    match flistxattr_query(file) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(_) => (),
        Err(error) => return Err(error),
    }
    names.reserve(XATTR_MAX);
    flistxattr(file, rustix::buffer::spare_capacity(&mut names))?;
    let mut xattrs = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| counts(name)) {
        let mut value = Vec::with_capacity(XATTR_MAX);
        fgetxattr(file, name, rustix::buffer::spare_capacity(&mut value))?;
        value.shrink_to_fit();
        xattrs.push((name.to_vec(), value));
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// Gives a file the attributes that `wanted` has, of those that count.
pub(crate) fn copy(wanted: BorrowedFd<'_>, found: BorrowedFd<'_>) -> Result<()> {
    let (wanted, present) = (read(wanted)?, read(found)?);
    for (name, _) in &present {
        if !wanted.iter().any(|(other, _)| other == name) {
            fremovexattr(found, &name[..])?;
        }
    }
    for pair in wanted.iter().filter(|pair| !present.contains(pair)) {
        fsetxattr(found, &pair.0[..], &pair.1, XattrFlags::empty())?;
    }
    Ok(())
}
