//! What is known of a pod: read off its directory.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use stage1_skim::names;
use stage1_skim::pod::PodPlan;
use stage1_skim::pod_dir;

use super::directory::Found;
use super::state::State;

/// A pod, for people and scripts to read.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// Its UUID.
    pub uuid: String,
    /// Its state.
    pub state: State,
    /// Its plan, where it has come that far.
    pub plan: Option<PodPlan>,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When it was started.
    pub started: Option<SystemTime>,
    /// When it exited.
    pub finished: Option<SystemTime>,
    /// Whether it runs and all its apps are up.
    pub is_ready: bool,
    /// The holder's process ID while it runs.
    pub pid: Option<u32>,
    /// Its exit code, once it has one.
    pub exit_code: Option<u8>,
    /// The apps' exit codes and when they were recorded, in the order of the plan.
    pub apps: Vec<AppStatus>,
}

/// What is known of how an app ended.
#[derive(Clone, Debug, Default)]
pub struct AppStatus {
    /// Its exit code, once it has one.
    pub exit_code: Option<u8>,
    /// When it was recorded.
    pub finished: Option<SystemTime>,
}

impl PodInfo {
    /// Reads what is known of a pod that was found.
    ///
    /// # Errors
    /// Where its plan is there but cannot be understood.
    pub fn read(found: &Found) -> Result<Self> {
        let path = &found.path;
        let plan = match path.join(names::PLAN_FILE).exists() {
            true => Some(pod_dir::read_plan(path)?),
            false => None,
        };
        let status = path.join(names::STATUS_DIRECTORY);
        let apps = plan.iter().flat_map(|plan| &plan.apps);
        let is_running = found.state == State::Running;
        let pid = number(&path.join(names::PID_FILE));
        Ok(Self {
            uuid: found.uuid.clone(),
            state: found.state,
            created: modified(&path.join(names::PLAN_FILE)),
            started: modified(&path.join(names::PID_FILE)),
            finished: modified(&status.join(names::POD_STATUS)),
            is_ready: is_running && path.join(names::READY_FILE).exists(),
            pid: pid.filter(|_| is_running),
            exit_code: number(&status.join(names::POD_STATUS)),
            apps: apps
                .map(|app| AppStatus {
                    exit_code: number(&status.join(&app.name)),
                    finished: modified(&status.join(&app.name)),
                })
                .collect(),
            plan,
        })
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(file).ok()?.modified().ok()
}

fn number<T: std::str::FromStr>(file: &Path) -> Option<T> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
