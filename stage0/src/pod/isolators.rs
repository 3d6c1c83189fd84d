//! Isolators (appc spec, "isolators") as settings of systemd: pure.
//!
//! | isolator                        | of an app                          | of a pod |
//! |---------------------------------|------------------------------------|----------|
//! | `resource/memory`               | `MemoryMax=`                       | the same, on its slice |
//! | `resource/cpu`                  | `CPUQuota=`                        | the same, on its slice |
//! | `os/linux/cpu-shares`           | `CPUWeight=`                       | the same, on its slice |
//! | `os/linux/oom-score-adj`        | `OOMScoreAdjust=`                  | refused |
//! | `os/linux/no-new-privileges`    | `NoNewPrivileges=`                 | refused |
//! | `os/linux/capabilities-…-set`   | `CapabilityBoundingSet=`, `AmbientCapabilities=` | refused |
//! | `os/linux/seccomp-…-set`        | `SystemCallFilter=`, `SystemCallErrorNumber=` | refused |
//! | `os/linux/selinux-context`, `resource/block-…`, `resource/network-bandwidth` | a warning | a warning |
//! | `os/unix/sysctl`, all others    | refused                            | refused |
//!
//! Without isolators an app has all of root's rights: what appc takes away by default, a daemon
//! of the host needs.

mod capabilities;
pub mod controllers;
mod flags;
mod quantity;
mod resources;
mod seccomp;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use stage1_skim::pod::Capabilities;
use stage1_skim::unit::{Section, Setting};

use self::seccomp::Mode;

pub use self::flags::{
    caps_remove, caps_retain, cpu, cpu_shares, memory, no_new_privileges, oom_score_adj, seccomp,
};

use crate::image::manifest::Isolator;

const MEMORY: &str = "resource/memory";
const CPU: &str = "resource/cpu";
const CPU_SHARES: &str = "os/linux/cpu-shares";
const OOM_SCORE_ADJ: &str = "os/linux/oom-score-adj";
const NO_NEW_PRIVILEGES: &str = "os/linux/no-new-privileges";
const CAPS_RETAIN: &str = "os/linux/capabilities-retain-set";
const CAPS_REMOVE: &str = "os/linux/capabilities-remove-set";
const SECCOMP_RETAIN: &str = "os/linux/seccomp-retain-set";
const SECCOMP_REMOVE: &str = "os/linux/seccomp-remove-set";

/// Isolators of which an app has at most one: either takes the place of the other.
const EXCLUSIVE: [[&str; 2]; 2] = [[CAPS_RETAIN, CAPS_REMOVE], [SECCOMP_RETAIN, SECCOMP_REMOVE]];

/// Known, and of no effect: why.
const NOT_APPLIED: [(&str, &str); 4] = [
    (
        "os/linux/selinux-context",
        "give --property=SELinuxContext= where the host has SELinux",
    ),
    (
        "resource/block-bandwidth",
        "systemd wants to know the devices (see IOReadBandwidthMax= in systemd.resource-control(5))",
    ),
    (
        "resource/block-iops",
        "systemd wants to know the devices (see IOReadIOPSMax= in systemd.resource-control(5))",
    ),
    (
        "resource/network-bandwidth",
        "the app has the host's network interfaces",
    ),
];

/// What isolators come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Settings for the app's service.
    pub settings: Vec<Setting>,
    /// What an app's capabilities are confined to.
    pub capabilities: Option<Capabilities>,
}

/// What one isolator comes to.
enum Effect {
    Settings(Vec<Setting>),
    Capabilities(Capabilities),
    /// None, and why.
    NotApplied(&'static str),
}

/// What an isolator is called, where only root can have it applied.
pub fn takes_root(isolator: &Isolator) -> Option<&str> {
    let name = isolator.name.as_str();
    let lowers_score = || {
        let settings = effect(isolator).ok();
        matches!(settings, Some(Effect::Settings(settings))
            if settings.iter().any(|setting| setting.value.starts_with('-')))
    };
    match name {
        CAPS_RETAIN | CAPS_REMOVE => Some(name),
        OOM_SCORE_ADJ if lowers_score() => Some(name),
        _ => None,
    }
}

/// What the isolators of an app come to.
///
/// # Errors
/// Where one is unknown, contradicts another, or has a value that makes no sense; the message
/// names it.
pub fn of_app(isolators: &[Isolator]) -> Result<Isolation> {
    check_together(isolators)?;
    let mut isolation = Isolation::default();
    for isolator in isolators {
        match effect(isolator).with_context(|| of(isolator))? {
            Effect::Settings(settings) => isolation.settings.extend(settings),
            Effect::Capabilities(set) => isolation.capabilities = Some(set),
            Effect::NotApplied(why) => warn_of(isolator, why),
        }
    }
    Ok(isolation)
}

/// What the isolators of a pod come to: settings of its slice, which bound all its apps
/// together.
///
/// # Errors
/// As [`of_app`]; and where one is an app's, which a slice does not have.
pub fn of_pod(isolators: &[Isolator]) -> Result<Vec<Setting>> {
    check_together(isolators)?;
    let mut settings = Vec::new();
    for isolator in isolators {
        match effect(isolator).with_context(|| of(isolator))? {
            Effect::NotApplied(why) => warn_of(isolator, why),
            Effect::Settings(own) if [MEMORY, CPU, CPU_SHARES].contains(&&*isolator.name) => {
                let own = own.into_iter();
                settings.extend(own.map(|setting| Setting {
                    section: Section::Slice,
                    ..setting
                }));
            }
            Effect::Settings(_) | Effect::Capabilities(_) => bail!(
                "{}: it is one of apps, not of a pod: give it to each app",
                of(isolator)
            ),
        }
    }
    Ok(settings)
}

/// Whether `new` takes the place of `old`: it has the same name, or is the other of two that
/// exclude each other.
pub fn replaces(new: &Isolator, old: &Isolator) -> bool {
    new.name == old.name || exclude(&new.name, &old.name)
}

fn exclude(one: &str, other: &str) -> bool {
    EXCLUSIVE
        .iter()
        .any(|pair| one != other && pair.contains(&one) && pair.contains(&other))
}

fn of(isolator: &Isolator) -> String {
    format!("isolator {}", isolator.name.escape_debug())
}

fn warn_of(isolator: &Isolator, why: &str) {
    log::warn!("the isolator {} is not applied: {why}", isolator.name);
}

fn check_together(isolators: &[Isolator]) -> Result<()> {
    for (index, isolator) in isolators.iter().enumerate() {
        for earlier in &isolators[..index] {
            let (one, other) = (&earlier.name, &isolator.name);
            ensure!(one != other, "{} is given twice", of(isolator));
            ensure!(
                !exclude(one, other),
                "the isolators {one} and {other} exclude each other"
            );
        }
    }
    Ok(())
}

fn effect(isolator: &Isolator) -> Result<Effect> {
    let value = &isolator.value;
    let settings = match isolator.name.as_str() {
        MEMORY => resources::memory(value)?,
        CPU => resources::cpu(value)?,
        CPU_SHARES => vec![resources::cpu_shares(value)?],
        OOM_SCORE_ADJ => vec![oom_score(value)?],
        NO_NEW_PRIVILEGES => privileges(value)?,
        CAPS_RETAIN => {
            let names = capabilities::names(value)?;
            return Ok(Effect::Capabilities(Capabilities::Retain(names)));
        }
        CAPS_REMOVE => {
            let names = capabilities::names(value)?;
            return Ok(Effect::Capabilities(Capabilities::Remove(names)));
        }
        SECCOMP_RETAIN => seccomp::settings(Mode::Retain, value)?,
        SECCOMP_REMOVE => seccomp::settings(Mode::Remove, value)?,
        "os/unix/sysctl" => {
            bail!("it would change the host, whose kernel settings the apps of skim share")
        }
        name => match NOT_APPLIED.iter().find(|(known, _)| *known == name) {
            Some((_, why)) => return Ok(Effect::NotApplied(why)),
            None => bail!("invalid isolator: neither appc nor skim knows it"),
        },
    };
    Ok(Effect::Settings(settings))
}

fn oom_score(value: &Value) -> Result<Setting> {
    let score = value
        .as_i64()
        .filter(|score| (-1000..=1000).contains(score));
    let score = score.context("the value is no integer from -1000 to 1000")?;
    Ok(Setting::service("OOMScoreAdjust", score.to_string()))
}

fn privileges(value: &Value) -> Result<Vec<Setting>> {
    let on = value
        .as_bool()
        .context("the value is neither true nor false")?;
    Ok(match on {
        true => vec![Setting::service("NoNewPrivileges", "yes")],
        false => Vec::new(),
    })
}

#[cfg(test)]
#[path = "isolators/tests.rs"]
mod tests;
