//! From a pod's plan to its unit files: pure.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::escape;
use crate::image_unit;
use crate::interactive;
use crate::journal;
use crate::names::{PodUnits, ROOT_SLICE, UNIT_NAME_MAX};
use crate::order;
use crate::pod::{AppPlan, Credentials, PodPlan};
use crate::sandbox::{self, Sandbox};
use crate::sockets;
use crate::unit::{self, Setting};
use crate::write;

/// A unit file: its name, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFile {
    /// The unit's name, which is the file's.
    pub name: String,
    /// The file's whole text.
    pub text: String,
}

/// The unit files of a pod: its slice, and a service for each app that is not interactive, and its
/// sockets.
/// `stage1` is the path of stage1-skim, which changes to an app's user (see
/// [`crate::credentials`]).
///
/// # Errors
/// Where a value of the plan cannot be expressed in a unit file; the message names the app and
/// the value.
pub fn units(plan: &PodPlan, stage1: &Path) -> Result<Vec<UnitFile>> {
    units_before(plan, stage1, &[])
}

/// As [`units`]; `before` are the units that start after the service that the pod runs as.
///
/// # Errors
/// As [`units`].
pub fn units_before(plan: &PodPlan, stage1: &Path, before: &[String]) -> Result<Vec<UnitFile>> {
    let names = PodUnits::new(&plan.uuid);
    let mut slice_settings = order::of_slice(plan);
    slice_settings.extend(plan.slice_settings.iter().cloned());
    if plan.interactive {
        interactive::check(plan)?;
        slice_settings.extend(plan.apps.iter().flat_map(interactive::slice_settings));
    }
    let mut files = vec![slice(
        &names.slice(),
        &format!("skim pod {}", escape::text(&plan.uuid)),
        &slice_settings,
    )];
    if plan.interactive {
        return Ok(files);
    }
    let order = order::of_services(plan, &names, before)?;
    for app in &plan.apps {
        let name = names.service(&app.name);
        let text = service(plan, app, &names, (&order, before), stage1)
            .and_then(|text| check_name(&name).map(|()| text))
            .with_context(|| format!("app {}", app.name))?;
        files.push(UnitFile { name, text });
        let further = sockets::unit_files(plan, app, &names, &order).into_iter();
        for file in further.chain(image_unit::environment_file(app, &names)?) {
            check_name(&file.name).with_context(|| format!("app {}", app.name))?;
            files.push(file);
        }
    }
    Ok(files)
}

fn check_name(unit: &str) -> Result<()> {
    ensure!(
        unit.len() + write::ASIDE_LENGTH <= UNIT_NAME_MAX,
        "its name is too long for a unit of systemd: give a shorter one by --name"
    );
    Ok(())
}

/// The slice above all pods' slices, for a host that has none installed. Its stop would be that of
/// all pods, out of their order.
pub fn root_slice() -> UnitFile {
    let settings = [Setting::unit("DefaultDependencies", "no")];
    slice(ROOT_SLICE, "skim pods", &settings)
}

/// A slice that goes when nothing in it is left: one that a scope merely pulled in would stay
/// active for ever, and a process inside that stops it kills itself.
fn slice(name: &str, description: &str, further: &[Setting]) -> UnitFile {
    let mut settings = vec![
        Setting::unit("Description", description),
        Setting::unit("StopWhenUnneeded", "yes"),
    ];
    settings.extend_from_slice(further);
    UnitFile {
        name: name.to_string(),
        text: unit::render(&[], &settings),
    }
}

fn service(
    plan: &PodPlan,
    app: &AppPlan,
    names: &PodUnits,
    (order, before): (&[Setting], &[String]),
    stage1: &Path,
) -> Result<String> {
    let sandbox = sandbox::of(app, &plan.volumes, stage1)?;
    let mut settings = dependencies(plan, app, names);
    settings.extend_from_slice(order);
    settings.extend(execution(plan, app, names)?);
    settings.extend(commands(app, &sandbox, stage1)?);
    let mut text = unit::render(&[], &settings);
    let unit = image_unit::settings(app, &names.environment(&app.name), stage1)?;
    for (origin, settings) in [
        ("from the image's unit", &unit),
        ("from isolators", &sandbox.settings),
        ("from the image", &app.image_settings),
        ("from --property", &app.user_settings),
    ] {
        let settings = order::of_further(plan, before, settings);
        if !settings.is_empty() {
            text.push('\n');
            text.push_str(&unit::render(&[origin], &settings));
        }
    }
    Ok(text)
}

/// `[Unit]`: the app lives no longer than its pod's scope, and starts after the apps that it
/// requires.
///
/// The scope wants its apps, and they stop with it as parts of it. Should it end without a stop, as
/// when the holder is killed, it stops them all the same (see [`crate::bus::Scope`]), and nothing
/// needs them any more (`StopWhenUnneeded=`); those that a connection starts stop with their
/// sockets ([`sockets`]). `BindsTo=` the scope would say the same in one word, but a scope exists
/// only while it runs, so that systemd-analyze(1) would find fault with every unit.
///
/// The scope's `PropagatesStopTo=` alone will not do: newer systemd (257) asks an app's stop of it
/// only where no other app's has asked for it before, and forgets it where that other app has ended
/// already. Then the apps after that one would run on, and the pod would not stop. Nor does it ask
/// for any where the scope stops for the sake of another unit.
///
/// `Requires=`, not `BindsTo=`, between apps: else an app would stay down after one that it
/// requires has failed and been restarted.
fn dependencies(plan: &PodPlan, app: &AppPlan, names: &PodUnits) -> Vec<Setting> {
    let description = format!(
        "{} of skim pod {} ({})",
        app.name, plan.uuid, app.image.name
    );
    let mut settings = vec![
        Setting::unit("Description", escape::text(&description)),
        Setting::unit("CollectMode", "inactive-or-failed"),
    ];
    if !sockets::start(plan, app) {
        settings.push(Setting::unit("StopWhenUnneeded", "yes"));
    }
    settings.push(Setting::unit("PartOf", names.scope()));
    settings.push(Setting::unit("After", names.scope()));
    for required in &app.requires {
        settings.push(Setting::unit("Requires", names.service(required)));
        settings.push(Setting::unit("After", names.service(required)));
    }
    settings.extend(sockets::of_service(plan, app, names));
    settings
}

/// `[Service]`: where and with what an app runs.
fn execution(plan: &PodPlan, app: &AppPlan, names: &PodUnits) -> Result<Vec<Setting>> {
    let kind = if app.notify { "notify" } else { "exec" };
    let mut settings = vec![
        Setting::service("Type", kind),
        Setting::service("Slice", names.slice()),
        Setting::service("SyslogIdentifier", escape::text(&app.name)),
        Setting::service("LogExtraFields", log_fields(plan, app)?),
    ];
    let directory = escape::path(&app.working_directory)
        .with_context(|| format!("working directory {:?}", app.working_directory))?;
    settings.push(Setting::service("WorkingDirectory", directory));
    if let Some(output) = &app.output {
        let pipe = escape::path(output).with_context(|| format!("output {output:?}"))?;
        settings.push(Setting::service("StandardOutput", format!("file:{pipe}")));
    }
    for variable in &app.environment {
        let line = escape::environment(&variable.name, &variable.value)
            .with_context(|| format!("environment variable {:?}", variable.name))?;
        settings.push(Setting::service("Environment", line));
    }
    Ok(settings)
}

/// `[Service]`: what runs, and as whom.
fn commands(app: &AppPlan, sandbox: &Sandbox, stage1: &Path) -> Result<Vec<Setting>> {
    let root = Credentials::default();
    let mut settings = sandbox.root.clone();
    if let Some(unit) = &app.unit {
        settings.extend(image_unit::commands(app, unit, sandbox, stage1)?);
        return Ok(settings);
    }
    for (key, command, who) in [
        ("ExecStartPre", app.pre_start.as_ref(), &root),
        ("ExecStart", Some(&app.exec), &app.credentials),
        ("ExecStopPost", app.post_stop.as_ref(), &root),
    ] {
        if let Some(command) = command {
            let command = sandbox.start(who, stage1, command)?;
            let line = escape::command_line(&command.path, &command.argv)
                .with_context(|| format!("cannot run {:?}", command.path))?;
            settings.push(Setting::service(key, line));
        }
    }
    Ok(settings)
}

fn log_fields(plan: &PodPlan, app: &AppPlan) -> Result<String> {
    let mut fields = vec![
        ("SKIM_POD_UUID", &plan.uuid),
        ("SKIM_APP", &app.name),
        ("SKIM_IMAGE", &app.image.id),
    ];
    if let Some(service) = &plan.service {
        fields.push((journal::OBJECT_UNIT, &service.unit));
    }
    let words: Result<Vec<_>, _> = fields
        .iter()
        .map(|(name, value)| escape::quoted(&format!("{name}={value}")))
        .collect();
    Ok(words?.join(" "))
}
