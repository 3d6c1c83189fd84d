//! From what was asked for to the plan that stage1 carries out.
//!
//! The images' trees are looked into, and nothing is changed: whatever is wrong with a pod is
//! found here, before it exists.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use stage1_skim::pod::{CONTRACT_VERSION, PodPlan};
use stage1_skim::scope::RuntimeScope;
use stage1_skim::unit::Setting;
use stage1_skim::units;

use super::app::{self, Surroundings};
use super::appc;
use super::graph::{self, Node};
use super::isolators;
use super::request::{AppRequest, PodRequest};
use super::unit::dependencies::Pod;
use super::unit::{self, ImageUnit};
use super::volume::Volumes;
use super::{root, stage1};
use crate::image::name;

/// Names of the apps that must be up before the app of this image, separated by blanks.
pub const REQUIRES: &str = "skim.requires";

/// Plans the pod `uuid`, whose directory will be `directory` when it runs, for the stage1 at
/// `stage1`.
///
/// # Errors
/// Everything that is wrong with the request, one line each.
pub fn plan(uuid: &str, directory: &Path, stage1: &Path, request: &PodRequest) -> Result<PodPlan> {
    let names = app_names(&request.apps)?;
    let units = units_of_images(&names, request)?;
    let pod = Pod::new(
        uuid,
        names
            .iter()
            .map(String::as_str)
            .zip(units.iter().map(Option::as_ref))
            .collect(),
    );
    let nodes: Vec<_> = names
        .iter()
        .zip(&request.apps)
        .map(|(name, app)| Node {
            name,
            requires: app
                .requires
                .clone()
                .or_else(|| annotated_requires(app))
                .or_else(|| pod.requires(name)),
        })
        .collect();
    let requires = graph::resolve(&nodes)?;
    let caller = request.caller.as_ref();
    let mut volumes = Volumes::new(directory, &request.volumes)?;
    let apps: Result<Vec<_>> = names
        .iter()
        .zip(&request.apps)
        .zip(requires.into_iter().zip(&units))
        .map(|((name, request), (requires, unit))| {
            let surroundings = Surroundings {
                directory,
                requires,
                unit: unit.as_ref(),
                caller,
                pod: &pod,
            };
            app::plan(name, request, surroundings, &mut volumes)
                .with_context(|| format!("app {name}"))
        })
        .collect();
    let apps = apps?;
    let plan = PodPlan {
        version: CONTRACT_VERSION,
        uuid: uuid.to_string(),
        manifest: appc::manifest(request, &apps)?,
        apps,
        volumes: volumes.into_plans(),
        slice_settings: slice_settings(request)?,
        annotations: request.annotations.clone(),
        interactive: request.interactive,
        scope: match caller {
            Some(_) => RuntimeScope::User,
            None => RuntimeScope::System,
        },
        service: request.service.clone(),
    };
    // What systemd could not express is found here, too, not when half the pod exists.
    units::units(&plan, stage1)?;
    stage1::check(&plan, stage1)?;
    root::check_volumes(&plan, stage1)?;
    Ok(plan)
}

/// The units that the apps' services are taken from, by `--unit`.
fn units_of_images(names: &[String], request: &PodRequest) -> Result<Vec<Option<ImageUnit>>> {
    let apps = names.iter().zip(&request.apps);
    let units = apps.map(|(name, app)| unit::find(app).with_context(|| format!("app {name}")));
    units.collect()
}

/// What the pod's isolators stand for, then what the user sets.
fn slice_settings(request: &PodRequest) -> Result<Vec<Setting>> {
    let mut settings = isolators::of_pod(&request.isolators).context("the pod's isolators")?;
    settings.extend_from_slice(&request.slice_settings);
    Ok(settings)
}

fn app_names(requests: &[AppRequest]) -> Result<Vec<String>> {
    ensure!(!requests.is_empty(), "a pod needs an app: name an image");
    let mut names: Vec<String> = Vec::new();
    for request in requests {
        let name = match &request.name {
            Some(name) => {
                name::check_name(name).context("--name")?;
                name.clone()
            }
            None => request.image.manifest.default_app_name().with_context(|| {
                format!(
                    "no app name can be made of the image name {}: give one by --name",
                    request.image.name()
                )
            })?,
        };
        ensure!(
            !names.contains(&name),
            "multiple apps with name {name}: tell them apart by --name"
        );
        names.push(name);
    }
    Ok(names)
}

fn annotated_requires(request: &AppRequest) -> Option<Vec<String>> {
    let list = request.image.manifest.annotation(REQUIRES)?;
    Some(list.split_whitespace().map(str::to_string).collect())
}
