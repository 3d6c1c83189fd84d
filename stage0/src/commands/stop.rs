//! `skim stop`: stops pods.

use std::thread::sleep;

use anyhow::{Context, Result, bail};
use clap::Args;
use stage1_skim::bus::BlockingBus;
use stage1_skim::names::PodUnits;
use stage1_skim::{stdio, stop};

use super::output::for_each;
use super::pod_selection::ManyPods;
use crate::host::Host;
use crate::pod::directory::Pods;
use crate::pod::state::State;
use crate::pod::wait::INTERVAL;

const HELP: &str = "\
Examples:
  skim stop 6ba7b810
  skim stop --force 6ba7b810 550e8400
  skim stop --uuid-file=/run/web.uuid

The apps get SIGTERM, or the signal that their images name, in the reverse of the order in which
they started, and are killed if they have not ended after 90 seconds (TimeoutStopSec= of their
services). A pod that has exited is stopped already.";

/// Arguments of `skim stop`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct StopArguments {
    /// Kill the apps instead of asking them to end
    #[arg(long)]
    pub force: bool,
    /// Which pods.
    #[command(flatten)]
    pub pods: ManyPods,
}

/// Stops the pods and prints their UUIDs; one that has exited is stopped.
///
/// # Errors
/// Where one cannot be stopped; the others are.
pub fn run(host: &Host, arguments: &StopArguments) -> Result<u8> {
    host.check_caller()?;
    let pods = Pods::new(&host.directory);
    let prefixes = arguments.pods.prefixes()?;
    let bus = {
        let manager = host.manager()?;
        manager.check_running()?;
        BlockingBus::connect(&manager)?
    };
    for_each(&prefixes, |prefix| {
        let found = pods.find(prefix)?;
        if let State::Embryo | State::Preparing | State::Prepared | State::AbortedPrepare =
            found.state
        {
            bail!("pod {} is {}: it does not run", found.uuid, found.state);
        }
        stop_until_stopped(&pods, &found.uuid, &bus, arguments.force)
            .with_context(|| format!("cannot stop the pod {}", found.uuid))?;
        stdio::print(&format!("\"{}\"\n", found.uuid))?;
        Ok(())
    })
}

/// A pod counts as running while it is being mounted, too, and systemd knows nothing of it yet:
/// then it is stopped as soon as there is something to stop.
fn stop_until_stopped(pods: &Pods, uuid: &str, bus: &BlockingBus, force: bool) -> Result<()> {
    loop {
        stop::stop(&PodUnits::new(uuid), bus, force)?;
        match pods.look(uuid)? {
            Some(found) if found.state == State::Running => sleep(INTERVAL),
            _ => return Ok(()),
        }
    }
}
