//! Isolators (appc spec, "isolators") as settings of systemd: pure.

use anyhow::Result;
use stage1_skim::pod::Capabilities;
use stage1_skim::unit::Setting;

use crate::image::manifest::Isolator;

/// What isolators come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Settings for the app's service, or the pod's slice.
    pub settings: Vec<Setting>,
    /// What an app's capabilities are confined to.
    pub capabilities: Option<Capabilities>,
}

/// What the isolators of an app come to.
///
/// # Errors
/// Where one is unknown, contradicts another, or has a value that makes no sense.
pub fn of_app(isolators: &[Isolator]) -> Result<Isolation> {
    for isolator in isolators {
        log::warn!("the isolator {} is not applied", isolator.name);
    }
    Ok(Isolation::default())
}

/// What the isolators of a pod come to: settings of its slice.
///
/// # Errors
/// As [`of_app`].
pub fn of_pod(isolators: &[Isolator]) -> Result<Vec<Setting>> {
    Ok(of_app(isolators)?.settings)
}

/// Whether `new` takes the place of `old`: it has the same name, or is the other of two that
/// exclude each other.
pub fn replaces(new: &Isolator, old: &Isolator) -> bool {
    new.name == old.name
}

fn stub(name: &str, text: &str) -> Result<Isolator> {
    Ok(Isolator {
        name: name.to_string(),
        value: text.into(),
    })
}

/// Stub.
pub fn memory(text: &str) -> Result<Isolator> {
    stub("memory", text)
}

/// Stub.
pub fn cpu(text: &str) -> Result<Isolator> {
    stub("cpu", text)
}

/// Stub.
pub fn cpu_shares(text: &str) -> Result<Isolator> {
    stub("cpu_shares", text)
}

/// Stub.
pub fn oom_score_adj(text: &str) -> Result<Isolator> {
    stub("oom_score_adj", text)
}

/// Stub.
pub fn caps_retain(text: &str) -> Result<Isolator> {
    stub("caps_retain", text)
}

/// Stub.
pub fn caps_remove(text: &str) -> Result<Isolator> {
    stub("caps_remove", text)
}

/// Stub.
pub fn seccomp(text: &str) -> Result<Isolator> {
    stub("seccomp", text)
}

/// Stub.
pub fn no_new_privileges(value: bool) -> Isolator {
    Isolator {
        name: "x".to_string(),
        value: value.into(),
    }
}
