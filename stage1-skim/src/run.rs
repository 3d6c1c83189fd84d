//! The entrypoint `run`: starts a pod and stays as its holder.

use anyhow::{Context, Result};

use crate::bus::{Bus, Listener, Scope};
use crate::holder::{Holder, Local, Mode, Units};
use crate::names;
use crate::pod_dir::PodDir;
use crate::relay::Relay;
use crate::scope::{Manager, RuntimeScope};
use crate::write::UnitDirectory;
use crate::{signals, sockets, units};

/// Starts the pod, holds it until all its apps have ended, and returns the pod's exit code.
///
/// # Errors
/// Where the pod could not be started. Whatever goes wrong later is logged.
pub fn run(pod: &PodDir, mode: Mode) -> Result<u8> {
    let manager = Manager::of_caller(pod.plan.scope)?;
    manager.check_running()?;
    let (sender, local) = async_channel::unbounded();
    let signals = sender.clone();
    signals::watch(move |signal| {
        // The holder is gone only when the process ends.
        let _ = signals.send_blocking(Local::Signal(signal));
    })?;
    pod.write(names::PID_FILE, &format!("{}\n", std::process::id()))?;
    zbus::block_on(async {
        let relay = match manager.scope() {
            RuntimeScope::System => None,
            RuntimeScope::User => Some(Relay::start(pod, mode, sender.clone())?),
        };
        let (bus, events) = start(pod, &manager).await?;
        let mut holder = Holder::new(pod, mode, manager, bus, events, local);
        holder.relay = relay;
        holder.check_jobs().await?;
        if mode == Mode::Foreground && holder.relay.is_none() {
            holder.follow(sender)?;
        }
        Ok(holder.hold_to_the_end().await)
    })
}

/// Writes the unit files and starts the scope, and the services with it.
async fn start(pod: &PodDir, manager: &Manager) -> Result<(Bus, Listener)> {
    let units = Units::of(pod);
    let stage1 = std::env::current_exe().context("cannot tell the path of stage1-skim itself")?;
    let directory = UnitDirectory::open(manager)?;
    let bus = Bus::connect(manager).await?;
    let before = match pod.service_unit() {
        Some(unit) => bus.ordered_after(unit).await?,
        None => Vec::new(),
    };
    let files = units::units_before(&pod.plan, &stage1, &before)?;
    let watched = units.watched();
    let events = bus.listen(&watched).await?;
    // Until the scope is there, gc must not take the slice above it away.
    let lock = pod.lock_all_pods()?;
    directory.write_root_slice()?;
    directory.write(&files)?;
    for unit in &watched {
        bus.reference(unit).await?;
    }
    let (name, slice) = (pod.units.scope(), pod.units.slice());
    bus.start_scope(&Scope {
        name: &name,
        description: &format!("skim pod {}", pod.plan.uuid),
        slice: &slice,
        pid: std::process::id(),
        wants: &units.wanted(),
        // Sockets, too: else one could start its app again while the pod stops.
        stops: &[pod.services(), sockets::names(&pod.plan, &pod.units)].concat(),
        hang_up: false,
        // A service of systemd has its own place in the order of things.
        default_dependencies: pod.plan.service.is_none(),
    })
    .await?;
    drop(lock);
    Ok((bus, events))
}
