//! What `--rm` asks of the holder: to take its own pod away when it has exited.

use std::fs::File;

use anyhow::{Context, Result};

use crate::bus::{BlockingBus, Scope};
use crate::cgroup;
use crate::gc;
use crate::pod_dir::PodDir;
use crate::remove;
use crate::scope::Manager;

/// Removes the pod that this process has held, its directory included.
///
/// A process in the pod's slice leaves it first, as whoever stops a slice from within stops
/// itself.
///
/// # Errors
/// As [`gc::collect`]; what is left then is for `skim gc`.
pub fn retire(pod: &PodDir) -> Result<()> {
    let manager = Manager::of_caller(pod.plan.scope)?;
    let bus = BlockingBus::connect(&manager)?;
    if cgroup::holds_this_process(&pod.units.slice())? {
        leave_slice(pod, &manager, &bus)?;
    }
    gc::collect_alone(pod, &bus)?;
    let (Some(parent), Some(name)) = (pod.path.parent(), pod.path.file_name()) else {
        return Ok(());
    };
    let parent = File::open(parent).with_context(|| format!("cannot open {}", parent.display()))?;
    std::env::set_current_dir("/").context("cannot leave the pod's directory")?;
    remove::remove_tree(std::os::fd::AsFd::as_fd(&parent), name)
}

fn leave_slice(pod: &PodDir, manager: &Manager, bus: &BlockingBus) -> Result<()> {
    bus.start_scope(&Scope {
        name: &pod.units.removal_scope(),
        description: &format!("removal of skim pod {}", pod.plan.uuid),
        slice: manager.default_slice(),
        pid: std::process::id(),
        wants: &[],
        stops: &[],
        hang_up: false,
        default_dependencies: true,
    })
}
