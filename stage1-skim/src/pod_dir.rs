//! A pod's directory, as a stage1 entrypoint finds it.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::names::{self, PodUnits};
use crate::pod::{AppPlan, CONTRACT_VERSION, PodPlan};
use crate::progress::Watched;
use crate::sockets;

/// No plan is larger, in bytes: it holds at most a few manifests.
const PLAN_MAX: u64 = 64 * 1024 * 1024;

/// A prepared pod on disk.
pub struct PodDir {
    /// The pod's directory.
    pub path: PathBuf,
    /// Its plan.
    pub plan: PodPlan,
    /// The names of its units.
    pub units: PodUnits,
}

impl PodDir {
    /// Reads the pod in the directory `path`.
    ///
    /// # Errors
    /// Where there is no plan, or one of another version of the contract.
    pub fn open(path: &Path) -> Result<Self> {
        let plan = read_plan(path)?;
        Ok(Self {
            path: path.to_path_buf(),
            units: PodUnits::new(&plan.uuid),
            plan,
        })
    }

    /// The names of the apps' services, in the order of the apps.
    pub fn services(&self) -> Vec<String> {
        let names = self.plan.apps.iter();
        names.map(|app| self.units.service(&app.name)).collect()
    }

    /// The apps by their units, in their order.
    pub fn watched(&self) -> Vec<Watched> {
        let apps = self.plan.apps.iter();
        apps.map(|app| Watched {
            service: self.units.service(&app.name),
            sockets: match sockets::start(&self.plan, app) {
                true => sockets::of_app(app, &self.units),
                false => Vec::new(),
            },
        })
        .collect()
    }

    /// The unit that the pod runs as, where it is one of the host's.
    pub fn service_unit(&self) -> Option<&str> {
        self.plan
            .service
            .as_ref()
            .map(|service| service.unit.as_str())
    }

    /// The plan of the app `name`; of the only app where no name is given.
    ///
    /// # Errors
    /// Where there is no such app, or no name and several apps.
    pub fn app(&self, name: Option<&str>) -> Result<&AppPlan> {
        let apps = &self.plan.apps;
        let names = || {
            let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
            names.join(", ")
        };
        match (name, apps.as_slice()) {
            (None, [app]) => Ok(app),
            (None, _) => bail!(
                "the pod has several apps ({}): choose one by --app",
                names()
            ),
            (Some(name), apps) => match apps.iter().find(|app| app.name == name) {
                Some(app) => Ok(app),
                None => bail!("the pod has no app {name:?}, only {}", names()),
            },
        }
    }

    /// Writes a file of the pod whole or not at all: aside, then renamed.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write(&self, name: &str, content: &str) -> Result<()> {
        let file = self.path.join(name);
        let aside = self.path.join(format!("{name}.new"));
        fs::write(&aside, content)
            .and_then(|()| fs::rename(&aside, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Records that every app is up, for whoever waits for it. The pod runs on where that fails.
    pub fn tell_ready(&self) {
        if let Err(error) = self.write(names::READY_FILE, "") {
            log::error!("nobody can be told that the pod is up: {error:#}");
        }
    }

    /// Records the exit code of the app `name`, or of the pod ([`names::POD_STATUS`]).
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write_status(&self, name: &str, code: u8) -> Result<()> {
        let directory = self.path.join(names::STATUS_DIRECTORY);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        self.write(
            &format!("{}/{name}", names::STATUS_DIRECTORY),
            &format!("{code}\n"),
        )
    }

    /// Makes sure that the pod's lock came with this process, in the descriptor that
    /// [`names::LOCK_FD`] gives: it is of this directory, and somebody cannot take it anew.
    ///
    /// The descriptor stays open, and the lock held, for as long as this process lives; no child
    /// inherits it from here on.
    ///
    /// # Errors
    /// Where the variable is missing or wrong, or nobody holds the lock.
    pub fn check_lock(&self, number: Option<&str>) -> Result<()> {
        let variable = names::LOCK_FD;
        let number = number.and_then(|number| number.parse::<RawFd>().ok());
        let Some(number) = number.filter(|number| *number >= 0) else {
            bail!("{variable} does not give the descriptor of the pod's lock: run pods with skim");
        };
        let same = match fs::metadata(format!("/proc/self/fd/{number}")) {
            Ok(held) => {
                let own = fs::metadata(&self.path)?;
                (held.dev(), held.ino()) == (own.dev(), own.ino())
            }
            Err(_) => false,
        };
        ensure!(
            same,
            "{variable}={number} is no descriptor of {}",
            self.path.display()
        );
        ensure!(
            is_locked(&self.path)?,
            "the descriptor {variable}={number} holds no lock on {}",
            self.path.display()
        );
        close_on_exec(number).context("cannot keep the pod's lock from being inherited")
    }

    /// Keeps others from taking away what all pods share, until it is dropped.
    ///
    /// # Errors
    /// Where the directory of all pods cannot be locked.
    pub fn lock_all_pods(&self) -> Result<File> {
        lock_all_pods(&self.path, FlockOperation::LockShared)
    }
}

/// Locks the directory of all pods, which is two levels above that of one.
///
/// # Errors
/// Where it cannot be opened or locked.
pub fn lock_all_pods(pod: &Path, operation: FlockOperation) -> Result<File> {
    let pods = pod.join("../..");
    let failed = || format!("cannot lock {}", pods.display());
    let lock = File::open(&pods).with_context(failed)?;
    flock(&lock, operation).with_context(failed)?;
    Ok(lock)
}

/// Keeps an inherited descriptor, which is open, from being inherited any further.
///
/// # Errors
/// Where there is none of this number.
#[allow(unsafe_code)]
pub fn close_on_exec(number: RawFd) -> rustix::io::Result<()> {
    // SAFETY: the descriptor was inherited, and nothing in this process closes it: at worst it is
    // not open, which the system call tells. No safe crate turns an inherited number into a descriptor.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(descriptor, FdFlags::CLOEXEC)
}

/// Whether somebody holds the lock on the pod's directory `path` exclusively: the pod is alive.
///
/// # Errors
/// Where the directory cannot be opened.
pub fn is_locked(path: &Path) -> Result<bool> {
    let directory = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    match flock(&directory, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Reads the plan of the pod in the directory `path`.
///
/// # Errors
/// As [`PodDir::open`].
pub fn read_plan(path: &Path) -> Result<PodPlan> {
    let file = path.join(names::PLAN_FILE);
    let mut text = String::new();
    File::open(&file)
        .and_then(|file| file.take(PLAN_MAX).read_to_string(&mut text))
        .with_context(|| format!("cannot read the pod's plan {}", file.display()))?;
    let plan: PodPlan = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a pod's plan", file.display()))?;
    ensure!(
        (1..=CONTRACT_VERSION).contains(&plan.version),
        "{} is of version {} of the contract, this stage1 speaks {CONTRACT_VERSION}",
        file.display(),
        plan.version
    );
    Ok(plan)
}
