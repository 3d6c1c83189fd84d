//! `skim run-prepared`: runs a pod that `skim prepare` made.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use stage1_skim::pod::PodPlan;
use stage1_skim::{mounts, pod_dir, units};

use super::launch::Launch;
use crate::host::Host;
use crate::pod::directory::{LockedPod, Pods};
use crate::pod::stage1;
use crate::pod::state::{Stage, State};
use crate::store::Store;
use crate::{gc, mounting};

const HELP: &str = "\
Examples:
  skim run-prepared 6ba7b810            run until the pod ends; Ctrl-C stops it
  skim run-prepared --detach 6ba7b810   return when every app is up, print the pod's UUID";

/// Arguments of `skim run-prepared`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct RunPreparedArguments {
    /// Return once every app is up, and print the pod's UUID
    #[arg(long)]
    pub detach: bool,
    /// Remove the pod as soon as it has exited
    #[arg(long)]
    pub rm: bool,
    /// Give the pod's one app the caller's standard streams and terminal; it is no service then,
    /// and skim logs has nothing of it
    #[arg(long, conflicts_with = "detach")]
    pub interactive: bool,
    /// The pod's UUID, or the beginning of it
    #[arg(value_name = "UUID")]
    pub pod: String,
}

/// Runs the pod; returns its exit code, or 0 where it is detached and up.
///
/// # Errors
/// Where it is not prepared, or does not come up.
pub fn run(host: &Host, arguments: &RunPreparedArguments) -> Result<u8> {
    host.check_caller()?;
    host.need_systemd()?;
    let stage1 = host.stage1()?;
    let pods = Pods::new(&host.directory);
    let mut pod = take(&pods, &arguments.pod)?;
    let mut plan = pod_dir::read_plan(&pod.path)?;
    let is_new = plan.interactive != arguments.interactive;
    if is_new {
        plan.interactive = arguments.interactive;
        units::units(&plan, &stage1)?;
    }
    mount(host, &pods, &mut pod, &plan)?;
    if is_new {
        // Only now, as a pod that is prepared again is what it was before.
        pod.write_plan(&plan)
            .inspect_err(|_| prepare_again(&pods, &mut pod))?;
    }
    let launch = Launch {
        stage1: &stage1,
        host,
        detach: arguments.detach,
        rm: arguments.rm,
    };
    launch.run(&pods, pod)
}

/// The pod, locked.
fn take(pods: &Pods, prefix: &str) -> Result<LockedPod> {
    let found = pods.find(prefix)?;
    ensure!(
        found.state == State::Prepared,
        "pod {} is {}: only a prepared one can be run (see skim prepare)",
        found.uuid,
        found.state
    );
    match pods.try_lock(&found)? {
        Some(pod) => Ok(pod),
        None => bail!("pod {} is being run or removed just now", found.uuid),
    }
}

/// Mounts the pod in the stage `run`. Where that fails it is prepared again.
///
/// # Errors
/// Where the stage1 cannot start its apps, an image is gone, or it cannot be mounted.
pub(super) fn mount(host: &Host, pods: &Pods, pod: &mut LockedPod, plan: &PodPlan) -> Result<()> {
    let stage1 = host.stage1()?;
    stage1::check(plan, &stage1)?;
    let _hold = Store::open(&host.directory)?.hold()?;
    for app in &plan.apps {
        ensure!(
            app.image.tree.is_dir(),
            "the image of the app {} is gone from the store ({}): prepare the pod anew",
            app.name,
            app.image.tree.display()
        );
    }
    pods.move_to(pod, Stage::Run)?;
    mounting::mount(plan, pod, &stage1).inspect_err(|_| prepare_again(pods, pod))
}

fn prepare_again(pods: &Pods, pod: &mut LockedPod) {
    let undone = mounts::unmount_beneath(&pod.path)
        .and_then(|()| pods.move_to(pod, Stage::Prepared))
        .with_context(|| format!("pod {}", pod.uuid));
    gc::report(undone);
}
