//! Makes a tree what it should be again.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat,
    fchmod, fchown, fstat, futimens, openat, renameat, statat, syncfs,
};
use stage1_skim::remove::{remove_tree, unlock};

use super::walk::{Place, Visitor, cannot, walk};
use super::{Comparison, Kind, attributes};

/// Moves from `wanted` to `found` what is missing or different there, and removes what was added.
/// What is left of `wanted` is of no use any more. Both must be on one file system.
///
/// A file is replaced by another one, never written to: a program that runs keeps what it runs
/// from. Only directories that both trees have are kept, and get their attributes back.
///
/// # Errors
/// Where the file system fails, or something is mounted in the tree. What was repaired until then
/// stays repaired.
pub fn repair(wanted: BorrowedFd<'_>, found: BorrowedFd<'_>) -> Result<Comparison> {
    let mut repair = Repair::default();
    walk(wanted, found, &mut repair)?;
    syncfs(found).context("cannot bring the tree to the disk")?;
    Ok(repair.done)
}

/// A repair under way.
#[derive(Default)]
struct Repair {
    done: Comparison,
}

impl Visitor for Repair {
    fn differs(&mut self, place: &Place<'_>, kind: Kind) -> Result<()> {
        if place.name.is_some() {
            // What is in a user's store is kept from being changed by mistake.
            unlock(place.found).with_context(|| cannot("repair", place.path))?;
        }
        let done = match place.name {
            None => set_attributes(place),
            Some(name) if kind == Kind::Added => remove(place, name),
            Some(name) => replace(place, name),
        };
        done.with_context(|| cannot("repair", place.path))?;
        self.done.note(place.path, kind);
        Ok(())
    }

    /// The repair of a directory's entries has changed its time, as their change had before, and
    /// where the store is a user's, its mode.
    fn told_all(&mut self, place: &Place<'_>, wanted: &Stat) -> Result<()> {
        let context = || cannot("set the attributes of", place.path);
        fchmod(place.found, Mode::from_raw_mode(wanted.st_mode)).with_context(context)?;
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: wanted.st_mtime,
                tv_nsec: wanted.st_mtime_nsec as _,
            },
        };
        futimens(place.found, &times).with_context(context)
    }
}

/// Gives a directory the attributes that it should have.
fn set_attributes(place: &Place<'_>) -> Result<()> {
    let wanted = fstat(place.wanted)?;
    let (uid, gid) = (Uid::from_raw(wanted.st_uid), Gid::from_raw(wanted.st_gid));
    // In this order: a change of owner takes the set-ID bits away.
    fchown(place.found, Some(uid), Some(gid)).context("cannot set its owner")?;
    fchmod(place.found, Mode::from_raw_mode(wanted.st_mode)).context("cannot set its mode")?;
    attributes::copy(place.wanted, place.found).context("cannot set its extended attributes")
}

/// Puts the right entry in the place of another, or of none. Between two that are no directories
/// that is one step.
fn replace(place: &Place<'_>, name: &CStr) -> Result<()> {
    let look = |dir| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    let is_directory = |stat: Stat| FileType::from_raw_mode(stat.st_mode).is_dir();
    match look(place.found).map(is_directory) {
        Ok(true) => remove(place, name)?,
        Ok(false) if is_directory(look(place.wanted)?) => remove(place, name)?,
        // Where nothing is, nothing is in the way; renameat(2) says what else is wrong.
        _ => (),
    }
    let moved = || {
        unlock(place.wanted)?;
        let right = statat(place.wanted, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !is_directory(right) {
            return renameat(place.wanted, name, place.found, name);
        }
        // Its own entry `..` changes.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        unlock(openat(place.wanted, name, flags, Mode::empty())?.as_fd())?;
        renameat(place.wanted, name, place.found, name)?;
        chmodat(
            place.found,
            name,
            Mode::from_raw_mode(right.st_mode),
            AtFlags::empty(),
        )
    };
    moved().context("cannot move the right one there")
}

fn remove(place: &Place<'_>, name: &CStr) -> Result<()> {
    remove_tree(place.found, OsStr::from_bytes(name.to_bytes()))
}
