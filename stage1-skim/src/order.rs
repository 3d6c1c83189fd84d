//! When the units of a pod that runs as a service of systemd start and stop: pure.
//!
//! They do so when the service does. At shutdown, and where another target is isolated, systemd
//! stops the service in its turn, and the holder stops the apps: of their own accord they are in
//! nobody's order, and so have no part in systemd's default (`DefaultDependencies=no`,
//! systemd.unit(5)). What stops them all the same (something that they require is stopped) finds
//! them ordered as the service is.
//!
//! No app can be ordered after the service itself, which is up only when the apps are, nor before
//! it, as its stop waits for theirs.

use anyhow::{Context, Result};

use crate::escape;
use crate::names::PodUnits;
use crate::pod::PodPlan;
use crate::unit::{Section, Setting};

/// What stands in the apps' services and sockets. `before` are the units that start after the
/// service.
///
/// # Errors
/// Where one of the units that it is ordered by has a name that is none.
pub fn of_services(plan: &PodPlan, units: &PodUnits, before: &[String]) -> Result<Vec<Setting>> {
    let Some(service) = &plan.service else {
        return Ok(Vec::new());
    };
    let mut settings = vec![
        Setting::unit("DefaultDependencies", "no"),
        Setting::unit("IgnoreOnIsolate", "yes"),
    ];
    for (key, names) in [("After", service.after.as_slice()), ("Before", before)] {
        let others = names.iter();
        let others = others.filter(|name| **name != service.unit && !units.owns(name));
        let others = escape::unit_names(others)
            .with_context(|| format!("{key}= of {:?}: {names:?}", service.unit))?;
        if !others.is_empty() {
            settings.push(Setting::unit(key, others));
        }
    }
    Ok(settings)
}

/// The further settings of an app, from its image's unit, its image or the user, without what
/// would have the app wait for its own pod. systemd starts nothing twice: a target that is after
/// the service is reached only when the apps are up. Targets may be so by way of others; those
/// that the service itself is after are reached already.
pub fn of_further(plan: &PodPlan, before: &[String], settings: &[Setting]) -> Vec<Setting> {
    let Some(service) = &plan.service else {
        return settings.to_vec();
    };
    let is_kept = |word: &str| {
        let name = word.trim_matches(['"', '\'']);
        let is_in = |names: &[String]| names.iter().any(|own| own == name);
        !is_in(before) && (!name.ends_with(".target") || is_in(&service.after))
    };
    let kept = settings.iter().filter_map(|setting| {
        if setting.section != Section::Unit || setting.key != "After" {
            return Some(setting.clone());
        }
        let words = setting.value.split_whitespace();
        let words: Vec<_> = words.filter(|word| is_kept(word)).collect();
        (!words.is_empty()).then(|| Setting::unit("After", words.join(" ")))
    });
    kept.collect()
}

/// What stands in the pod's slice.
pub fn of_slice(plan: &PodPlan) -> Vec<Setting> {
    let service = plan.service.iter();
    service
        .map(|_| Setting::unit("DefaultDependencies", "no"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::ServicePlan;

    fn lines(service: Option<ServicePlan>, before: &[&str]) -> Result<String> {
        let plan = PodPlan {
            service,
            ..PodPlan::example(&[])
        };
        let before: Vec<_> = before.iter().map(ToString::to_string).collect();
        let settings = of_services(&plan, &PodUnits::new(&plan.uuid), &before)?;
        let lines = settings.iter();
        let lines = lines.map(|setting| format!("{}={}", setting.key, setting.value));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    fn service(after: &[&str]) -> Option<ServicePlan> {
        Some(ServicePlan {
            name: "web".into(),
            unit: "web.service".into(),
            after: after.iter().map(ToString::to_string).collect(),
        })
    }

    #[test]
    fn apps_have_the_place_of_the_service() {
        assert_eq!(lines(None, &["x.service"]).unwrap(), "");
        let own = PodUnits::new(&PodPlan::example(&[]).uuid).service("a");
        let after = service(&["dbus.service", "web.service", &own, "basic.target"]);
        assert_eq!(
            lines(after, &["multi-user.target", "web.service"]).unwrap(),
            "DefaultDependencies=no\nIgnoreOnIsolate=yes\nAfter=dbus.service basic.target\n\
             Before=multi-user.target"
        );
        assert_eq!(
            lines(service(&[]), &[]).unwrap(),
            "DefaultDependencies=no\nIgnoreOnIsolate=yes"
        );
    }

    #[test]
    fn no_app_waits_for_its_own_pod() {
        let settings = [
            Setting::unit("After", "multi-user.target  a.service \"x.service\""),
            Setting::unit("After", "graphical.target"),
            Setting::unit("After", "basic.target"),
            Setting::unit("Wants", "multi-user.target"),
        ];
        let of = |service| {
            let plan = PodPlan {
                service,
                ..PodPlan::example(&[])
            };
            let before = ["multi-user.target", "x.service"].map(str::to_string);
            of_further(&plan, &before, &settings)
        };
        assert_eq!(of(None), settings);
        assert_eq!(
            of(service(&["basic.target", "multi-user.target"])),
            [
                Setting::unit("After", "a.service"),
                Setting::unit("After", "basic.target"),
                Setting::unit("Wants", "multi-user.target"),
            ]
        );
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let error = lines(service(&["a b.service"]), &[]).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("After= of \"web.service\""), "{error}");
    }
}
