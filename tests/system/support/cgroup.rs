//! What the kernel holds against a unit, and what it has counted: the files of the unit's cgroup.

use std::fs;
use std::path::PathBuf;

use super::systemd;

const TOP: &str = "/sys/fs/cgroup";

/// Fails unless the kernel has these controllers, and on cgroup v2: without, limits are accepted
/// and do nothing.
#[track_caller]
pub(crate) fn require(controllers: &[&str]) {
    let path = format!("{TOP}/cgroup.controllers");
    let there = fs::read_to_string(&path).unwrap_or_default();
    for controller in controllers {
        assert!(
            there.split_whitespace().any(|one| one == *controller),
            "{path} has no {controller:?} ({there:?}): run these tests by tests/run, in the full machine"
        );
    }
}

/// A unit's cgroup, as long as the unit is active.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Asks systemd where it is.
    #[track_caller]
    pub(crate) fn of(unit: &str) -> Self {
        let path = systemd::property(unit, "ControlGroup");
        assert!(!path.is_empty(), "{unit} has no cgroup");
        Self(format!("{TOP}{path}").into())
    }

    /// The content of one of its files, without the last newline.
    #[track_caller]
    pub(crate) fn read(&self, file: &str) -> String {
        let path = self.0.join(file);
        let content =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        content.trim_end().to_owned()
    }

    /// A figure of `cpu.stat`, such as `usage_usec`.
    #[track_caller]
    pub(crate) fn cpu(&self, key: &str) -> u64 {
        let stat = self.read("cpu.stat");
        let value = stat.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            (name == key).then(|| value.parse().expect("a figure is a number"))
        });
        value.unwrap_or_else(|| panic!("no {key} in {stat}"))
    }
}
