//! Mounts of the host that are not skim's.

use std::fs;
use std::path::{Path, PathBuf};

use super::command::run;
use super::host::Host;
use super::trace::STATE;

/// All mounts but skim's, as lines of mountinfo: identities, peer groups and all.
#[track_caller]
pub(crate) fn others() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("cannot read mountinfo");
    let others = table.lines().filter(|line| !line.contains(STATE));
    others.map(str::to_owned).collect()
}

/// A directory with a tmpfs on it, or another directory, which is shared (mount_namespaces(7)), as systemd makes all.
pub(crate) struct Mounted {
    path: PathBuf,
}

impl Mounted {
    /// Mounts one at a new directory of the test's.
    #[track_caller]
    pub(crate) fn new(host: &Host, name: &str) -> Self {
        Self::at(&host.directory(name))
    }

    /// Mounts one at `path`, which is made if it is missing.
    #[track_caller]
    pub(crate) fn at(path: &Path) -> Self {
        fs::create_dir_all(path).expect("cannot make a mount point");
        let source = ["-t", "tmpfs", "tmpfs"].map(AsRef::as_ref);
        let args = source.into_iter().chain([path.as_os_str()]);
        run("mount", args).success();
        Self {
            path: path.to_owned(),
        }
    }

    /// Another name for the directory `source`.
    #[track_caller]
    pub(crate) fn bind(source: &Path, path: PathBuf) -> Self {
        let args = ["--bind".as_ref(), source.as_os_str(), path.as_os_str()];
        run("mount", args).success();
        Self { path }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    #[track_caller]
    pub(crate) fn file(self, name: &str) -> Self {
        fs::write(self.path.join(name), name).expect("cannot write a file");
        self
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: after a failure something may still be in there.
        run("umount", ["--lazy".as_ref(), self.path.as_os_str()]);
    }
}
