//! `[App NAME]`: one app of a pod. Pure.

use std::path::Path;

use stage1_skim::directives;
use stage1_skim::unit::{self, Setting};

use super::fault::Fault;
use super::grammar::{self, Value};
use super::keys::{self, Kind};
use super::lines::{AppLines, Assignment};
use super::socket::{self, SocketUnit};
use crate::commands::app_arguments::AppArguments;
use crate::commands::app_flags::AppFlags;
use crate::image::reference::Reference;

/// An app.
#[derive(Clone, Debug)]
pub struct AppSection {
    /// Its name.
    pub name: String,
    /// The same as the command line would give it.
    pub arguments: AppArguments,
    /// The unit that listens for it, where there is one.
    pub socket: Option<SocketUnit>,
}

/// The apps of the pod `pod`. What is wrong is added to `faults`.
pub fn sections(apps: &[AppLines], pod: &str, faults: &mut Vec<Fault>) -> Vec<AppSection> {
    let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
    let sections = apps
        .iter()
        .filter_map(|app| section(app, pod, &names, faults));
    sections.collect()
}

fn section(
    app: &AppLines,
    pod: &str,
    names: &[&str],
    faults: &mut Vec<Fault>,
) -> Option<AppSection> {
    let lines = &app.lines;
    let image = image(app, faults);
    let exec = grammar::command(lines, "Exec", faults);
    let arguments = grammar::value(lines, "Arguments", Kind::List, faults);
    let (settings, listen) = directives(lines, faults);
    let socket = socket::unit(&app.name, pod, lines, &listen, faults);
    let mut words = vec![format!("--name={}", app.name)];
    for key in keys::flags() {
        let value = grammar::value(lines, &key.key, key.kind, faults);
        match key.flag.as_str() {
            "requires" => check_requires(&value, app, names, faults),
            "set-env-file" => check_absolute(&value, faults),
            _ => (),
        }
        let check = |words: &[String]| grammar::app_flags(words).map(drop);
        words.extend(grammar::flag_words(
            &key.flag, key.kind, &value, check, faults,
        ));
    }
    let flags = match grammar::app_flags(&words) {
        Ok(flags) => flags,
        Err(what) => {
            // Each by itself is right: two contradict one another.
            let what = format!("[App {}]: {what}", app.name);
            faults.push(Fault::of_line(&app.path, app.line, what));
            return None;
        }
    };
    let mut exec = exec.texts().into_iter();
    let program = exec.next();
    let mut property = settings;
    if let Some(socket) = &socket {
        property.push(Setting::service("Sockets", socket.name.clone()));
    }
    Some(AppSection {
        name: app.name.clone(),
        arguments: AppArguments {
            image: image?,
            flags: AppFlags {
                exec: program,
                property,
                ..flags
            },
            arguments: exec.chain(arguments.texts()).collect(),
        },
        socket,
    })
}

/// What `Image=` gives.
fn image(app: &AppLines, faults: &mut Vec<Fault>) -> Option<String> {
    let value = grammar::value(&app.lines, "Image", Kind::Single, faults);
    let Some((image, line)) = value.words.first() else {
        if !app.lines.iter().any(|line| line.key == "Image")
            || value.last.is_some_and(|line| line.value.is_empty())
        {
            let what = format!("[App {}]: Image= is missing", app.name);
            faults.push(Fault::of_line(&app.path, app.line, what));
        }
        return None;
    };
    let checked = Reference::parse(image).map_err(|error| format!("{error:#}"));
    let checked = checked.and_then(|reference| match path_of(&reference) {
        Some(path) if !path.is_absolute() => Err(format!(
            "`{}` is a relative path: give an absolute one",
            path.display()
        )),
        _ => Ok(()),
    });
    match checked {
        Ok(()) => Some(image.clone()),
        Err(what) => {
            faults.push(line.fault(what));
            None
        }
    }
}

/// The path in a reference to a file.
fn path_of(reference: &Reference) -> Option<&Path> {
    match reference {
        Reference::File(path)
        | Reference::OciDirectory { path, .. }
        | Reference::OciArchive { path, .. }
        | Reference::DockerArchive { path, .. } => Some(path),
        _ => None,
    }
}

/// The directives of the app's service, and the lines with those of its socket.
fn directives<'a>(
    lines: &'a [Assignment],
    faults: &mut Vec<Fault>,
) -> (Vec<Setting>, Vec<&'a Assignment>) {
    let (mut settings, mut listen) = (Vec::new(), Vec::new());
    for line in lines {
        let key = line.key.as_str();
        let is_own = keys::APP.iter().any(|(own, ..)| *own == key)
            || keys::flags().iter().any(|flag| flag.key == key);
        if is_own {
            continue;
        }
        match directives::section_of(key) {
            Ok(section) => match unit::check_value(key, &line.value) {
                Ok(()) => settings.push(Setting {
                    section,
                    key: key.to_string(),
                    value: line.value.clone(),
                }),
                Err(error) => faults.push(line.fault(format!("{error:#}"))),
            },
            Err(directives::Refused::Unknown(_)) if socket::is_directive(key) => listen.push(line),
            Err(refused) => faults.push(line.fault(keys::refused_in_app(key, &refused))),
        }
    }
    (settings, listen)
}

/// Whoever is required must be an app of the pod.
fn check_requires(value: &Value<'_>, app: &AppLines, names: &[&str], faults: &mut Vec<Fault>) {
    for (word, line) in &value.words {
        for name in word.split(',').filter(|name| !name.is_empty()) {
            if name == app.name {
                faults.push(line.fault("an app cannot require itself"));
            } else if !names.contains(&name) {
                faults.push(line.fault(format!(
                    "the pod has no app `{}`; what it needs of the host stands in [Unit]",
                    name.escape_debug()
                )));
            }
        }
    }
}

/// systemd's services have no working directory of their own to start from.
pub fn check_absolute(value: &Value<'_>, faults: &mut Vec<Fault>) {
    for (word, line) in &value.words {
        if !word.starts_with('/') {
            let word = word.escape_debug();
            faults.push(line.fault(format!("`{word}` is no absolute path")));
        }
    }
}
