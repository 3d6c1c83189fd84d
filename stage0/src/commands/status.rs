//! `skim status`: what is known of pods.

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use stage1_skim::names::PodUnits;
use stage1_skim::stdio;

use super::output::{self, for_each};
use super::pod_selection::ManyPods;
use crate::cli::Format;
use crate::host::Host;
use crate::pod::directory::{Found, Pods};
use crate::pod::info::PodInfo;
use crate::pod::programs::beneath;
use crate::pod::state::State;
use crate::pod::wait::{Goal, wait};

const HELP: &str = "\
Examples:
  skim status 6ba7b810
  skim status 6ba7b810 --wait                      return when it has exited
  skim status 6ba7b810 --wait-ready=30s            when all apps are up, or fail after 30 s
  skim status --uuid-file=/run/web.uuid --format=json

Lines are KEY=VALUE: state, created, started, ready, pid, exited, finished; while the pod runs
unit-APP, the app's service; after that app-APP, its exit code. Of several pods each begins with
uuid=, an empty line before it.";

/// Arguments of `skim status`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct StatusArguments {
    /// Wait until the pod has exited, at the longest for DURATION
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true,
        num_args = 0..=1,
        require_equals = true
    )]
    pub wait: Patience,
    /// Wait until all apps of the pod are up, at the longest for DURATION
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true,
        num_args = 0..=1,
        require_equals = true
    )]
    pub wait_ready: Patience,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Which pods.
    #[command(flatten)]
    pub pods: ManyPods,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    None,
    /// As long as it takes.
    Endless,
    /// So long.
    For(Duration),
}

impl FromStr for Patience {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "false" => Ok(Self::None),
            "true" => Ok(Self::Endless),
            text => humantime::parse_duration(text).map(Self::For),
        }
    }
}

/// Prints the pods' states, once they have come as far as is waited for.
///
/// # Errors
/// Where there is no such pod, or the wait was in vain.
pub fn run(host: &Host, arguments: &StatusArguments) -> Result<u8> {
    host.check_caller()?;
    let pods = Pods::new(&host.directory);
    let prefixes = arguments.pods.prefixes()?;
    let began = Instant::now();
    let mut shown = Vec::new();
    let code = for_each(&prefixes, |prefix| {
        let found = awaited(&pods, prefix, arguments, began)?;
        let info = PodInfo::read(&found).with_context(|| format!("pod {}", found.uuid))?;
        shown.push(info);
        Ok(())
    })?;
    let is_one = prefixes.len() == 1;
    match arguments.format {
        Format::Json => stdio::print(&json(&shown, is_one)?)?,
        Format::Text => stdio::print(&all(&shown, is_one))?,
    }
    Ok(code)
}

/// The pod, once it has come as far as is waited for.
fn awaited(
    pods: &Pods,
    prefix: &str,
    arguments: &StatusArguments,
    began: Instant,
) -> Result<Found> {
    let mut found = pods.find(prefix)?;
    let goals = [
        (arguments.wait_ready, Goal::Ready),
        (arguments.wait, Goal::Exited),
    ];
    for (patience, goal) in goals {
        let deadline = match patience {
            Patience::None => continue,
            Patience::Endless => None,
            // So late that no clock gets there is as good as never.
            Patience::For(time) => began.checked_add(time),
        };
        found = wait(pods, &found.uuid, goal, deadline)?;
    }
    Ok(found)
}

/// An object where one pod was asked for, else a list of them. Pure.
fn json(pods: &[PodInfo], is_one: bool) -> Result<String> {
    let pods: Vec<_> = pods.iter().map(super::json::pod).collect();
    let json = match pods.as_slice() {
        [] if is_one => return Ok(String::new()),
        [pod] if is_one => serde_json::to_string(pod)?,
        pods => serde_json::to_string(pods)?,
    };
    Ok(format!("{json}\n"))
}

/// The lines of all pods. Pure.
fn all(pods: &[PodInfo], is_one: bool) -> String {
    let head = |info: &PodInfo| match is_one {
        true => String::new(),
        false => format!("uuid={}\n", info.uuid),
    };
    let texts: Vec<_> = pods.iter().map(|info| head(info) + &text(info)).collect();
    texts.join("\n")
}

/// `KEY=VALUE` lines, as rkt's; the apps' services and exit codes. Pure.
fn text(info: &PodInfo) -> String {
    let mut lines = vec![format!("state={}", info.state)];
    let time = |key: &str, time| format!("{key}={}", output::absolute(time));
    lines.extend(info.created.map(|created| time("created", created)));
    if let Some(started) = info.started {
        lines.push(time("started", started));
        lines.push(format!("ready={}", info.is_ready));
        lines.extend(info.pid.map(|pid| format!("pid={pid}")));
        lines.push(format!("exited={}", info.state.is_exited()));
    }
    lines.extend(info.finished.map(|finished| time("finished", finished)));
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;
    use crate::image::id::ImageId;
    use crate::pod::info::AppStatus;
    use crate::pod::uses;

    const A: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

    #[test]
    fn how_long_to_wait() {
        for (text, expected) in [
            ("true", Patience::Endless),
            ("false", Patience::None),
            ("90s", Patience::For(Duration::from_secs(90))),
            ("1m 30s", Patience::For(Duration::from_secs(90))),
        ] {
            assert_eq!(text.parse::<Patience>().unwrap(), expected);
        }
        for bad in ["", "5", "yes", "-1s"] {
            assert!(bad.parse::<Patience>().is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_of_a_pod_from_prepared_to_exited() {
        let after = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let id = ImageId::from_digest(&[1; 64]);
        let mut info = PodInfo {
            uuid: A.to_owned(),
            state: State::Prepared,
            plan: Some(uses::plan(A, &id, Path::new("/t"))),
            created: after(1),
            started: None,
            finished: None,
            is_ready: false,
            pid: None,
            exit_code: None,
            apps: vec![AppStatus::default()],
        };
        let time = |second| format!("1970-01-01 00:00:0{second}.000 +0000 UTC");
        let prepared = format!("state=prepared\ncreated={}\n", time(1));
        assert_eq!(text(&info), prepared);
        info.state = State::Running;
        (info.started, info.is_ready, info.pid) = (after(2), true, Some(7));
        let running = format!(
            "state=running\ncreated={}\nstarted={}\nready=true\npid=7\nexited=false\nunit-app=skim-6ba7b8109dad11d180b400c04fd430c8-app.service\n",
            time(1),
            time(2)
        );
        assert_eq!(text(&info), running);
        info.state = State::ExitedGarbage;
        (info.finished, info.is_ready, info.pid) = (after(3), false, None);
        info.apps[0].exit_code = Some(5);
        let exited = format!(
            "state=exited garbage\ncreated={}\nstarted={}\nready=false\nexited=true\nfinished={}\napp-app=5\n",
            time(1),
            time(2),
            time(3)
        );
        assert_eq!(text(&info), exited);
    }
}
