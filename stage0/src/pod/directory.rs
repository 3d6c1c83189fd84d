//! Pods on disk.
//!
//! ```text
//! pods/               flock(2): shared to look at pods' locks and to make one, exclusive to
//!                     take a pod away, so that nobody takes a look for a holder
//!   STAGE/UUID/       see Stage, and stage1_skim::names for what is inside
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use stage1_skim::names::{self, AppDirectory};
use stage1_skim::pod::PodPlan;
use stage1_skim::{pod_dir, remove};

use super::state::{Stage, State};

/// All pods.
pub struct Pods {
    path: PathBuf,
}

/// A pod that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its UUID.
    pub uuid: String,
    /// The directory that it is in.
    pub stage: Stage,
    /// Its state when it was looked at.
    pub state: State,
    /// Its own directory.
    pub path: PathBuf,
}

/// A pod whose lock this process holds.
pub struct LockedPod {
    /// Its UUID.
    pub uuid: String,
    /// The directory that it is in.
    pub stage: Stage,
    /// The pod's directory, open and locked.
    pub lock: File,
    /// Its path.
    pub path: PathBuf,
}

impl Pods {
    /// The pods beneath skim's directory. Nothing is made yet.
    pub fn new(skim_directory: &Path) -> Self {
        Self {
            path: skim_directory.join("pods"),
        }
    }

    /// skim's directory.
    pub fn skim_directory(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Whether there ever was a pod.
    pub fn exist(&self) -> bool {
        self.path.exists()
    }

    /// Where the pod `uuid` is when it runs.
    pub fn run_path(&self, uuid: &str) -> PathBuf {
        self.path_in(Stage::Run, uuid)
    }

    /// Makes an empty pod, locked, in the stage [`Stage::Prepare`].
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn create(&self, uuid: &str) -> Result<LockedPod> {
        for stage in Stage::ALL {
            make_directory(&self.path.join(stage.directory()), DIRECTORY_MODE, true)?;
        }
        let guard = self.guard(FlockOperation::LockShared)?;
        let path = self.path_in(Stage::Embryo, uuid);
        make_directory(&path, DIRECTORY_MODE, false)?;
        let lock = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        flock(&lock, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", path.display()))?;
        drop(guard);
        let mut pod = LockedPod {
            uuid: uuid.to_string(),
            stage: Stage::Embryo,
            lock,
            path,
        };
        self.move_to(&mut pod, Stage::Prepare)?;
        Ok(pod)
    }

    /// Moves a pod to another stage.
    ///
    /// Nothing is synced: a pod does not outlive the boot that it runs in, and after a crash gc
    /// takes it away from whatever stage it is found in.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn move_to(&self, pod: &mut LockedPod, stage: Stage) -> Result<()> {
        let to = self.path_in(stage, &pod.uuid);
        fs::rename(&pod.path, &to)
            .with_context(|| format!("cannot move {} to {}", pod.path.display(), to.display()))?;
        (pod.path, pod.stage) = (to, stage);
        Ok(())
    }

    /// All pods, in the order of their UUIDs.
    ///
    /// # Errors
    /// Where the directories cannot be read.
    pub fn list(&self) -> Result<Vec<Found>> {
        if !self.exist() {
            return Ok(Vec::new());
        }
        let _guard = self.guard(FlockOperation::LockShared)?;
        let mut pods = Vec::new();
        for stage in Stage::ALL {
            let directory = self.path.join(stage.directory());
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot read {}", directory.display()));
                }
            };
            for entry in entries {
                let path = entry?.path();
                if let Some(found) = look_at(stage, path)? {
                    pods.push(found);
                }
            }
        }
        Ok(latest(pods))
    }

    /// The one pod whose UUID begins with `prefix`, among those that a user has to do with.
    ///
    /// # Errors
    /// Where there is none, or more than one.
    pub fn find(&self, prefix: &str) -> Result<Found> {
        let matches = || {
            let mut pods = self.list()?;
            pods.retain(|pod| {
                use Stage::{ExitedGarbage, Prepare, Prepared, Run};
                matches!(pod.stage, Prepare | Prepared | Run | ExitedGarbage)
            });
            let pods = matching(prefix, pods)?;
            Ok((!pods.is_empty()).then_some(pods))
        };
        choose(prefix, once_more(matches)?.unwrap_or_default())
    }

    /// The pod of this whole UUID, whatever its state; `None` where there is none.
    ///
    /// # Errors
    /// Where its directory cannot be read.
    pub fn look(&self, uuid: &str) -> Result<Option<Found>> {
        if !self.exist() {
            return Ok(None);
        }
        let _guard = self.guard(FlockOperation::LockShared)?;
        once_more(|| {
            for stage in Stage::ALL {
                let path = self.path_in(stage, uuid);
                if path.exists()
                    && let Some(found) = look_at(stage, path)?
                {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        })
    }

    /// Takes the lock of a pod, `None` where somebody else holds it, or it is not there any more:
    /// whoever had the lock before may have moved it on.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn try_lock(&self, found: &Found) -> Result<Option<LockedPod>> {
        let _guard = self.guard(FlockOperation::LockExclusive)?;
        let lock = lock(&found.path, FlockOperation::NonBlockingLockExclusive)?;
        Ok(lock.map(|lock| LockedPod {
            uuid: found.uuid.clone(),
            stage: found.stage,
            lock,
            path: found.path.clone(),
        }))
    }

    /// Keeps a pod that does not run where it is, until the file is dropped: to others its lock
    /// looks free, and cannot be taken. `None` where somebody holds it, or the pod is gone.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn hold(&self, found: &Found) -> Result<Option<File>> {
        let _guard = self.guard(FlockOperation::LockShared)?;
        lock(&found.path, FlockOperation::NonBlockingLockShared)
    }

    /// Deletes a pod's directory. It must hold no mount: none is crossed.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn delete(&self, pod: &LockedPod) -> Result<()> {
        let parent = self.path.join(pod.stage.directory());
        let parent =
            File::open(&parent).with_context(|| format!("cannot open {}", parent.display()))?;
        remove::remove_tree(parent.as_fd(), pod.uuid.as_ref())
            .with_context(|| format!("cannot delete the pod {}", pod.uuid))
    }

    /// Keeps pods from starting until it is dropped.
    ///
    /// # Errors
    /// Where the file system has no locks.
    pub fn lock_exclusively(&self) -> Result<File> {
        self.guard(FlockOperation::LockExclusive)
    }

    fn path_in(&self, stage: Stage, uuid: &str) -> PathBuf {
        self.path.join(stage.directory()).join(uuid)
    }

    fn guard(&self, operation: FlockOperation) -> Result<File> {
        let failed = || format!("cannot lock {}", self.path.display());
        let guard = File::open(&self.path).with_context(failed)?;
        flock(&guard, operation).with_context(failed)?;
        Ok(guard)
    }
}

impl LockedPod {
    /// Fills the pod: its plan, and the directories of its apps.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn fill(&self, plan: &PodPlan) -> Result<()> {
        for app in &plan.apps {
            let directory = AppDirectory::new(&self.path, &app.name);
            make_directory(directory.path(), DIRECTORY_MODE, true)?;
            for path in [directory.work(), directory.rootfs()] {
                make_directory(&path, DIRECTORY_MODE, false)?;
            }
            make_directory(&directory.upper(), ROOTFS_MODE, false)?;
        }
        make_directory(
            &self.path.join(names::STATUS_DIRECTORY),
            DIRECTORY_MODE,
            false,
        )?;
        self.write_plan(plan)
    }

    /// Writes the pod's plan; its time stays that of the pod's making.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write_plan(&self, plan: &PodPlan) -> Result<()> {
        let file = self.path.join(names::PLAN_FILE);
        // Whoever lists the pods meanwhile finds no plan, or a whole one.
        let aside = file.with_extension("new");
        let write = || {
            // Environments hold secrets, against all advice.
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let mut new = options.open(&aside)?;
            new.write_all(&serde_json::to_vec_pretty(plan)?)?;
            if let Ok(old) = fs::metadata(&file) {
                new.set_modified(old.modified()?)?;
            }
            fs::rename(&aside, &file)
        };
        write().with_context(|| format!("cannot write {}", file.display()))
    }
}

impl LockedPod {
    /// Brings the pod to the disk.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.lock)
            .with_context(|| format!("cannot sync {}", self.path.display()))
    }
}

/// Apps that run as another user must be able to pass through every directory above their
/// rootfs, but nobody else's business is in there: whoever can open a directory can lock it.
const DIRECTORY_MODE: u32 = 0o711;

/// The mode of an app's `upper`, which becomes that of its rootfs.
const ROOTFS_MODE: u32 = 0o755;

fn make_directory(path: &Path, mode: u32, exists_is_fine: bool) -> Result<()> {
    DirBuilder::new()
        .recursive(exists_is_fine)
        .mode(mode)
        .create(path)
        .with_context(|| format!("cannot create {}", path.display()))
}

/// Locks the directory at `path`; `None` where somebody else has it locked, or it is not there
/// any more once it is locked.
fn lock(path: &Path, operation: FlockOperation) -> Result<Option<File>> {
    let lock = match File::open(path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
    };
    match flock(&lock, operation) {
        Ok(()) => Ok(is_same(&lock, path)?.then_some(lock)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Whether the open directory is the one at `path`.
fn is_same(directory: &File, path: &Path) -> Result<bool> {
    let own = directory.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((own.dev(), own.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

fn look_at(stage: Stage, path: PathBuf) -> Result<Option<Found>> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(uuid) = name.filter(|name| is_uuid(name)).map(str::to_string) else {
        return Ok(None);
    };
    match pod_dir::is_locked(&path) {
        Ok(is_locked) => Ok(Some(Found {
            state: State::of(stage, is_locked),
            uuid,
            stage,
            path,
        })),
        // Moved or deleted since the directory was listed.
        Err(_) if !path.exists() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `text` is a UUID in the form that skim writes.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

/// Looks again where nothing is found. A pod moves on in the order in which the stages are
/// looked through, and is not missed; but one that `run-prepared` puts back goes the other way.
fn once_more<T>(look: impl Fn() -> Result<Option<T>>) -> Result<Option<T>> {
    match look()? {
        None => look(),
        found => Ok(found),
    }
}

/// The pods in the order of their UUIDs. One that moved on while the directories were read was
/// found in two of them, and is where it was found last.
fn latest(mut pods: Vec<Found>) -> Vec<Found> {
    pods.sort_by(|a, b| (&a.uuid, b.stage).cmp(&(&b.uuid, a.stage)));
    pods.dedup_by(|next, kept| next.uuid == kept.uuid);
    pods
}

fn matching(prefix: &str, mut pods: Vec<Found>) -> Result<Vec<Found>> {
    ensure!(!prefix.is_empty(), "UUID cannot be empty: see skim list");
    let prefix = prefix.to_ascii_lowercase();
    pods.retain(|pod| pod.uuid.starts_with(&prefix));
    Ok(pods)
}

fn choose(prefix: &str, matches: Vec<Found>) -> Result<Found> {
    let prefix = prefix.to_ascii_lowercase();
    let count = matches.len();
    match (matches.into_iter().next(), count) {
        (None, _) => bail!("no matches found for {prefix:?}: see skim list"),
        (Some(pod), 1) => Ok(pod),
        (Some(_), count) => bail!("ambiguous uuid {prefix:?}, {count} matches"),
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
