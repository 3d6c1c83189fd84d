//! `skim stop`: stops pods.

use anyhow::{Context, Result};
use clap::Args;
use stage1_skim::bus::BlockingBus;
use stage1_skim::names::PodUnits;
use stage1_skim::{stdio, stop};

use super::output::for_each;
use crate::host::Host;
use crate::pod::directory::Pods;

/// Arguments of `skim stop`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  skim stop 6ba7b810\n  skim stop --force 6ba7b810 550e8400")]
pub struct StopArguments {
    /// Kill the apps instead of asking them to end
    #[arg(long)]
    pub force: bool,
    /// The pods' UUIDs, or the beginnings of them
    #[arg(value_name = "UUID", required = true)]
    pub pods: Vec<String>,
}

/// Stops the pods and prints their UUIDs; one that has exited is stopped.
///
/// # Errors
/// Where one cannot be stopped; the others are.
pub fn run(host: &Host, arguments: &StopArguments) -> Result<u8> {
    host.need_root()?;
    let pods = Pods::new(&host.directory);
    let bus = BlockingBus::connect()?;
    for_each(&arguments.pods, |prefix| {
        let found = pods.find(prefix)?;
        stop::stop(&PodUnits::new(&found.uuid), &bus, arguments.force)
            .with_context(|| format!("cannot stop the pod {}", found.uuid))?;
        stdio::print(&format!("\"{}\"\n", found.uuid))?;
        Ok(())
    })
}
