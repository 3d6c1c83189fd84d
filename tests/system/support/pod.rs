//! A pod that runs.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use super::command::skim;
use super::{journal, systemd, trace};

/// A pod, known by its UUID.
pub(crate) struct Pod {
    pub(crate) uuid: String,
}

impl Pod {
    /// `skim run --detach ARGS…`; the apps are up when it returns.
    #[track_caller]
    pub(crate) fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let mut command: Vec<_> = ["run", "--detach"].map(Into::into).into();
        command.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        Self {
            uuid: skim(command).line(),
        }
    }

    fn id(&self) -> String {
        self.uuid.replace('-', "")
    }

    /// The name of an app's service.
    pub(crate) fn service(&self, app: &str) -> String {
        format!("skim-{}-{app}.service", self.id())
    }

    /// The name of the pod's slice.
    pub(crate) fn slice(&self) -> String {
        format!("skim-{}.slice", self.id())
    }

    /// The name of the scope that the holder is in.
    pub(crate) fn scope(&self) -> String {
        format!("skim-{}.scope", self.id())
    }

    /// Where an app's overlay is mounted.
    pub(crate) fn rootfs(&self, app: &str) -> PathBuf {
        [trace::STATE, "pods/run", &self.uuid, "apps", app, "rootfs"]
            .iter()
            .collect()
    }

    /// The image's tree in the store: the lower directory of the app's overlay.
    #[track_caller]
    pub(crate) fn tree(&self, app: &str) -> PathBuf {
        let rootfs = format!(" {} ", self.rootfs(app).display());
        let mount = trace::mounts()
            .into_iter()
            .find(|mount| mount.contains(&rootfs));
        let mount = mount.unwrap_or_else(|| panic!("no overlay is mounted at{rootfs}"));
        let options = mount.rsplit(' ').next().unwrap_or_default();
        let lower = options
            .split(',')
            .find_map(|option| option.strip_prefix("lowerdir="));
        PathBuf::from(lower.unwrap_or_else(|| panic!("no lowerdir in {mount}")))
    }

    /// The PID of the holder: the one process in the pod's scope.
    #[track_caller]
    pub(crate) fn holder(&self) -> u32 {
        let cgroup = systemd::property(&self.scope(), "ControlGroup");
        let path = format!("/sys/fs/cgroup{cgroup}/cgroup.procs");
        let members = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        match members.lines().collect::<Vec<_>>()[..] {
            [pid] => pid.parse().expect("a PID is a number"),
            ref pids => panic!("expected one process in {path}, found {pids:?}"),
        }
    }

    /// `skim stop`.
    #[track_caller]
    pub(crate) fn stop(&self) {
        skim(["stop", &self.uuid]).success();
    }

    /// Waits until none of the pod's units is loaded any more.
    #[track_caller]
    pub(crate) fn wait_until_gone(&self) {
        let id = self.id();
        journal::until("the pod's units are gone", || {
            !systemd::skim_units().iter().any(|unit| unit.contains(&id))
        });
    }
}

/// `skim gc` of everything that has exited.
#[track_caller]
pub(crate) fn gc() {
    skim(["gc", "--grace-period=0s"]).success();
}
