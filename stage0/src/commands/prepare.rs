//! `skim prepare`: makes a pod, to be run later.

use anyhow::Result;
use clap::Args;
use stage1_skim::stdio;

use super::making::PodKind;
use super::pod_arguments::PodArguments;
use crate::host::Host;
use crate::pod::directory::Pods;
use crate::pod::state::Stage;

const HELP: &str = "\
Examples:
  skim prepare docker.aci containerd.aci   print the UUID of a pod that is ready to run
  skim run-prepared --detach 6ba7b810      run it, now or after the next boot

Images and flags are given as to skim run. The images stay as they are now, whatever becomes of
their names.";

/// Arguments of `skim prepare`.
#[derive(Args, Debug)]
#[command(after_help = HELP, override_usage = "skim prepare [FLAGS] IMAGE [APP FLAGS] [-- ARGUMENTS] [--- IMAGE …]")]
pub struct PrepareArguments {
    /// The pod.
    #[command(flatten)]
    pub pod: PodArguments,
}

/// Prepares the pod and prints its UUID.
///
/// # Errors
/// Whatever is wrong with it; then nothing of it is left.
pub fn run(host: &Host, arguments: &PrepareArguments) -> Result<u8> {
    let pods = Pods::new(&host.directory);
    let making = arguments.pod.making(host, PodKind::default())?;
    let pod = making.prepare(&pods, Stage::Prepared)?;
    stdio::print(&format!("{}\n", pod.uuid))?;
    Ok(0)
}
