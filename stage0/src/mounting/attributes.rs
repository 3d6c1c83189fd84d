//! mount_setattr(2), which no safe crate has yet.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

/// Where mounts and unmounts elsewhere are to be seen (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Those at the source are seen, and those here are not seen there (`MS_SLAVE`).
    Slave,
    /// Neither sees the other's (`MS_PRIVATE`).
    Private,
}

/// What a mount is to become; what is not said stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Not to be written to.
    pub read_only: bool,
    /// Devices in it are no devices.
    pub no_devices: bool,
    /// Where mounts elsewhere are to be seen.
    pub propagation: Option<Propagation>,
}

/// Sets attributes of the mount whose root `mount` is, `recursive`: and of all beneath it. All
/// at once: where one cannot be changed, none is.
///
/// # Errors
/// Where the kernel refuses, or is older than Linux 5.12.
#[allow(unsafe_code)]
pub fn set(mount: BorrowedFd<'_>, recursive: bool, attributes: &Attributes) -> Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let raw = attributes.raw();
    // SAFETY: the kernel reads an empty C string and a struct of the size that it is told, both
    // of which outlive the call, and writes to neither. rustix has no mount_setattr(2) (1.1).
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const raw,
            size_of_val(&raw),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()
            .raw_os_error()
            .map_or(Errno::IO, Errno::from_raw_os_error)),
    }
}

impl Attributes {
    fn raw(&self) -> libc::mount_attr {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        libc::mount_attr {
            attr_set: flag(self.read_only, libc::MOUNT_ATTR_RDONLY)
                | flag(self.no_devices, libc::MOUNT_ATTR_NODEV),
            attr_clr: 0,
            propagation: match self.propagation {
                None => 0,
                Some(Propagation::Slave) => libc::MS_SLAVE,
                Some(Propagation::Private) => libc::MS_PRIVATE,
            },
            userns_fd: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_no_mount_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let read_only = Attributes {
            read_only: true,
            ..Attributes::default()
        };
        // EPERM where the test does not run as root.
        let error = set(file.as_fd(), false, &read_only).unwrap_err();
        assert!(matches!(error, Errno::INVAL | Errno::PERM), "{error}");
    }
}
