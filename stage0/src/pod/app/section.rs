//! The app section that holds: the image's, or the pod manifest's, with the user's flags. Pure.

use std::ffi::OsStr;

use anyhow::{Result, bail, ensure};
use stage1_skim::caller;

use super::super::isolators;
use super::super::request::{AppRequest, EnvironmentRequest};
use crate::image::manifest::{App, Isolator};

/// The app section, the user's command line, user and working directory in it.
///
/// # Errors
/// Where there is nothing to run.
pub fn section(request: &AppRequest) -> Result<App> {
    let image = &request.image;
    let given = request.app.as_ref().or(image.manifest.app.as_ref());
    let names_program = request.exec.is_some() || request.unit.is_some();
    let mut app = match (given, names_program) {
        (Some(app), _) => app.clone(),
        (None, true) => App {
            user: "0".to_string(),
            group: Some("0".to_string()),
            ..App::default()
        },
        (None, false) => bail!(
            "image {} has no app section and --exec is not given",
            image.name()
        ),
    };
    if let Some(exec) = &request.exec {
        app.exec = vec![exec.clone()];
    }
    if let Some(user) = &request.user {
        app.user.clone_from(user);
    }
    if request.group.is_some() {
        app.group.clone_from(&request.group);
    }
    if let Some(gids) = &request.supplementary_gids {
        app.supplementary_gids.clone_from(gids);
    }
    if request.working_directory.is_some() {
        app.working_directory.clone_from(&request.working_directory);
    }
    ensure!(
        request.unit.is_some() || app.exec.first().is_some_and(|program| !program.is_empty()),
        "image {:?} has an empty \"exec\" (try --exec=BINARY)",
        image.name()
    );
    Ok(app)
}

/// The user's isolators, and those of the image that the user says nothing about.
pub fn isolators(request: &AppRequest, manifest: &App) -> Vec<Isolator> {
    let users = &request.isolators;
    let images = manifest.isolators.iter();
    images
        .filter(|isolator| !users.iter().any(|user| isolators::replaces(user, isolator)))
        .chain(users)
        .cloned()
        .collect()
}

/// The caller's variables that an app may inherit.
pub fn inherited(asked: &EnvironmentRequest) -> Vec<(String, String)> {
    let caller = asked.inherited.iter();
    caller
        .filter(|(name, _)| !caller::is_own(OsStr::new(name)))
        .cloned()
        .collect()
}

/// The variables that the image sets, beneath those of a unit of its own: `section` is the app
/// section that holds.
pub fn of_image(request: &AppRequest, section: &App) -> Vec<(String, String)> {
    match (&request.unit, &request.image.manifest.app) {
        (None, _) => environment(section),
        (Some(_), Some(app)) => environment(app),
        (Some(_), None) => Vec::new(),
    }
}

/// The variables that a pod manifest sets, above those of a unit of the image.
pub fn of_manifest(request: &AppRequest) -> Vec<(String, String)> {
    let app = request.app.as_ref().filter(|_| request.unit.is_some());
    app.map(environment).unwrap_or_default()
}

/// The variables of the app section.
pub fn environment(manifest: &App) -> Vec<(String, String)> {
    let variables = manifest.environment.iter();
    variables
        .map(|variable| (variable.name.clone(), variable.value.clone()))
        .collect()
}
