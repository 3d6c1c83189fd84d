//! `skim status`: what is known of a pod.

use anyhow::Result;
use clap::Args;
use stage1_skim::names::PodUnits;
use stage1_skim::stdio;

use super::output;
use crate::cli::Format;
use crate::host::Host;
use crate::pod::directory::Pods;
use crate::pod::info::PodInfo;
use crate::pod::programs::beneath;
use crate::pod::state::State;

/// Arguments of `skim status`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  skim status 6ba7b810\n  skim status 6ba7b810 --format=json")]
pub struct StatusArguments {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The pod's UUID, or the beginning of it
    #[arg(value_name = "UUID")]
    pub pod: String,
}

/// Prints the pod's state.
///
/// # Errors
/// Where there is no such pod.
pub fn run(host: &Host, arguments: &StatusArguments) -> Result<u8> {
    host.need_root()?;
    let found = Pods::new(&host.directory).find(&arguments.pod)?;
    let info = PodInfo::read(&found)?;
    match arguments.format {
        Format::Json => stdio::print(&format!(
            "{}\n",
            serde_json::to_string(&super::json::pod(&info))?
        ))?,
        Format::Text => stdio::print(&text(&info))?,
    }
    Ok(0)
}

/// `KEY=VALUE` lines, as rkt's; the apps' services and exit codes. Pure.
fn text(info: &PodInfo) -> String {
    let mut lines = vec![format!("state={}", info.state)];
    for (key, time) in [
        ("created", info.created),
        ("started", info.started),
        ("exited", info.finished),
    ] {
        if let Some(time) = time {
            lines.push(format!("{key}={}", output::absolute(time)));
        }
    }
    if let Some(pid) = info.pid {
        lines.push(format!("pid={pid}"));
    }
    let units = PodUnits::new(&info.uuid);
    let plans = info.plan.iter().flat_map(|plan| &plan.apps);
    for (plan, status) in plans.zip(&info.apps) {
        if info.state == State::Running {
            lines.push(format!("unit-{}={}", plan.name, units.service(&plan.name)));
        } else if let Some(code) = status.exit_code {
            lines.push(format!("app-{}={code}", plan.name));
        }
        for mount in &plan.mounts {
            let path = beneath(&plan.rootfs, &mount.target);
            let (app, volume) = (&plan.name, &mount.volume);
            lines.push(format!("volume-{app}-{volume}={}", path.display()));
        }
    }
    lines.join("\n") + "\n"
}
