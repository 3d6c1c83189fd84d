//! Dependencies between units: those of the pod's apps become dependencies between the apps, all
//! others are the host's.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use stage1_skim::names::PodUnits;

use super::find::{ImageUnit, UnitLine};
use super::paths::Paths;
use super::specifiers::UnitName;

/// What `After=`, `Requires=` and their like are called.
const KEYS: [&str; 20] = [
    "After",
    "Before",
    "BindTo",
    "BindsTo",
    "Conflicts",
    "JoinsNamespaceOf",
    "OnFailure",
    "OnSuccess",
    "PartOf",
    "PropagateReloadFrom",
    "PropagateReloadTo",
    "PropagatesReloadTo",
    "PropagatesStopTo",
    "ReloadPropagatedFrom",
    "Requires",
    "RequiresOverridable",
    "Requisite",
    "StopPropagatedFrom",
    "Upholds",
    "Wants",
];

/// Those that keep the app from starting without the other unit.
const REQUIRE: [&str; 5] = [
    "BindTo",
    "BindsTo",
    "Requires",
    "RequiresOverridable",
    "Requisite",
];

/// Where a host has units.
const HOST_UNITS: [&str; 9] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Whether a directive of `[Unit]` names other units.
pub fn is_dependency(key: &str) -> bool {
    KEYS.contains(&key)
}

/// A pod's apps, by the units that they are.
pub struct Pod<'a> {
    units: PodUnits,
    apps: Vec<(&'a str, Option<&'a ImageUnit>)>,
}

impl<'a> Pod<'a> {
    /// The apps of the pod `uuid`.
    pub fn new(uuid: &str, apps: Vec<(&'a str, Option<&'a ImageUnit>)>) -> Self {
        let units = PodUnits::new(uuid);
        Self { units, apps }
    }

    /// The app other than `app` that has the unit `name`.
    fn other(&self, app: &str, name: &str) -> Option<&'a str> {
        let others = self.apps.iter().filter(|(other, _)| *other != app);
        let mut has = others.filter(|(_, unit)| {
            let socket = name.strip_suffix(".socket");
            let service = socket.map(|stem| format!("{stem}.service"));
            unit.is_some_and(|unit| {
                unit.names.contains(name) || service.is_some_and(|name| unit.names.contains(&name))
            })
        });
        has.next().map(|(app, _)| *app)
    }

    /// The apps that the app `app` starts after, by what its unit and theirs say; `None` where it
    /// has no unit.
    pub fn requires(&self, app: &str) -> Option<Vec<String>> {
        let mut apps = self.apps.iter();
        let (_, unit) = apps.find(|(name, _)| *name == app)?;
        let unit = (*unit)?;
        let mut requires: BTreeSet<&str> = named(unit, "After")
            .filter_map(|name| self.other(app, &name))
            .collect();
        for (other, its) in &self.apps {
            let mut before = its.iter().flat_map(|its| named(its, "Before"));
            if *other != app && before.any(|name| unit.names.contains(&name)) {
                requires.insert(other);
            }
        }
        Some(requires.into_iter().map(str::to_string).collect())
    }

    /// The value of a dependency of `app`, whose unit is `unit` and which has the sockets
    /// `sockets`: units of the pod by their names in it. Empty where nothing is left.
    ///
    /// # Errors
    /// Where the app cannot start without a unit that neither the pod nor the host has.
    pub fn dependency(
        &self,
        app: &str,
        unit: &ImageUnit,
        sockets: &BTreeSet<String>,
        line: &UnitLine,
        paths: &Paths<'_>,
    ) -> Result<String> {
        let mut kept: Vec<String> = Vec::new();
        let requires = REQUIRE.contains(&line.key.as_str());
        for name in line.value.split_whitespace() {
            let name = unit.name.expand_value(name)?;
            if unit.names.contains(&name) || sockets.contains(&name) {
                continue;
            }
            if let Some(other) = self.other(app, &name) {
                // What it starts after it requires (see `requires`).
                if !matches!(line.key.as_str(), "After" | "Before") && name.ends_with(".service") {
                    kept.push(self.units.service(other));
                }
                continue;
            }
            if requires && !is_there(&name, paths) {
                bail!(
                    "{}={name}: neither has an app of the pod this unit (--unit={name}), nor the \
                     host: run it in the pod, or install it",
                    line.key
                );
            }
            kept.push(name);
        }
        Ok(kept.join(" "))
    }
}

/// The units that a directive of the unit names.
fn named<'a>(unit: &'a ImageUnit, key: &'a str) -> impl Iterator<Item = String> + 'a {
    let lines = unit.lines.iter();
    let lines = lines.filter(move |line| line.section == "Unit" && line.key == key);
    let words = lines.flat_map(|line| line.value.split_whitespace());
    words.filter_map(|word| unit.name.expand_value(word).ok())
}

/// Whether the host has the unit, as far as it is one that takes a file.
fn is_there(name: &str, paths: &Paths<'_>) -> bool {
    let Ok(parsed) = UnitName::parse(name) else {
        return false;
    };
    if !matches!(parsed.suffix(), "service" | "socket" | "path" | "timer") {
        return true;
    }
    let names = [Some(name.to_string()), parsed.template()];
    let mut names = names.iter().flatten();
    names.any(|name| {
        let mut directories = HOST_UNITS.iter();
        directories.any(|directory| paths.on_host(&format!("{directory}/{name}")))
    })
}
