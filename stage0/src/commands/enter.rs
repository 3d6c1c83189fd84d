//! `skim enter`: runs a command out of an app's rootfs with the app's environment.

use std::ffi::OsString;

use anyhow::{Context, Result};
use clap::Args;
use stage1_skim::enter;
use stage1_skim::pod_dir::PodDir;

use super::pod_selection::OnePod;
use crate::host::Host;
use crate::pod::directory::Pods;
use crate::pod::wait::{Goal, wait};

const HELP: &str = "\
Examples:
  skim enter 6ba7b810                            a shell out of the image
  skim enter 6ba7b810 --app=docker -- docker ps  a program of the image
  skim enter --uuid-file=/run/web.uuid -- id

The command runs where the caller stands, as the caller: there is nothing to enter, as the app
itself sees the host. An absolute path is looked for in the app's rootfs, then on the host; a
bare name in the app's PATH. Of an app with --root=image the command sees what the app sees, and
starts at its root. Without a command it is /bin/bash of the image, or else /bin/sh, of the image
or of the host. Of a pod that is just being started, the start is waited for.";

/// Arguments of `skim enter`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct EnterArguments {
    /// The app; may be left out where the pod has one only
    #[arg(long)]
    pub app: Option<String>,
    /// Pass the caller's variables on, beneath those of the image
    #[arg(long)]
    pub inherit_env: bool,
    /// Which pod.
    #[command(flatten)]
    pub pod: OnePod,
    /// The command; a shell by default
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<OsString>,
}

/// Becomes the command.
///
/// # Errors
/// Where the pod does not run, or the command cannot be executed.
pub fn run(host: &Host, arguments: &EnterArguments) -> Result<u8> {
    host.check_caller()?;
    let pods = Pods::new(&host.directory);
    let found = pods.find(&arguments.pod.prefix()?)?;
    // One that is just being started is about to have a holder, or to be gone.
    let found = wait(&pods, &found.uuid, Goal::Started, None)
        .context("only a running pod can be entered")?;
    let pod = PodDir::open(&found.path)?;
    let app = arguments.app.as_deref();
    match enter::exec(&pod, app, &arguments.command, arguments.inherit_env)? {}
}
