//! Unit files on disk: written whole, seen at once, removable.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::fs::{futimens, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::names::{PodUnits, ROOT_SLICE};
use crate::scope::{Manager, RuntimeScope};
use crate::units::{UnitFile, root_slice};

/// Directories where a package or the operator may have put a `skim.slice` of their own.
const UNIT_PATH: &[&str] = &[
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The same of a user's manager.
const USER_UNIT_PATH: &[&str] = &[
    "/etc/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
];

/// The directory of transient unit files, opened.
pub struct UnitDirectory {
    directory: File,
    path: PathBuf,
    /// Where the host may have what is not to be written.
    others: &'static [&'static str],
}

impl UnitDirectory {
    /// Opens the service manager's directory of transient units; a user's is made where it is
    /// missing.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(manager: &Manager) -> Result<Self> {
        let path = manager.unit_directory();
        match manager.scope() {
            RuntimeScope::System => Self::at(&path),
            RuntimeScope::User => {
                let made = std::fs::create_dir_all(&path);
                made.with_context(|| format!("cannot make {}", path.display()))?;
                Ok(Self {
                    others: USER_UNIT_PATH,
                    ..Self::at(&path)?
                })
            }
        }
    }

    /// Opens the directory `path` as one of unit files.
    ///
    /// # Errors
    /// Where it is missing.
    pub fn at(path: &Path) -> Result<Self> {
        let directory =
            File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self {
            directory,
            path: path.to_path_buf(),
            others: UNIT_PATH,
        })
    }

    /// Writes the files; where one fails, those written before it are removed again.
    ///
    /// # Errors
    /// Where the file system refuses; the message names the file.
    pub fn write(&self, files: &[UnitFile]) -> Result<()> {
        for (index, file) in files.iter().enumerate() {
            if let Err(error) = self.write_one(file) {
                let written: Vec<_> = files[..index].iter().map(|f| f.name.clone()).collect();
                self.remove(&written)?;
                return Err(error).with_context(|| {
                    format!("cannot write {}", self.path.join(&file.name).display())
                });
            }
        }
        self.touch()
    }

    /// Writes [`ROOT_SLICE`] unless the host has one.
    ///
    /// # Errors
    /// As [`UnitDirectory::write`].
    pub fn write_root_slice(&self) -> Result<()> {
        let exists = |directory: &&str| Path::new(directory).join(ROOT_SLICE).exists();
        if self.others.iter().any(exists) || self.exists(ROOT_SLICE) {
            return Ok(());
        }
        self.write(&[root_slice()])
    }

    /// Whether [`ROOT_SLICE`] was written.
    pub fn has_root_slice(manager: &Manager) -> bool {
        manager.unit_directory().join(ROOT_SLICE).exists()
    }

    /// Removes [`ROOT_SLICE`] again if no pod's slice is left; returns whether it did. It goes
    /// from systemd by itself. The caller keeps pods from starting meanwhile
    /// ([`crate::pod_dir::lock_all_pods`]).
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn remove_root_slice(&self) -> Result<bool> {
        let slices = self.list(|name| name.starts_with("skim-") && name.ends_with(".slice"))?;
        let is_last = slices.is_empty() && self.exists(ROOT_SLICE);
        if slices.is_empty() {
            self.remove(&[ROOT_SLICE.to_string(), aside(ROOT_SLICE)])?;
        }
        Ok(is_last)
    }

    /// The unit files of a pod, those included that a killed process was about to write.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn of_pod(&self, units: &PodUnits) -> Result<Vec<String>> {
        self.list(|name| units.owns(name.strip_prefix('.').unwrap_or(name)))
    }

    /// The names of the files that `is_wanted` wants.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn list(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory).context("cannot list the unit files")? {
            let entry = entry.context("cannot list the unit files")?;
            // A directory beside a unit file holds drop-ins of the operator's.
            if let Ok(name) = entry.file_name().to_str()
                && entry.file_type() != FileType::Directory
                && is_wanted(name)
            {
                names.push(name.to_string());
            }
        }
        Ok(names)
    }

    /// Removes the files of these names; one that is missing is removed.
    ///
    /// # Errors
    /// Where the file system refuses; the message names the file.
    pub fn remove(&self, names: &[String]) -> Result<()> {
        for name in names {
            match unlinkat(&self.directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => (),
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot remove {}", self.path.join(name).display())
                    });
                }
            }
        }
        Ok(())
    }

    fn exists(&self, name: &str) -> bool {
        rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn write_one(&self, file: &UnitFile) -> Result<()> {
        let aside = aside(&file.name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let descriptor = openat(&self.directory, &aside, flags | OFlags::NOFOLLOW, mode)?;
        let written = File::from(descriptor)
            .write_all(file.text.as_bytes())
            .map_err(anyhow::Error::from)
            .and_then(|()| {
                Ok(renameat(
                    &self.directory,
                    &aside,
                    &self.directory,
                    &file.name,
                )?)
            });
        if written.is_err() {
            self.remove(&[aside])?;
        }
        written
    }

    /// systemd looks for new unit files only when the directory's mtime is another than when it
    /// looked last. The kernel's own stamps are as coarse as its timer tick, so two pods started
    /// within one tick could hide the second one's units; a stamp in nanoseconds cannot.
    fn touch(&self) -> Result<()> {
        let now = clock_gettime(ClockId::Realtime);
        let stamp = Timespec {
            tv_sec: now.tv_sec,
            tv_nsec: now.tv_nsec,
        };
        let times = Timestamps {
            last_access: stamp,
            last_modification: stamp,
        };
        futimens(&self.directory, &times).context("cannot stamp the unit files' directory")
    }
}

/// By how many bytes the name under which a unit file is written first is longer than its own.
pub const ASIDE_LENGTH: usize = ".".len() + ".new".len();

/// Where a unit file is written before it gets its name.
fn aside(name: &str) -> String {
    format!(".{name}.new")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn file(name: &str, text: &str) -> UnitFile {
        UnitFile {
            name: name.into(),
            text: text.into(),
        }
    }

    #[test]
    fn writes_and_removes_whole_files() {
        let root = tempfile::tempdir().unwrap();
        let units = UnitDirectory::at(root.path()).unwrap();
        units
            .write(&[file("a.service", "x\n"), file("b.slice", "y\n")])
            .unwrap();
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(root.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(), ["a.service", "b.slice"]);
        let gone = ["a.service".to_string(), "never.service".to_string()];
        units.remove(&gone).unwrap();
        assert_eq!(names(), ["b.slice"]);
    }

    #[test]
    fn a_failed_write_takes_the_others_back() {
        let root = tempfile::tempdir().unwrap();
        let units = UnitDirectory::at(root.path()).unwrap();
        std::fs::create_dir(root.path().join("b.service")).unwrap();
        let files = [file("a.service", "x\n"), file("b.service", "y\n")];
        let error = units.write(&files).unwrap_err();
        assert!(format!("{error:#}").contains("b.service"), "{error:#}");
        assert!(!root.path().join("a.service").exists());
        assert!(!root.path().join(".b.service.new").exists());
    }

    #[test]
    fn every_write_gives_the_directory_a_new_stamp() {
        let root = tempfile::tempdir().unwrap();
        let units = UnitDirectory::at(root.path()).unwrap();
        let mut stamps = std::collections::HashSet::new();
        for n in 0..50 {
            units.write(&[file(&format!("{n}.service"), "")]).unwrap();
            let meta = std::fs::metadata(root.path()).unwrap();
            assert!(stamps.insert((meta.mtime(), meta.mtime_nsec())), "{n}");
        }
    }
}
