//! `skim service`: what the units of pod files call. Nobody types these; systemctl(1) is for that.

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use stage1_skim::bus::BlockingBus;
use stage1_skim::names::PodUnits;
use stage1_skim::notify::notify;
use stage1_skim::pod::ServicePlan;
use stage1_skim::{pod_dir, systemd};

use super::app_flags::AppFlags;
use super::image_flags::ImageFlags;
use super::launch::Launch;
use super::making::{Making, PodKind, Source};
use super::updating::Subject;
use crate::gc::{Action, Collector};
use crate::host::Host;
use crate::pod::directory::{LockedPod, Pods};
use crate::pod::state::{Stage, State};
use crate::pod_file::find::Described;
use crate::pod_file::{SearchPath, grammar};
use crate::service::running::{self, Running};

/// What systemd sets for the commands that follow the end of a service (systemd.exec(5)).
const SERVICE_RESULT: &str = "SERVICE_RESULT";

/// What to do for a unit.
#[derive(Debug, Subcommand)]
pub enum ServiceVerb {
    /// Run the pod, as the main process of its service
    Run(ServiceArguments),
    /// Remove what is left of the service's pods that have exited
    Sweep(ServiceArguments),
    /// Reload the apps that can be reloaded
    Reload(ServiceArguments),
}

/// Which pod file, or pod manifest.
#[derive(Args, Debug)]
pub struct ServiceArguments {
    /// Its name: docker of docker.skim
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Does it; what goes wrong stands in the status of the unit, too.
///
/// # Errors
/// Whatever goes wrong.
pub fn run(host: &Host, verb: &ServiceVerb) -> Result<u8> {
    host.need_root()?;
    host.need_systemd()?;
    match verb {
        ServiceVerb::Run(arguments) => run_pod(host, &arguments.name)
            .inspect_err(|error| notify(&format!("STATUS={}", one_line(error)))),
        ServiceVerb::Sweep(arguments) => sweep(host, &arguments.name),
        ServiceVerb::Reload(arguments) => reload(host, &arguments.name),
    }
}

/// An error for a status, whose lines are assignments.
fn one_line(error: &anyhow::Error) -> String {
    /// systemd takes no longer message than 4096 bytes, and people no longer line.
    const LENGTH_MAX: usize = 1000;
    let text = format!("{error:#}");
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(LENGTH_MAX).collect()
}

fn run_pod(host: &Host, name: &str) -> Result<u8> {
    leave_sockets_to_apps()?;
    let unit = own_unit()?;
    let pods = Pods::new(&host.directory);
    let described = SearchPath::new(&host.config).describe(name)?;
    notify("STATUS=Making the pod");
    let after = BlockingBus::connect(&host.manager()?)?.after(&unit)?;
    let service = ServicePlan {
        name: name.to_string(),
        unit,
        after,
    };
    let pod = match described {
        Described::File(file) => {
            let subject = Subject::new(host, *file)?;
            let _starting = subject.service.begin_start()?;
            ensure_none_runs(&pods, name)?;
            subject.start(service)?
        }
        // Only one unit runs these.
        Described::Manifest { manifest, .. } => {
            ensure_none_runs(&pods, name)?;
            let kind = PodKind {
                service: Some(service),
                ..PodKind::default()
            };
            let images = grammar::image_flags(&["--quiet".to_string()]);
            let images = images.map_err(anyhow::Error::msg)?;
            let source = Source::Manifest(manifest);
            prepare(host, &pods, &images, &AppFlags::default(), source, kind)?
        }
    };
    let launch = Launch {
        stage1: &host.stage1()?,
        host,
        detach: false,
        rm: false,
    };
    launch.run(&pods, pod)
}

fn ensure_none_runs(pods: &Pods, name: &str) -> Result<()> {
    if let Some(Running { found, .. }) = Running::find(pods, name)? {
        bail!(
            "the pod {} of {name} runs already: stop it first (skim stop {})",
            found.uuid,
            found.uuid
        );
    }
    Ok(())
}

fn prepare(
    host: &Host,
    pods: &Pods,
    images: &ImageFlags,
    common: &AppFlags,
    source: Source,
    kind: PodKind,
) -> Result<LockedPod> {
    let making = Making {
        host,
        images,
        common,
        source,
        kind,
        uuid_file: None,
    };
    making.prepare(pods, Stage::Run)
}

/// Lets go of the sockets that systemd passes to every service that a socket starts: the apps get
/// them themselves, and whoever else holds one keeps it open.
fn leave_sockets_to_apps() -> Result<()> {
    /// Where passed descriptors begin (sd_listen_fds(3)).
    const FIRST: i32 = 3;
    let number = |name| std::env::var(name).ok()?.parse::<i32>().ok();
    let (pid, count) = (number("LISTEN_PID"), number("LISTEN_FDS"));
    if pid != i32::try_from(std::process::id()).ok() {
        return Ok(());
    }
    for descriptor in FIRST..FIRST.saturating_add(count.unwrap_or(0).clamp(0, 65_536)) {
        pod_dir::close_on_exec(descriptor)
            .with_context(|| format!("cannot let go of the socket {descriptor}"))?;
    }
    Ok(())
}

/// The service that this process runs in.
fn own_unit() -> Result<String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup");
    let groups = groups.context("cannot read /proc/self/cgroup")?;
    unit_of(&groups).context(
        "this is no service of systemd: start the pod's unit (systemctl start NAME.service)",
    )
}

/// The service in the text of /proc/PID/cgroup (cgroups(7)). Pure.
fn unit_of(groups: &str) -> Option<String> {
    let systemd = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        matches!(controllers, "" | "name=systemd").then_some(path)
    });
    // What runs before and after the main process has a cgroup of its own, where one is delegated.
    let units = systemd.filter_map(|path| path.rsplit('/').find(|unit| unit.ends_with(".service")));
    units.map(str::to_string).next()
}

/// Removes the service's pods that have exited: those of a crash, of the boot before, of the
/// version before. At the end of a service that is to start again, and of the host, there is
/// something better to do: the start that follows sweeps.
fn sweep(host: &Host, name: &str) -> Result<u8> {
    let pods = Pods::new(&host.directory);
    let exited = |state| matches!(state, State::Exited | State::ExitedGarbage);
    let todo = running::pods_of(&pods, name, exited)?;
    if todo.is_empty() {
        return Ok(0);
    }
    if std::env::var_os(SERVICE_RESULT).is_some() && systemd::booted() {
        let bus = BlockingBus::connect(&host.manager()?)?;
        if bus.is_host_stopping()? || bus.is_to_start(&own_unit()?)? {
            return Ok(0);
        }
    }
    let mut collector = Collector::new(&pods, host)?;
    for (found, _) in todo {
        // Somebody else came first: it is in good hands.
        let Some(pod) = pods.try_lock(&found)? else {
            continue;
        };
        // What is left stays for skim gc: the service has nothing to do with it any more.
        if let Err(error) = collector.apply(pod, Action::Remove) {
            log::warn!("cannot take the pod {} away: {error:#}", found.uuid);
        }
    }
    collector.finish()?;
    Ok(0)
}

/// Reloads those apps of the running pod that can be reloaded.
fn reload(host: &Host, name: &str) -> Result<u8> {
    let pods = Pods::new(&host.directory);
    let Some(Running { found, plan }) = Running::find(&pods, name)? else {
        bail!("no pod of {name} runs");
    };
    let units = PodUnits::new(&found.uuid);
    let bus = BlockingBus::connect(&host.manager()?)?;
    let mut reloaded = 0;
    for app in &plan.apps {
        let service = units.service(&app.name);
        if bus.can_reload(&service)? {
            bus.reload_unit(&service)
                .with_context(|| format!("cannot reload the app {}", app.name))?;
            reloaded += 1;
        }
    }
    ensure!(
        reloaded > 0,
        "no app of {name} can be reloaded: give one ExecReload= in its [App] section, or restart {name}"
    );
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_found_in_the_control_group() {
        for (text, expected) in [
            ("0::/skim.slice/docker.service\n", Some("docker.service")),
            (
                "0::/skim.slice/skim-pod.slice/skim-pod@web.service",
                Some("skim-pod@web.service"),
            ),
            (
                "5:cpu:/a.service\n1:name=systemd:/system.slice/b.service\n",
                Some("b.service"),
            ),
            (
                "0::/skim.slice/docker.service/.control\n",
                Some("docker.service"),
            ),
            ("0::/user.slice/user-0.slice/session-1.scope\n", None),
            ("", None),
            ("garbage", None),
        ] {
            assert_eq!(unit_of(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_status_is_one_line() {
        let error = anyhow::anyhow!("a\nREADY=1").context("b");
        assert_eq!(one_line(&error), "b: a READY=1");
        let long = anyhow::anyhow!("ä".repeat(5000));
        assert!(one_line(&long).len() <= 4000);
    }
}
