//! Pods as JSON: rkt's names, and beside them what only skim has.

use std::collections::BTreeMap;

use serde::Serialize;
use stage1_skim::names::PodUnits;
use stage1_skim::pod::{AppPlan, MountPlan, VolumeKind, VolumePlan};

use super::output;
use crate::pod::info::{AppStatus, PodInfo};
use crate::pod::programs::beneath;
use crate::pod::state::State;

/// One pod. Times are in whole seconds since the epoch.
#[derive(Debug, Serialize)]
pub struct Pod {
    /// The UUID.
    pub name: String,
    /// The state, in words.
    pub state: String,
    /// The names of the apps.
    pub app_names: Vec<String>,
    /// The apps.
    pub apps: Vec<App>,
    /// When the pod was made.
    pub created_at: Option<i64>,
    /// When it was started.
    pub started_at: Option<i64>,
    /// When it exited.
    pub finished_at: Option<i64>,
    /// Its exit code, once it has one.
    pub exit_code: Option<u8>,
    /// Whether it runs and all its apps are up.
    pub ready: bool,
    /// The holder's process ID while it runs.
    pub pid: Option<u32>,
    /// The slice that its units are in.
    pub slice: String,
    /// Its directory.
    pub directory: Option<String>,
    /// The volumes.
    pub volumes: Vec<Volume>,
}

/// A volume of a pod.
#[derive(Debug, Serialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// `host` or `empty`.
    pub kind: &'static str,
    /// Where its files are on the host.
    pub source: String,
    /// Whether no app may write to it.
    pub read_only: bool,
}

/// A volume in an app.
#[derive(Debug, Serialize)]
pub struct Mount {
    /// The volume's name.
    pub name: String,
    /// Where it is mounted, a path of the host.
    pub path: String,
    /// Where the volume's files are on the host.
    pub source: String,
    /// Whether the app may not write to it.
    pub read_only: bool,
}

/// One app. Times are in nanoseconds since the epoch.
#[derive(Debug, Serialize)]
pub struct App {
    /// The app's name.
    pub name: String,
    /// `running` or `exited`, or the pod's state where it has not run.
    pub state: String,
    /// When the pod was made.
    pub created_at: Option<i64>,
    /// When the pod was started.
    pub started_at: Option<i64>,
    /// When the app's end was recorded.
    pub finished_at: Option<i64>,
    /// Its exit code, once it has one.
    pub exit_code: Option<u8>,
    /// The image's ID.
    pub image_id: String,
    /// The image's name.
    pub image_name: String,
    /// The image's `version` label.
    pub image_version: Option<String>,
    /// The app's service.
    pub unit: String,
    /// Where its rootfs is mounted.
    pub rootfs: String,
    /// Its volumes.
    pub mounts: Vec<Mount>,
    /// What the user noted about it.
    pub user_annotations: BTreeMap<String, String>,
    /// What the user labelled it with.
    pub user_labels: BTreeMap<String, String>,
}

/// A pod as JSON.
pub fn pod(info: &PodInfo) -> Pod {
    let plans = info.plan.as_ref().map(|plan| plan.apps.as_slice());
    let plans = plans.unwrap_or_default();
    let units = PodUnits::new(&info.uuid);
    let first = plans.first();
    let directory = first.and_then(|app| app.rootfs.ancestors().nth(3));
    Pod {
        name: info.uuid.clone(),
        state: info.state.to_string(),
        app_names: plans.iter().map(|app| app.name.clone()).collect(),
        apps: plans
            .iter()
            .zip(&info.apps)
            .map(|(plan, status)| app(info, plan, status, &units))
            .collect(),
        created_at: info.created.and_then(output::seconds),
        started_at: info.started.and_then(output::seconds),
        finished_at: info.finished.and_then(output::seconds),
        exit_code: info.exit_code,
        ready: info.is_ready,
        pid: info.pid,
        slice: units.slice(),
        directory: directory.map(|path| path.display().to_string()),
        volumes: volumes(info).iter().map(volume).collect(),
    }
}

fn volumes(info: &PodInfo) -> &[VolumePlan] {
    let plan = info.plan.as_ref();
    plan.map(|plan| &*plan.volumes).unwrap_or_default()
}

fn volume(plan: &VolumePlan) -> Volume {
    Volume {
        name: plan.name.clone(),
        kind: match plan.kind {
            VolumeKind::Host { .. } => "host",
            VolumeKind::Empty { .. } => "empty",
        },
        source: plan.source.display().to_string(),
        read_only: plan.read_only,
    }
}

fn mount(info: &PodInfo, app: &AppPlan, mount: &MountPlan) -> Mount {
    let volume = volumes(info)
        .iter()
        .find(|volume| volume.name == mount.volume);
    let source = volume.map(|volume| volume.source.display().to_string());
    Mount {
        name: mount.volume.clone(),
        path: beneath(&app.rootfs, &mount.target).display().to_string(),
        source: source.unwrap_or_default(),
        read_only: mount.read_only,
    }
}

fn app(info: &PodInfo, plan: &AppPlan, status: &AppStatus, units: &PodUnits) -> App {
    let state = match (info.state, status.exit_code) {
        (State::Running, None) => "running".to_string(),
        (State::Running, Some(_)) => "exited".to_string(),
        (state, _) => state.to_string(),
    };
    App {
        name: plan.name.clone(),
        state,
        created_at: info.created.and_then(output::nanoseconds),
        started_at: info.started.and_then(output::nanoseconds),
        finished_at: status.finished.and_then(output::nanoseconds),
        exit_code: status.exit_code,
        image_id: plan.image.id.clone(),
        image_name: plan.image.name.clone(),
        image_version: plan.image.version.clone(),
        unit: units.service(&plan.name),
        rootfs: plan.rootfs.display().to_string(),
        mounts: plan.mounts.iter().map(|m| mount(info, plan, m)).collect(),
        user_annotations: plan.annotations.clone(),
        user_labels: plan.labels.clone(),
    }
}
