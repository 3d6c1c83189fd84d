//! `skim list`: the pods there are.

use std::time::SystemTime;

use anyhow::Result;
use clap::Args;
use stage1_skim::stdio;

use super::output;
use crate::cli::Format;
use crate::host::Host;
use crate::pod::directory::Pods;
use crate::pod::info::PodInfo;
use crate::pod::state::{Stage, State};

const HELP: &str = "\
Examples:
  skim list
  skim list --format=json
  skim list --quiet --state=running --app=docker   the UUIDs of running pods with an app docker";

/// Arguments of `skim list`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct ListArguments {
    /// Print whole UUIDs and image IDs, and times to the millisecond
    #[arg(long)]
    pub full: bool,
    /// Leave out the line of headings
    #[arg(long)]
    pub no_legend: bool,
    /// Print whole UUIDs only, the pod started last first
    #[arg(long, short, conflicts_with_all = ["full", "format"])]
    pub quiet: bool,
    /// Only pods that have an app of this name
    #[arg(long, value_name = "APP")]
    pub app: Option<String>,
    /// Only pods in this state, such as running or exited
    #[arg(long, value_enum, value_name = "STATE")]
    pub state: Option<State>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Prints the pods.
///
/// # Errors
/// Where the pods cannot be read.
pub fn run(host: &Host, arguments: &ListArguments) -> Result<u8> {
    host.check_caller()?;
    let mut pods = visible(host)?;
    pods.retain(|pod| is_asked_for(pod, arguments));
    if arguments.quiet {
        pods.sort_by_key(|pod| std::cmp::Reverse(pod.started));
        for pod in &pods {
            stdio::print(&format!("{}\n", pod.uuid))?;
        }
        return Ok(0);
    }
    match arguments.format {
        Format::Json => {
            let pods: Vec<_> = pods.iter().map(super::json::pod).collect();
            stdio::print(&format!("{}\n", serde_json::to_string(&pods)?))?;
        }
        Format::Text => stdio::print(&text(&pods, arguments, SystemTime::now()))?,
    }
    Ok(0)
}

fn visible(host: &Host) -> Result<Vec<PodInfo>> {
    let found = Pods::new(&host.directory).list()?;
    let hidden = |stage| matches!(stage, Stage::Embryo | Stage::Garbage);
    let mut pods = Vec::new();
    for found in found.iter().filter(|found| !hidden(found.stage)) {
        match PodInfo::read(found) {
            Ok(info) => pods.push(info),
            // Taken away since it was found.
            Err(_) if !found.path.exists() => (),
            Err(error) => log::warn!("pod {}: {error:#}", found.uuid),
        }
    }
    Ok(pods)
}

fn is_asked_for(pod: &PodInfo, arguments: &ListArguments) -> bool {
    let mut apps = pod.plan.iter().flat_map(|plan| &plan.apps);
    let has_app = |name: &String| apps.any(|app| app.name == *name);
    arguments.app.as_ref().is_none_or(has_app)
        && arguments.state.is_none_or(|state| state == pod.state)
}

/// The table. The pod's own columns stand in the line of its first app only. Pure.
fn text(pods: &[PodInfo], arguments: &ListArguments, now: SystemTime) -> String {
    let mut rows = Vec::new();
    if !arguments.no_legend {
        let image_id: &[&str] = if arguments.full { &["IMAGE ID"] } else { &[] };
        let headings = [
            &["UUID", "APP", "IMAGE NAME"],
            image_id,
            &["STATE", "CREATED", "STARTED"],
        ];
        rows.push(
            headings
                .concat()
                .iter()
                .map(|text| text.to_string())
                .collect(),
        );
    }
    for pod in pods {
        rows.extend(pod_rows(pod, arguments.full, now));
    }
    output::table(&rows)
}

fn pod_rows(pod: &PodInfo, full: bool, now: SystemTime) -> Vec<Vec<String>> {
    let time = |time: Option<SystemTime>| match time {
        Some(time) if full => output::absolute(time),
        Some(time) => output::ago(time, now),
        None => String::new(),
    };
    let uuid = if full { &pod.uuid[..] } else { &pod.uuid[..8] };
    let own = [
        uuid.to_string(),
        pod.state.to_string(),
        time(pod.created),
        time(pod.started),
    ];
    let apps: Vec<_> = pod.plan.iter().flat_map(|plan| &plan.apps).collect();
    let lines = apps.len().max(1);
    (0..lines)
        .map(|line| {
            let [uuid, state, created, started] = match line {
                0 => own.clone(),
                _ => Default::default(),
            };
            let mut row = vec![uuid];
            let app = apps.get(line);
            row.push(app.map(|app| app.name.clone()).unwrap_or_default());
            row.push(app.map(|app| image_name(app)).unwrap_or_default());
            if full {
                let id = app.map(|app| app.image.id.as_str()).unwrap_or_default();
                row.push(id.chars().take("sha512-".len() + 12).collect());
            }
            row.extend([state, created, started]);
            row
        })
        .collect()
}

fn image_name(app: &stage1_skim::pod::AppPlan) -> String {
    match &app.image.version {
        Some(version) => format!("{}:{version}", app.image.name),
        None => app.image.name.clone(),
    }
}
