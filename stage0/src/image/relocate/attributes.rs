//! Owner, mode, times and extended attributes of a file whose content is written.

use std::fs::File;

use rustix::fs::{
    Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr,
    fsetxattr, fstat, futimens,
};
use rustix::io::{Errno, Result};

/// The kernel's bound for a list of names (XATTR_LIST_MAX) and for a value (XATTR_SIZE_MAX).
const XATTR_MAX: usize = 65536;

/// The attributes of a file at one moment.
pub(super) struct Attributes {
    stat: Stat,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    /// Reads the attributes of an open file; `stat` is from before the file was first read.
    pub(super) fn read(file: &File, stat: Stat) -> Result<Self> {
        Ok(Self {
            stat,
            xattrs: xattrs(file)?,
        })
    }

    /// Puts back whatever writing changed: the kernel clears file capabilities on every write,
    /// and the set-user-ID bits where the writer lacks CAP_FSETID.
    pub(super) fn restore(&self, file: &File) -> Result<()> {
        let now = fstat(file)?;
        if (now.st_uid, now.st_gid) != (self.stat.st_uid, self.stat.st_gid) {
            let (owner, group) = owner(&self.stat);
            fchown(file, Some(owner), Some(group))?;
        }
        let present = xattrs(file)?;
        for pair in &self.xattrs {
            if !present.contains(pair) {
                fsetxattr(file, &*pair.0, &pair.1, XattrFlags::empty())?;
            }
        }
        if fstat(file)?.st_mode != self.stat.st_mode {
            fchmod(file, Mode::from_raw_mode(self.stat.st_mode))?;
        }
        futimens(file, &times(&self.stat))
    }
}

/// The owner and group in `stat`.
pub(super) fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

/// The times of access and modification in `stat`.
pub(super) fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    }
}

fn xattrs(file: &File) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = Vec::with_capacity(XATTR_MAX);
    match flistxattr(file, rustix::buffer::spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let names = list
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = Vec::with_capacity(XATTR_MAX);
            fgetxattr(file, name, rustix::buffer::spare_capacity(&mut value))?;
            value.shrink_to_fit();
            Ok((name.to_vec(), value))
        })
        .collect()
}
