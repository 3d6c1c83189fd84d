//! Which controllers of control groups (cgroups(7)) settings need, and which the host has.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use stage1_skim::pod::PodPlan;
use stage1_skim::unit::Setting;

/// Where the unified hierarchy is.
const HIERARCHY: &str = "/sys/fs/cgroup";
/// The controllers that a group's units may make use of.
const AVAILABLE: &str = "cgroup.controllers";

const NEEDED: [(&str, &str); 3] = [
    ("CPUQuota", "cpu"),
    ("CPUWeight", "cpu"),
    ("MemoryMax", "memory"),
];

/// The settings that have no effect, each with the controller that it needs and `available`, a
/// list separated by blanks, does not have. Pure.
pub fn missing<'a>(
    settings: impl IntoIterator<Item = &'a Setting>,
    available: &str,
) -> Vec<(&'a str, &'static str)> {
    let mut missing = Vec::new();
    for setting in settings {
        let needed = NEEDED.iter().find(|(key, _)| *key == setting.key);
        let there = |controller: &str| available.split_whitespace().any(|own| own == controller);
        if let Some(&(_, controller)) = needed
            && !there(controller)
            && !missing.contains(&(setting.key.as_str(), controller))
        {
            missing.push((setting.key.as_str(), controller));
        }
    }
    missing
}

/// Warns of limits of the pod that are not enforced in the control group `above`, which is the
/// service manager's: of the host's controllers, a user's has those that are delegated to it
/// (`Delegate=` of user@.service).
/// Where the unified hierarchy is
/// not mounted, systemd puts controllers elsewhere, and nothing is said.
///
/// # Errors
/// Where the list of controllers cannot be read.
pub fn warn(plan: &PodPlan, above: &Path) -> Result<()> {
    let above = above.strip_prefix("/").unwrap_or(above);
    let list = Path::new(HIERARCHY).join(above).join(AVAILABLE);
    let available = match std::fs::read_to_string(&list) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.with_context(|| format!("cannot read {}", list.display()))?,
    };
    let of_apps = plan.apps.iter().flat_map(|app| &app.isolation_settings);
    for (setting, controller) in missing(plan.slice_settings.iter().chain(of_apps), &available) {
        log::warn!(
            "{setting}= has no effect: there is no {controller} controller ({})",
            list.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_lacks_is_named_once() {
        let settings = [
            Setting::service("MemoryMax", "4096"),
            Setting::service("MemoryMax", "8192"),
            Setting::service("CPUQuota", "1%"),
            Setting::service("OOMScoreAdjust", "1"),
        ];
        for (available, expected) in [
            ("cpu memory pids\n", &[][..]),
            ("cpuset memory\n", &[("CPUQuota", "cpu")]),
            ("", &[("MemoryMax", "memory"), ("CPUQuota", "cpu")]),
        ] {
            assert_eq!(missing(&settings, available), expected, "{available:?}");
        }
    }
}
