//! `skim enter`: runs a command out of an app's rootfs with the app's environment.

use std::ffi::OsString;

use anyhow::{Result, ensure};
use clap::Args;
use stage1_skim::enter;
use stage1_skim::pod_dir::PodDir;

use crate::host::Host;
use crate::pod::directory::Pods;
use crate::pod::state::State;

const HELP: &str = "\
Examples:
  skim enter 6ba7b810                            a shell out of the image
  skim enter 6ba7b810 --app=docker -- docker ps  a program of the image

The command runs where the caller stands, as the caller: there is nothing to enter, as the app
itself sees the host. An absolute path is looked for in the app's rootfs, then on the host; a
bare name in the app's PATH. Of an app with --root=image the command sees what the app sees, and
starts at its root.";

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
    /// The pod's UUID, or the beginning of it
    #[arg(value_name = "UUID")]
    pub pod: String,
    /// The command; a shell by default
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<OsString>,
}

/// Becomes the command.
///
/// # Errors
/// Where the pod does not run, or the command cannot be executed.
pub fn run(host: &Host, arguments: &EnterArguments) -> Result<u8> {
    host.need_root()?;
    let found = Pods::new(&host.directory).find(&arguments.pod)?;
    ensure!(
        found.state == State::Running,
        "pod {} is {}: only a running one can be entered",
        found.uuid,
        found.state
    );
    let pod = PodDir::open(&found.path)?;
    let app = arguments.app.as_deref();
    match enter::exec(&pod, app, &arguments.command, arguments.inherit_env)? {}
}
