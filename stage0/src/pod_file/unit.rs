//! `[Unit]`, `[Service]` and `[Slice]`: what goes to the pod's service and to its slice. Pure.

use stage1_skim::directives;
use stage1_skim::unit::{self, Section, Setting};

use super::fault::Fault;
use super::keys;
use super::lines::Assignment;

/// Directives of `[Unit]` that are skim's own.
const OWN_UNIT: &[(&str, &str)] = &[("SourcePath", "it is the pod file")];

/// Directives of `[Service]` that a pod file may set. All others of a service would hold for the
/// process that holds the pod, and not for its apps.
const SERVICE: &[&str] = &[
    "ExecCondition",
    "ExecStartPost",
    "ExecStartPre",
    "ExecStopPost",
    "Restart",
    "RestartForceExitStatus",
    "RestartMaxDelaySec",
    "RestartMode",
    "RestartPreventExitStatus",
    "RestartSec",
    "RestartSteps",
    "RuntimeMaxSec",
    "RuntimeRandomizedExtraSec",
    "SuccessExitStatus",
    "TimeoutAbortSec",
    "TimeoutSec",
    "TimeoutStartFailureMode",
    "TimeoutStartSec",
    "TimeoutStopFailureMode",
    "TimeoutStopSec",
];

/// Directives of `[Service]` that are skim's own, or of no use, and why.
const OWN_SERVICE: &[(&str, &str)] = &[
    ("BusName", "the pod says by sd_notify(3) when it is up"),
    ("Delegate", "it is for an app: put it in [App NAME]"),
    (
        "ExecReload",
        "a reload goes to the apps: put it in [App NAME]",
    ),
    ("ExecStart", "skim runs the pod: use Exec= in [App NAME]"),
    ("ExecStop", "skim stops the apps: put it in [App NAME]"),
    (
        "ExitType",
        "the service ends with the process that holds the pod",
    ),
    (
        "FileDescriptorStoreMax",
        "it is for an app: put it in [App NAME]",
    ),
    (
        "GuessMainPID",
        "the process that holds the pod is the main process",
    ),
    ("KillMode", "skim stops the apps: put it in [App NAME]"),
    (
        "KillSignal",
        "skim stops the apps: use StopSignal= in [App NAME]",
    ),
    (
        "NotifyAccess",
        "the process that holds the pod says when it is up",
    ),
    ("OOMPolicy", "it is for an app: put it in [App NAME]"),
    (
        "PIDFile",
        "the process that holds the pod is the main process",
    ),
    ("RemainAfterExit", "the service ends with the pod"),
    ("Slice", "the pod has a slice of its own: see [Slice]"),
    ("Sockets", "use Socket= in [App NAME]"),
    ("Type", "the pod says by sd_notify(3) when it is up"),
    ("WatchdogSec", "it is for an app: put it in [App NAME]"),
];

/// Directives of `[Slice]` that are skim's own.
const OWN_SLICE: &[(&str, &str)] = &[("Slice", "the pod's slice is in skim.slice")];

/// `[Unit]`. What is wrong is added to `faults`.
pub fn unit(lines: &[Assignment], faults: &mut Vec<Fault>) -> Vec<Setting> {
    settings(lines, Section::Unit, faults, |key| own(OWN_UNIT, key))
}

/// `[Service]`, likewise.
pub fn service(lines: &[Assignment], faults: &mut Vec<Fault>) -> Vec<Setting> {
    settings(lines, Section::Service, faults, |key| {
        if SERVICE.contains(&key) {
            return None;
        }
        let for_the_slice = directives::known("Slice").any(|known| known == key);
        own(OWN_SERVICE, key).or_else(|| {
            Some(match for_the_slice {
                true => "here it would not hold for the apps: put it in [Slice] for all of them, in [App NAME] for one".to_string(),
                false => "here it would not hold for the apps: put it in [App NAME]".to_string(),
            })
        })
    })
}

/// `[Slice]`, likewise.
pub fn slice(lines: &[Assignment], faults: &mut Vec<Fault>) -> Vec<Setting> {
    settings(lines, Section::Slice, faults, |key| own(OWN_SLICE, key))
}

fn own(table: &[(&str, &str)], key: &str) -> Option<String> {
    let (_, why) = table.iter().find(|(own, _)| *own == key)?;
    Some(format!("it is skim's own to set: {why}"))
}

/// The settings of a section; `refuse` says why a directive cannot be set.
fn settings(
    lines: &[Assignment],
    section: Section,
    faults: &mut Vec<Fault>,
    refuse: impl Fn(&str) -> Option<String>,
) -> Vec<Setting> {
    let name = section.to_string();
    let mut settings = Vec::new();
    for line in lines {
        let key = line.key.as_str();
        let known =
            directives::is_private(key) || directives::known(&name).any(|known| known == key);
        let checked = match known {
            false => Err(keys::unknown_directive(&name, key)),
            true if directives::is_private(key) => Ok(()),
            true => refuse(key).map_or(Ok(()), Err),
        };
        let checked = checked.and_then(|()| {
            unit::check_value(key, &line.value).map_err(|error| format!("{error:#}"))
        });
        match checked {
            Ok(()) => settings.push(Setting {
                section,
                key: key.to_string(),
                value: line.value.clone(),
            }),
            Err(what) => faults.push(line.fault(what)),
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_name_directives() {
        let known = |section, key: &str| directives::known(section).any(|known| known == key);
        for key in SERVICE {
            assert!(known("Service", key), "{key}");
            assert!(own(OWN_SERVICE, key).is_none(), "{key} is in both");
        }
        for (section, table) in [
            ("Unit", OWN_UNIT),
            ("Service", OWN_SERVICE),
            ("Slice", OWN_SLICE),
        ] {
            for (key, _) in table {
                assert!(known(section, key), "{key}");
            }
        }
    }
}
