//! Which files were imported already, so that a second run of a file need not read it.

use std::os::fd::BorrowedFd;
use std::time::SystemTime;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat, flock};
use serde::{Deserialize, Serialize};

use super::directory;
use super::record::nanoseconds;
use crate::image::id::ImageId;

/// Most bytes of an entry.
const MAX_ENTRY: u64 = 4096;
/// Most entries; when there are more, the index starts anew.
const MAX_ENTRIES: usize = 4096;
/// The name under which an entry is written before it gets its own.
const NEW: &str = ".new";
/// How much older than the moment of reading a file's last change must be, in nanoseconds. A
/// later change may bear the same time, as clocks of file systems tick coarsely.
const SETTLED: u64 = 2_000_000_000;

/// What a file looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The device that its file system is on.
    dev: u64,
    /// Its inode.
    ino: u64,
    /// Its size.
    size: u64,
    /// When its content changed, in nanoseconds.
    mtime: i128,
    /// When its inode changed, in nanoseconds: nobody can set this back.
    ctime: i128,
}

/// An entry of the index: a file that was read, and what image it held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What the file looked like before and after it was read.
    pub file: Fingerprint,
    /// When reading began, in nanoseconds.
    pub began: u64,
    /// What of it was asked for, where it holds several images.
    #[serde(default)]
    pub choice: String,
    /// The image in it.
    pub id: ImageId,
}

impl Fingerprint {
    /// What the file with this status looks like.
    pub fn of(stat: &Stat) -> Self {
        let time = |seconds: i64, nanoseconds: u64| {
            i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
        };
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// The name of the file's entry.
    fn key(&self) -> String {
        format!("{:x}-{:x}", self.dev, self.ino)
    }
}

impl Entry {
    /// Whether a file that looks like `now` must hold what the entry says.
    fn is_trusted(&self, now: &Fingerprint) -> bool {
        self.file == *now && self.file.ctime + i128::from(SETTLED) < i128::from(self.began)
    }
}

/// The image `choice` in a file that looks like `file`, where that is sure.
pub fn look_up(index: BorrowedFd<'_>, file: &Fingerprint, choice: &str) -> Option<ImageId> {
    // The index only saves time: what cannot be read in it is as good as missing.
    let content = match directory::read(index, &file.key(), MAX_ENTRY) {
        Ok(content) => content?,
        Err(error) => {
            log::debug!("{error:#}");
            return None;
        }
    };
    let entry: Entry = serde_json::from_slice(&content).ok()?;
    (entry.choice == choice && entry.is_trusted(file)).then_some(entry.id)
}

/// Notes that a file which looks like `file` holds the image `id` as `choice`.
pub fn note(
    index: BorrowedFd<'_>,
    file: Fingerprint,
    choice: &str,
    began: SystemTime,
    id: ImageId,
) -> Result<()> {
    let key = file.key();
    let entry = Entry {
        file,
        began: nanoseconds(began),
        choice: choice.to_owned(),
        id,
    };
    if !entry.is_trusted(&file) {
        return Ok(());
    }
    write(index, &key, &entry).context("cannot note which image the file holds")
}

fn write(index: BorrowedFd<'_>, key: &str, entry: &Entry) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(index, ".", flags, Mode::empty())?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let names = directory::names(index)?;
    if names.len() >= MAX_ENTRIES {
        for name in names {
            rustix::fs::unlinkat(index, name, AtFlags::empty())?;
        }
    }
    directory::write(index, NEW, &serde_json::to_vec(entry)?)?;
    Ok(rustix::fs::renameat(index, NEW, index, key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ctime: i128, began: u64) -> Entry {
        let file = Fingerprint {
            dev: 1,
            ino: 2,
            size: 3,
            mtime: 4,
            ctime,
        };
        Entry {
            file,
            began,
            choice: String::new(),
            id: ImageId::from_digest(&[1; 64]),
        }
    }

    #[test]
    fn only_what_settled_before_it_was_read_is_trusted() {
        let second = 1_000_000_000;
        let at = |ctime: u64| {
            let entry = entry(i128::from(ctime), 100 * second);
            entry.is_trusted(&entry.file)
        };
        assert!(at(97 * second));
        assert!(!at(98 * second));
        assert!(!at(99 * second));
        assert!(!at(200 * second), "the clock was set back");
    }

    #[test]
    fn any_difference_is_a_change() {
        let entry = entry(0, u64::MAX);
        let same = entry.file;
        assert!(entry.is_trusted(&same));
        let others = [
            Fingerprint { dev: 9, ..same },
            Fingerprint { ino: 9, ..same },
            Fingerprint { size: 9, ..same },
            Fingerprint { mtime: 9, ..same },
            Fingerprint { ctime: 9, ..same },
        ];
        for other in others {
            assert!(!entry.is_trusted(&other), "{other:?}");
        }
    }
}
