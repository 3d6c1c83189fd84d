//! `skim rm`: removes pods that have exited.

use anyhow::{Context, Result, bail};
use clap::Args;
use stage1_skim::stdio;

use super::output::for_each;
use crate::gc::{Action, Collector};
use crate::host::Host;
use crate::pod::directory::Pods;

/// Arguments of `skim rm`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  skim rm 6ba7b810 550e8400")]
pub struct RmArguments {
    /// The pods' UUIDs, or the beginnings of them
    #[arg(value_name = "UUID", required = true)]
    pub pods: Vec<String>,
}

/// Removes the pods and prints their UUIDs.
///
/// # Errors
/// Where one runs or cannot be removed; the others are.
pub fn run(host: &Host, arguments: &RmArguments) -> Result<u8> {
    host.need_root()?;
    let pods = Pods::new(&host.directory);
    let mut collector = Collector::new(&pods)?;
    let code = for_each(&arguments.pods, |prefix| {
        let found = pods.find(prefix)?;
        let Some(pod) = pods.try_lock(&found)? else {
            bail!("pod {} is {}: stop it first", found.uuid, found.state);
        };
        collector
            .apply(pod, Action::Remove)
            .with_context(|| format!("cannot remove the pod {}", found.uuid))?;
        stdio::print(&format!("\"{}\"\n", found.uuid))?;
        Ok(())
    })?;
    collector.finish()?;
    Ok(code)
}
