//! Capabilities by name, and how an app is confined to some (capabilities(7)). Pure, but for
//! [`drop_from_bounding_set`] and [`raise_ambient`], which change the calling thread.
//!
//! An app that is not root's starts as root: stage1-skim changes to its user (see
//! [`crate::credentials`]). For that the unit must leave it [`OF_EXEC`]; it drops those that the
//! app is not to have before it becomes the app, which so never has them.

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, configure_capability_in_ambient_set, remove_capability_from_bounding_set,
};

use crate::pod::{Capabilities, Credentials};
use crate::unit::Setting;

/// What it takes to become another user, and to drop capabilities from the bounding set.
const OF_EXEC: [&str; 3] = ["CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP"];

/// What confines an app's capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// The unit's part.
    pub settings: Vec<Setting>,
    /// What stage1-skim drops from the bounding set before it executes a program of the app.
    pub surplus: Vec<String>,
}

/// The capabilities named, as a set.
///
/// # Errors
/// Where one is not the name of a capability in the form `CAP_CHOWN`.
pub fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<CapabilitySet> {
    let mut set = CapabilitySet::empty();
    for name in names {
        match name.strip_prefix("CAP_").map(CapabilitySet::from_name) {
            Some(Some(capability)) => set |= capability,
            _ => bail!("{name:?} is no capability"),
        }
    }
    Ok(set)
}

/// Drops capabilities from the bounding set of this thread; one that this kernel does not have is
/// in no set.
///
/// # Errors
/// Where the kernel refuses.
pub fn drop_from_bounding_set(surplus: CapabilitySet) -> Result<()> {
    for capability in surplus.iter() {
        match remove_capability_from_bounding_set(capability) {
            Err(Errno::INVAL) => (),
            dropped => dropped.context("cannot drop a capability from the bounding set")?,
        }
    }
    Ok(())
}

/// Raises capabilities in the ambient set of this thread, which has them in its permitted and
/// inheritable sets.
///
/// # Errors
/// Where the kernel refuses.
pub fn raise_ambient(ambient: CapabilitySet) -> rustix::io::Result<()> {
    let mut capabilities = ambient.iter();
    capabilities.try_for_each(|capability| configure_capability_in_ambient_set(capability, true))
}

/// Confines an app that runs as `who` to `capabilities`.
///
/// Those that it retains are in its ambient set, too, where it is not root: otherwise it could
/// not use them.
pub fn confine(capabilities: Option<&Capabilities>, who: &Credentials) -> Confinement {
    let needed: &[&str] = match who.uid {
        0 if *who == Credentials::default() => &[],
        _ => &OF_EXEC,
    };
    let mut confinement = Confinement::default();
    match capabilities {
        None => (),
        Some(Capabilities::Retain(names)) => {
            let has = |name: &&&str| !names.iter().any(|own| own == **name);
            confinement.surplus = owned(needed.iter().filter(has));
            let bounding = names.iter().chain(&confinement.surplus);
            let setting = Setting::service("CapabilityBoundingSet", joined(bounding));
            confinement.settings.push(setting);
            if who.uid != 0 {
                let setting = Setting::service("AmbientCapabilities", joined(names));
                confinement.settings.push(setting);
            }
        }
        Some(Capabilities::Remove(names)) => {
            let lacks = |name: &&&str| names.iter().any(|own| own == **name);
            confinement.surplus = owned(needed.iter().filter(lacks));
            let others = names.iter().filter(|name| !needed.contains(&name.as_str()));
            let others = joined(others);
            if !others.is_empty() {
                let setting = Setting::service("CapabilityBoundingSet", format!("~{others}"));
                confinement.settings.push(setting);
            }
        }
    }
    confinement
}

/// A capability of those that it takes to become another user, and to drop `surplus`, that
/// `settings`, the unit's in their order, do not leave stage1-skim: `CapabilityBoundingSet=` of an
/// image or a user holds from its start on. Pure.
pub fn missing(settings: &[&Setting], surplus: &[String]) -> Option<&'static str> {
    let mut needed = OF_EXEC
        .into_iter()
        .filter(|name| *name != "CAP_SETPCAP" || !surplus.is_empty());
    needed.find(|name| !has(settings, name))
}

/// Those of the capabilities that it takes to become another user that `settings`, of an image's
/// unit, do not leave: stage1-skim is given them, and drops them. Pure.
pub fn lacking(settings: &[&Setting]) -> Vec<String> {
    let lacking: Vec<_> = OF_EXEC
        .into_iter()
        .filter(|name| !has(settings, name))
        .map(str::to_string)
        .collect();
    match lacking.as_slice() {
        // It takes this one to drop others, and there are none.
        [only] if only == "CAP_SETPCAP" => Vec::new(),
        _ => lacking,
    }
}

/// The setting that leaves stage1-skim these.
pub fn leave(names: &[String]) -> Option<Setting> {
    let setting = || Setting::service("CapabilityBoundingSet", joined(names));
    (!names.is_empty()).then(setting)
}

/// Whether the `CapabilityBoundingSet=` of `settings` leave the capability `name`.
fn has(settings: &[&Setting], name: &str) -> bool {
    let settings = settings.iter();
    let bounding = settings.filter(|setting| setting.key == "CapabilityBoundingSet");
    // Whether the set is whole, and whether the capability is in it: lists are added to what
    // is there already, and denied ones taken away (systemd.exec(5)).
    let (_, has) = bounding.fold((true, true), |(whole, has), setting| {
        let value = setting.value.trim();
        let (denies, list) = match value.strip_prefix('~') {
            Some(list) => (true, list),
            None => (false, value),
        };
        let mut words = list
            .split_whitespace()
            .map(|word| word.trim_matches(['"', '\'']));
        let listed = words.any(|word| word.eq_ignore_ascii_case(name));
        match (list.trim().is_empty(), denies) {
            (true, denies) => (denies, denies),
            (false, true) => (false, has && !listed),
            (false, false) => (false, listed || has && !whole),
        }
    });
    has
}

fn owned<'a>(names: impl Iterator<Item = &'a &'a str>) -> Vec<String> {
    names.map(ToString::to_string).collect()
}

fn joined<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.into_iter().map(String::as_str).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confined(capabilities: &Capabilities, uid: u32, gid: u32) -> (Vec<String>, String) {
        let who = Credentials {
            uid,
            gid,
            supplementary_gids: vec![],
        };
        let confinement = confine(Some(capabilities), &who);
        let lines = confinement.settings.iter();
        let lines = lines.map(|setting| format!("{}={}", setting.key, setting.value));
        (lines.collect(), confinement.surplus.join(" "))
    }

    #[test]
    fn what_it_takes_to_become_another_user_is_left_and_dropped_later() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let retain = Capabilities::Retain(names(&["CAP_CHOWN", "CAP_SETUID"]));
        let remove = Capabilities::Remove(names(&["CAP_CHOWN", "CAP_SETUID"]));
        let remove_needed = Capabilities::Remove(names(&["CAP_SETUID"]));
        let bounding = "CapabilityBoundingSet=CAP_CHOWN CAP_SETUID";
        let wider = "CapabilityBoundingSet=CAP_CHOWN CAP_SETUID CAP_SETGID CAP_SETPCAP";
        let without = "CapabilityBoundingSet=~CAP_CHOWN";
        for (capabilities, uid, gid, lines, surplus) in [
            (&retain, 0, 0, &[bounding][..], ""),
            (&retain, 0, 1, &[wider], "CAP_SETGID CAP_SETPCAP"),
            (
                &retain,
                1,
                1,
                &[wider, "AmbientCapabilities=CAP_CHOWN CAP_SETUID"],
                "CAP_SETGID CAP_SETPCAP",
            ),
            (
                &remove,
                0,
                0,
                &["CapabilityBoundingSet=~CAP_CHOWN CAP_SETUID"],
                "",
            ),
            (&remove, 1, 1, &[without], "CAP_SETUID"),
            (&remove_needed, 1, 1, &[], "CAP_SETUID"),
        ] {
            assert_eq!(
                confined(capabilities, uid, gid),
                (
                    lines.iter().map(ToString::to_string).collect(),
                    surplus.into()
                )
            );
        }
        assert_eq!(
            confine(None, &Credentials::default()),
            Confinement::default()
        );
    }

    #[test]
    fn what_a_unit_does_not_leave_is_found() {
        let all = "CAP_SETUID CAP_SETGID";
        for (values, drops, expected) in [
            (&[][..], true, None),
            (&["~"], true, None),
            (&["~CAP_CHOWN"], true, None),
            (&[all], false, None),
            (&[all], true, Some("CAP_SETPCAP")),
            (&["CAP_CHOWN", all], false, None),
            (&["cap_setuid \"CAP_SETGID\""], false, None),
            (&["CAP_CHOWN"], false, Some("CAP_SETGID")),
            (&["CAP_CHOWN", "~"], false, None),
            (&[""], false, Some("CAP_SETGID")),
            (&["~CAP_CHOWN CAP_SETUID"], false, Some("CAP_SETUID")),
            (&[all, "~CAP_SETUID"], false, Some("CAP_SETUID")),
        ] {
            let settings: Vec<_> = values
                .iter()
                .map(|value| Setting::service("CapabilityBoundingSet", *value))
                .collect();
            let settings: Vec<_> = settings.iter().collect();
            let surplus = match drops {
                true => vec!["CAP_CHOWN".to_string()],
                false => vec![],
            };
            assert_eq!(missing(&settings, &surplus), expected, "{values:?}");
        }
    }

    #[test]
    fn names_are_exact() {
        let both = set(["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]).unwrap();
        assert_eq!(both.bits(), 1 | 1 << 40);
        for bad in ["CHOWN", "CAP_", "CAP_chown", "CAP_CHOWN|CAP_KILL", "CAP__"] {
            assert!(set([bad]).is_err(), "{bad}");
        }
    }
}
