//! Where the versions of services are kept.
//!
//! ```text
//! services/           0711
//!   NAME/             0700, NAME of NAME.skim
//!     lock            held while versions.json is read to be changed
//!     versions.json   see Versions
//!     start           held from the look whether a pod of it runs until there is one
//!     work            held as long as an update or a rollback is under way; who that is
//! ```

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, ftruncate};
use rustix::io::Errno;
use stage1_skim::remove::remove_tree;

use super::versions::{Trial, Versions};
use crate::store::directory;

/// The directory of all services in skim's own.
const SERVICES: &str = "services";
const LOCK: &str = "lock";
const VERSIONS: &str = "versions.json";
const START: &str = "start";
const WORK: &str = "work";

/// Most bytes of the versions.
const VERSIONS_MAX: u64 = 8 << 20;

/// Most bytes of what says who is at work.
const WORK_MAX: u64 = 256;

/// The directory of one service.
#[derive(Debug)]
pub struct ServiceDirectory {
    /// What the service is called: `docker` of `docker.skim`.
    pub name: String,
    directory: OwnedFd,
}

/// That this process updates the service, or rolls it back: nobody else does until it is dropped.
#[derive(Debug)]
pub struct Work {
    // flock(2) locks go with their descriptor.
    _file: File,
}

/// That this process starts the service: nobody else does until it is dropped.
#[derive(Debug)]
pub struct Starting {
    _file: File,
}

impl ServiceDirectory {
    /// Opens the directory of the service `name` in skim's own, and makes what is missing.
    ///
    /// # Errors
    /// Where that cannot be, or others could write there.
    pub fn open(skim_directory: &Path, name: &str) -> Result<Self> {
        let open = || -> Result<OwnedFd> {
            check_name(name)?;
            let top = directory::open_top(skim_directory)?;
            let services = directory::ensure(top.as_fd(), SERVICES, 0o711)?;
            directory::ensure(services.as_fd(), name, 0o700)
        };
        Ok(Self {
            directory: open().with_context(|| format!("service {name}"))?,
            name: name.to_owned(),
        })
    }

    /// The versions of the service `name` in skim's own directory; nothing is made of what is
    /// missing.
    ///
    /// # Errors
    /// As [`ServiceDirectory::open`] and [`ServiceDirectory::read`].
    pub fn peek(skim_directory: &Path, name: &str) -> Result<Versions> {
        check_name(name)?;
        match skim_directory.join(SERVICES).join(name).is_dir() {
            true => Self::open(skim_directory, name)?.read(),
            false => Ok(Versions::default()),
        }
    }

    /// The versions as they are now.
    ///
    /// # Errors
    /// Where they cannot be read or understood.
    pub fn read(&self) -> Result<Versions> {
        let read = || match directory::read(self.directory.as_fd(), VERSIONS, VERSIONS_MAX)? {
            Some(json) => Versions::parse(&json),
            None => Ok(Versions::default()),
        };
        read().with_context(|| {
            format!(
                "cannot read the versions of the service {} (services/{0}/{VERSIONS} in skim's directory; without it the pod file counts)",
                self.name
            )
        })
    }

    /// Changes the versions, for good; where `change` fails they stay as they were.
    ///
    /// # Errors
    /// `change`'s, and where they cannot be read or written.
    pub fn change<T>(&self, change: impl FnOnce(&mut Versions) -> Result<T>) -> Result<T> {
        let _lock = self.lock()?;
        let before = self.read()?;
        let mut versions = before.clone();
        let value = change(&mut versions)?;
        if versions != before {
            directory::replace(self.directory.as_fd(), VERSIONS, &versions.to_json()?)
                .with_context(|| format!("service {}", self.name))?;
        }
        Ok(value)
    }

    /// Takes up work on the service; `what` says to others what this process does.
    ///
    /// # Errors
    /// Where somebody else is at work; it says who.
    pub fn begin(&self, what: &str) -> Result<Work> {
        // Whoever looks whether somebody is at work has this lock, too.
        let _lock = self.lock()?;
        let mut file = self.file(WORK)?;
        if !try_lock(&file)? {
            let mut who = String::new();
            // It only serves the message.
            let _ = file.take(WORK_MAX).read_to_string(&mut who);
            bail!(
                "{} is at work on {}: wait until it is done",
                if who.is_empty() {
                    "somebody".into()
                } else {
                    who.escape_debug().to_string()
                },
                self.name
            );
        }
        let context = || format!("cannot write who is at work on {}", self.name);
        ftruncate(&file, 0).with_context(context)?;
        write!(file, "{what} (process {})", std::process::id()).with_context(context)?;
        Ok(Work { _file: file })
    }

    /// Begins a start. Two units can run one pod file, `NAME.service` and `skim-pod@NAME.service`:
    /// the second one waits here until the first one's pod is there to be seen.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn begin_start(&self) -> Result<Starting> {
        let _file = self.locked(START)?;
        Ok(Starting { _file })
    }

    /// Ends a trial that nobody is at work on any more: what was current before is so again.
    /// Returns it.
    ///
    /// # Errors
    /// As [`ServiceDirectory::change`].
    pub fn clean_up(&self, keep: usize) -> Result<Option<Trial>> {
        self.change(|versions| match versions.trial().cloned() {
            // Under the lock it is nobody's who merely looks.
            Some(trial) if try_lock(&self.file(WORK)?)? => {
                versions.go_back(None, keep);
                Ok(Some(trial))
            }
            _ => Ok(None),
        })
    }

    /// Removes the directory of the service `name` where `is_forgotten` says so of its versions
    /// and nobody is at work on it; whether it did.
    ///
    /// # Errors
    /// As [`ServiceDirectory::open`] and [`ServiceDirectory::read`], and where the file system
    /// refuses.
    pub fn remove(
        skim_directory: &Path,
        name: &str,
        is_forgotten: impl FnOnce(&Versions) -> bool,
    ) -> Result<bool> {
        let service = Self::open(skim_directory, name)?;
        let _lock = service.lock()?;
        let (work, start) = (service.file(WORK)?, service.file(START)?);
        if !try_lock(&work)? || !try_lock(&start)? || !is_forgotten(&service.read()?) {
            return Ok(false);
        }
        let remove = || {
            let top = directory::open_top(skim_directory)?;
            let services = directory::open(top.as_fd(), SERVICES)?;
            remove_tree(services.as_fd(), OsStr::new(name))
        };
        remove().with_context(|| format!("cannot remove the versions of the service {name}"))?;
        Ok(true)
    }

    fn lock(&self) -> Result<File> {
        self.locked(LOCK)
    }

    fn locked(&self, name: &str) -> Result<File> {
        let file = self.file(name)?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .with_context(|| format!("cannot lock the service {}", self.name))?;
        Ok(file)
    }

    fn file(&self, name: &str) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.directory, name, flags, mode)
            .with_context(|| format!("service {}: cannot open {name:?}", self.name))?;
        Ok(File::from(file))
    }
}

/// The names of all services that have versions.
///
/// # Errors
/// Where they cannot be listed.
pub fn names(skim_directory: &Path) -> Result<Vec<String>> {
    let path = skim_directory.join(SERVICES);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let list = || -> Result<Vec<String>> {
        let top = directory::open_top(skim_directory)?;
        let services = directory::open(top.as_fd(), SERVICES)?;
        let names = directory::names(services.as_fd())?;
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        Ok(names.filter(|name| check_name(name).is_ok()).collect())
    };
    let mut names = list().with_context(|| format!("cannot list {}", path.display()))?;
    names.sort();
    Ok(names)
}

/// A name that is one directory's, and a unit's.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ":_.-@\\".contains(c);
    ensure!(
        !name.is_empty()
            && name.len() < 256
            && !name.starts_with('.')
            && name.chars().all(is_plain),
        "`{}` cannot name a service",
        name.escape_debug()
    );
    Ok(())
}

/// Whether nobody else has the lock; then this process has it, while the file is open.
fn try_lock(file: &File) -> Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error).context("cannot lock"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::id::ImageId;
    use crate::service::versions::{Pin, Pins};

    const POD: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

    fn pins(byte: u8) -> Pins {
        let pin = Pin {
            reference: "r".into(),
            image: ImageId::from_digest(&[byte; 64]),
        };
        Pins::from([("web".to_owned(), pin)])
    }

    fn lab() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("skim")).unwrap();
        root
    }

    #[test]
    fn versions_are_kept() {
        let root = lab();
        let skim = root.path().join("skim");
        assert!(names(&skim).unwrap().is_empty());
        let service = ServiceDirectory::open(&skim, "web").unwrap();
        assert_eq!(service.read().unwrap(), Versions::default());
        service
            .change(|versions| Ok(versions.started(pins(1), 1)))
            .unwrap();
        let again = ServiceDirectory::open(&skim, "web").unwrap();
        assert_eq!(again.read().unwrap().current().unwrap().number, 1);
        // Where the change fails nothing has changed.
        let failed: Result<()> = service.change(|versions| {
            versions.started(pins(2), 2);
            bail!("no")
        });
        failed.unwrap_err();
        assert_eq!(again.read().unwrap().all().len(), 1);
        assert_eq!(names(&skim).unwrap(), ["web"]);
    }

    #[test]
    fn one_is_at_work_and_the_others_are_told_who() {
        let root = lab();
        let skim = root.path().join("skim");
        let service = ServiceDirectory::open(&skim, "web").unwrap();
        let work = service.begin("skim update").unwrap();
        let other = ServiceDirectory::open(&skim, "web").unwrap();
        let error = other.begin("skim rollback").unwrap_err().to_string();
        let expected = format!(
            "skim update (process {}) is at work on web",
            std::process::id()
        );
        assert!(error.starts_with(&expected), "{error}");
        drop(work);
        other.begin("skim rollback").unwrap();
    }

    #[test]
    fn a_trial_is_cleaned_up_when_nobody_is_at_work() {
        let root = lab();
        let service = ServiceDirectory::open(&root.path().join("skim"), "web").unwrap();
        let stage = |versions: &mut Versions| {
            versions.started(pins(1), 1);
            versions.stage(pins(2), POD, 2)?;
            versions.switch()
        };
        let work = service.begin("skim update").unwrap();
        service.change(stage).unwrap();
        assert_eq!(service.clean_up(3).unwrap(), None);
        assert_eq!(service.read().unwrap().current().unwrap().number, 2);
        drop(work);
        assert_eq!(service.clean_up(3).unwrap().unwrap().number, 2);
        assert_eq!(service.read().unwrap().current().unwrap().number, 1);
        assert_eq!(service.clean_up(3).unwrap(), None);
    }

    #[test]
    fn what_is_forgotten_is_removed_when_nobody_is_at_work() {
        let root = lab();
        let skim = root.path().join("skim");
        let service = ServiceDirectory::open(&skim, "web").unwrap();
        service
            .change(|versions| Ok(versions.started(pins(1), 1)))
            .unwrap();
        let remove = |is| ServiceDirectory::remove(&skim, "web", |_| is).unwrap();
        assert!(!remove(false));
        let work = service.begin("skim update").unwrap();
        assert!(!remove(true));
        drop(work);
        let start = service.begin_start().unwrap();
        assert!(!remove(true));
        drop(start);
        assert_eq!(names(&skim).unwrap(), ["web"]);
        assert!(remove(true));
        assert!(names(&skim).unwrap().is_empty());
    }

    #[test]
    fn names_are_those_of_directories() {
        let root = lab();
        for bad in ["", ".", "..", "a/b", ".a", "a b", "ä", &"a".repeat(256)] {
            let opened = ServiceDirectory::open(&root.path().join("skim"), bad);
            let error = format!("{:#}", opened.unwrap_err());
            assert!(error.contains("cannot name a service"), "{bad}: {error}");
        }
    }

    #[test]
    fn damage_is_told_and_not_written_over() {
        let root = lab();
        let skim = root.path().join("skim");
        let service = ServiceDirectory::open(&skim, "web").unwrap();
        let file = skim.join("services/web/versions.json");
        std::fs::write(&file, "{").unwrap();
        let changed = service.change(|versions| Ok(versions.started(pins(1), 1)));
        let error = format!("{:#}", changed.unwrap_err());
        assert!(error.contains("versions of the service web"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"{");
    }
}
