//! `skim logs`: the apps' logs, which are the journal's.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use stage1_skim::names::PodUnits;
use stage1_skim::pod_dir::PodDir;
use stage1_skim::scope::RuntimeScope;

use super::pod_selection::read_uuid;
use crate::host::Host;
use crate::pod::directory::{Pods, is_uuid};

const HELP: &str = "\
Examples:
  skim logs 6ba7b810            all apps of a pod
  skim logs -f 6ba7b810 docker  one app, and what it says from now on
  skim logs --uuid-file=/run/web.uuid web

Of a pod that was run with --interactive there is nothing: its app has the caller's streams.

This is journalctl for the units of the pod; for more of it, give it the unit's name, which
skim status tells. The journal outlives the pod: a whole UUID serves even when the pod is gone.";

/// Arguments of `skim logs`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct LogsArguments {
    /// Go on with what is logged from now on
    #[arg(long, short)]
    pub follow: bool,
    /// Show only the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    pub lines: Option<u64>,
    /// Take the pod's UUID from this file, as run --uuid-file-save writes it
    #[arg(long, value_name = "FILE", conflicts_with = "app")]
    pub uuid_file: Option<PathBuf>,
    /// The pod's UUID, or the beginning of it; not with --uuid-file
    #[arg(value_name = "UUID", required_unless_present = "uuid_file")]
    pub pod: Option<String>,
    /// The app; all by default
    #[arg(value_name = "APP")]
    pub app: Option<String>,
}

/// Becomes journalctl.
///
/// # Errors
/// Where there is no such pod or app, or no journalctl.
pub fn run(host: &Host, arguments: &LogsArguments) -> Result<u8> {
    host.check_caller()?;
    let mut command = Command::new("journalctl");
    for unit in units(host, arguments)? {
        command.arg(match host.scope {
            RuntimeScope::System => format!("--unit={unit}"),
            RuntimeScope::User => format!("--user-unit={unit}"),
        });
    }
    if arguments.follow {
        command.arg("--follow");
    }
    if let Some(lines) = arguments.lines {
        command.arg(format!("--lines={lines}"));
    } else if arguments.follow {
        command.arg("--lines=all");
    }
    Err(command.exec()).context("cannot execute journalctl")
}

fn units(host: &Host, arguments: &LogsArguments) -> Result<Vec<String>> {
    let first = arguments.pod.as_deref();
    let (pod, app) = match &arguments.uuid_file {
        // What stands there is the app then.
        Some(file) => (read_uuid(file)?, first),
        None => (
            first.unwrap_or_default().to_owned(),
            arguments.app.as_deref(),
        ),
    };
    match Pods::new(&host.directory).find(&pod) {
        Ok(found) => {
            let pod = PodDir::open(&found.path)?;
            match app {
                Some(app) => Ok(vec![pod.units.service(&pod.app(Some(app))?.name)]),
                None => Ok(pod.services()),
            }
        }
        Err(_) if is_uuid(&pod) => Ok(vec![PodUnits::new(&pod).service(app.unwrap_or("*"))]),
        Err(error) => Err(error),
    }
}
