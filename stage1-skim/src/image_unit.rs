//! What an app's service has from a unit file of its image (`--unit`). Pure.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::directories;
use crate::escape;
use crate::names::{PodUnits, UNIT_DIRECTORY};
use crate::pod::{AppPlan, CommandPlan, Credentials, ExecPlan, Privileges, UnitPlan};
use crate::sandbox::Sandbox;
use crate::unit::Setting;
use crate::units::UnitFile;

/// The commands of the unit. Before them come the directories of the app's user, which systemd
/// would make for `User=`; where they are to go, they go after all others.
///
/// # Errors
/// Where one cannot be expressed in a unit file.
pub fn commands(
    app: &AppPlan,
    unit: &UnitPlan,
    sandbox: &Sandbox,
    stage1: &Path,
) -> Result<Vec<Setting>> {
    let make = directories::make(&app.credentials, &unit.directories, stage1)?;
    let remove = directories::remove(&unit.directories, stage1)?;
    let own = |key: &str, mut exec: ExecPlan| CommandPlan {
        key: key.to_string(),
        exec: {
            let words = exec.argv.iter_mut();
            words.for_each(|word| *word = escape::literal(word, true));
            exec
        },
        keeps_variables: true,
        may_fail: false,
        privileges: Privileges::Full,
    };
    let make = make.map(|exec| own("ExecStartPre", exec));
    let remove = remove.map(|exec| own("ExecStopPost", exec));
    let commands = make.iter().chain(&unit.commands).chain(&remove);
    let settings = commands.map(|command| {
        let start = sandbox.start_text(&app.credentials, stage1, command)?;
        let line = escape::text_command_line(&prefixes(app, command), &start.path, &start.argv);
        let line = line.with_context(|| format!("cannot run {:?}", start.path))?;
        Ok(Setting::service(&command.key, line))
    });
    settings.collect()
}

/// The special prefixes of a command (systemd.service(5)). Where stage1-skim changes to the app's
/// user, the service knows nothing of that; else it may have one of systemd's (`DynamicUser=`).
fn prefixes(app: &AppPlan, command: &CommandPlan) -> String {
    let is_systemd_s = app.credentials == Credentials::default();
    let prefixes = [
        (command.may_fail, '-'),
        (command.keeps_variables, ':'),
        (command.privileges == Privileges::Full, '+'),
        (command.privileges == Privileges::Root && is_systemd_s, '!'),
    ];
    let given = prefixes.iter().filter(|(given, _)| *given);
    given.map(|(_, prefix)| prefix).collect()
}

/// The unit's other settings, what stage1-skim, which may start the app, needs of them, and the file of the user's variables, `environment` in the
/// directory of units.
///
/// # Errors
/// Where a path cannot be expressed.
pub fn settings(app: &AppPlan, environment: &str, stage1: &Path) -> Result<Vec<Setting>> {
    let Some(unit) = &app.unit else {
        return Ok(Vec::new());
    };
    let mut settings = unit.settings.clone();
    if settings.iter().any(|setting| setting.key == "NoExecPaths") {
        // Else the app would not be started.
        settings.push(Setting::service("ExecPaths", escape::path_word(stage1)?));
    }
    if !unit.environment.is_empty() {
        let path = PathBuf::from(UNIT_DIRECTORY).join(environment);
        settings.push(Setting::service("EnvironmentFile", escape::path(&path)?));
    }
    Ok(settings)
}

/// The file of the user's variables. Of `Environment=` and `EnvironmentFile=` systemd lets the
/// latter win, wherever it stands; of two files, the last.
///
/// # Errors
/// Where a variable cannot be expressed.
pub fn environment_file(app: &AppPlan, names: &PodUnits) -> Result<Option<UnitFile>> {
    let unit = app.unit.as_ref();
    let Some(unit) = unit.filter(|unit| !unit.environment.is_empty()) else {
        return Ok(None);
    };
    let variables = unit.environment.iter();
    let text = escape::environment_file(variables.map(|v| (v.name.as_str(), v.value.as_str())));
    Ok(Some(UnitFile {
        name: names.environment(&app.name),
        text: text.with_context(|| format!("app {}", app.name))?,
    }))
}
