//! Names that stage0 and stage1 share: a pod's units, and the files in its directory.
//!
//! ```text
//! pods/run/UUID/            the pod's directory; flock(2) held on it = the pod is alive
//!   pod                     the pod's plan as JSON (PodPlan)
//!   pid                     the holder's process ID; its mtime is when the pod started
//!   ready                   there once every app is up
//!   status/APP              the app's exit code, once it has ended
//!   status/.pod             the pod's exit code, once it has ended
//!   apps/APP/upper,work     the overlay's own directories
//!   apps/APP/rootfs         where the overlay is mounted
//!   volumes/NAME            an empty volume's files
//!   output/APP              a pipe for the app's output, in the user's scope
//! ```

use std::path::{Path, PathBuf};

/// Where transient unit files live (systemd.unit(5), "Unit File Load Path").
pub const UNIT_DIRECTORY: &str = "/run/systemd/system";

/// No unit's name is longer, in bytes (systemd's `UNIT_NAME_MAX`, which counts a zero at the
/// end); no file's is, either.
pub const UNIT_NAME_MAX: usize = 255;

/// The slice that holds all pods' slices.
pub const ROOT_SLICE: &str = "skim.slice";

/// The variable that carries the number of the pod lock's descriptor to a stage1 entrypoint.
pub const LOCK_FD: &str = "SKIM_LOCK_FD";

/// The exit code of skim and its stage1 for every error of their own, as rkt's.
pub const EXIT_ERROR: u8 = 254;

/// The pod's plan, in the pod's directory.
pub const PLAN_FILE: &str = "pod";
/// The holder's process ID, in the pod's directory.
pub const PID_FILE: &str = "pid";
/// There once every app is up, in the pod's directory; its mtime is since when.
pub const READY_FILE: &str = "ready";
/// The directory of exit codes, in the pod's directory.
pub const STATUS_DIRECTORY: &str = "status";
/// The pod's own exit code in [`STATUS_DIRECTORY`]; no app can have this name.
pub const POD_STATUS: &str = ".pod";

/// The names of one pod's units.
///
/// The UUID's dashes are left out, as a dash in a slice's name means a level below
/// (systemd.slice(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUnits {
    stem: String,
}

impl PodUnits {
    /// The names for the pod `uuid`.
    pub fn new(uuid: &str) -> Self {
        Self {
            stem: format!("skim-{}", uuid.replace('-', "")),
        }
    }

    /// The slice that all the pod's units are in.
    pub fn slice(&self) -> String {
        format!("{}.slice", self.stem)
    }

    /// The scope that holds the pod: its one process is the holder.
    pub fn scope(&self) -> String {
        format!("{}.scope", self.stem)
    }

    /// The scope in which the holder takes its own pod away (`--rm`).
    pub fn removal_scope(&self) -> String {
        format!("{}-rm.scope", self.stem)
    }

    /// The service of the app `name`.
    pub fn service(&self, name: &str) -> String {
        format!("{}-{name}.service", self.stem)
    }

    /// The socket of the port `port` of the app `name`: names of apps and ports have no dots.
    pub fn socket(&self, name: &str, port: &str) -> String {
        format!("{}-{name}.{port}.socket", self.stem)
    }

    /// The file of variables of the app `name`, beside its service.
    pub fn environment(&self, name: &str) -> String {
        format!("{}-{name}.environment", self.stem)
    }

    /// Whether `unit` is a unit of this pod.
    pub fn owns(&self, unit: &str) -> bool {
        unit.strip_prefix(&self.stem)
            .is_some_and(|rest| rest.starts_with(['.', '-']))
    }

    /// The app whose service `unit` is, if it is one of this pod's.
    pub fn app_of<'a>(&self, unit: &'a str) -> Option<&'a str> {
        unit.strip_prefix(&self.stem)?
            .strip_prefix('-')?
            .strip_suffix(".service")
    }
}

/// The pipe for the output of the app `name` of the pod in the directory `pod`.
pub fn output_pipe(pod: &Path, name: &str) -> PathBuf {
    pod.join("output").join(name)
}

/// Where the empty volume `name` of the pod in the directory `pod` is.
pub fn volume_directory(pod: &Path, name: &str) -> PathBuf {
    pod.join("volumes").join(name)
}

/// The directories of one app's overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppDirectory {
    path: PathBuf,
}

impl AppDirectory {
    /// The directory of the app `name` in the pod's directory `pod`.
    pub fn new(pod: &Path, name: &str) -> Self {
        Self {
            path: pod.join("apps").join(name),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the app wrote: the overlay's `upperdir`.
    pub fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }

    /// The overlay's `workdir`.
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// Where the overlay is mounted.
    pub fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_a_pod() {
        let units = PodUnits::new("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
        assert_eq!(units.slice(), "skim-6ba7b8109dad11d180b400c04fd430c8.slice");
        let service = units.service("my-app");
        assert_eq!(
            service,
            "skim-6ba7b8109dad11d180b400c04fd430c8-my-app.service"
        );
        assert_eq!(units.app_of(&service), Some("my-app"));
        assert!(units.owns(&service) && units.owns(&units.scope()));
        assert!(!units.owns("skim-6ba7b8109dad11d180b400c04fd430c9.scope"));
        assert_eq!(units.app_of(&units.scope()), None);
    }
}
