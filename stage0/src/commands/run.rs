//! `skim run`: from images to a pod that runs.

use anyhow::Result;
use clap::Args;
use stage1_skim::{stdio, units};

use super::launch::Launch;
use super::making::{Making, PodKind};
use super::pod_arguments::PodArguments;
use crate::host::Host;
use crate::pod::directory::Pods;
use crate::pod::state::Stage;

const HELP: &str = "\
Examples:
  skim run hello.aci                              run until the app ends; Ctrl-C stops it
  skim run --detach docker.aci containerd.aci     return when both are up, print the pod's UUID
  skim run docker://registry.example.com/app:1.2  an image from a registry, fetched if it is new
  skim run ./saved.tar                            a file of podman save or docker save
  skim run --interactive tools.aci --exec sh      with the caller's terminal
  skim run web.aci --set-env PORT=80 -- --verbose --- db.aci
                                                  arguments for the first app, then a second one
  skim run db.aci --volume data,kind=host,source=/srv/db --mount volume=data,target=/var/lib/db \\
      --memory 2G -- --datadir={volume:data}      a directory of the host, and a limit
  skim run --dry-run web.aci                      print the units, and do nothing

Flags of an app follow its image; of --inherit-env, --set-env, --set-env-file, --volume and
--mount those before the first image hold for all apps. What follows -- is appended to the
app's command line, up to --- or the end.

Of a variable that is set several times the last of these wins: --inherit-env, the image,
--set-env-file, --set-env, --environment. A volume is mounted in the app's rootfs; as the app
sees the host, it is told the path: SKIM_VOLUME_NAME in its environment, {volume:NAME} in
arguments and variables.

--unit takes an app's service from a unit file in its image, as the distribution shipped it, with
its drop-ins and its .socket. Programs are the image's where it has them, and so are paths in
arguments beneath /usr, /lib, /bin, /sbin and /opt; all others, /etc and /var above all, are the
host's. Users are the image's. Where --unit gives an app to the pod, After= and Before= of the
others' units speak of that app. What contradicts skim, such as RootImage=, is refused.

Each app starts after the one named before it, unless it or its image (annotation
skim.requires) says otherwise. An app that fails stops the pod, and its exit code is the pod's.
SIGINT and SIGTERM stop the pod, a second SIGINT kills it.";

/// Arguments of `skim run`.
#[derive(Args, Debug)]
#[command(after_help = HELP, override_usage = "skim run [FLAGS] IMAGE [APP FLAGS] [-- ARGUMENTS] [--- IMAGE …]")]
pub struct RunArguments {
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
    /// Print the units that would be written, of images in the store, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The pod.
    #[command(flatten)]
    pub pod: PodArguments,
}

/// Runs the pod; returns its exit code, or 0 where it is detached and up.
///
/// # Errors
/// Whatever keeps it from starting; then nothing of it is left.
pub fn run(host: &Host, arguments: &RunArguments) -> Result<u8> {
    let kind = PodKind {
        interactive: arguments.interactive,
        ..PodKind::default()
    };
    let making = arguments.pod.making(host, kind)?;
    if arguments.dry_run {
        return dry_run(host, making);
    }
    host.need_systemd()?;
    let pods = Pods::new(&host.directory);
    let pod = making.prepare(&pods, Stage::Run)?;
    let launch = Launch {
        stage1: &host.stage1()?,
        host,
        detach: arguments.detach,
        rm: arguments.rm,
    };
    launch.run(&pods, pod)
}

/// Prints what would be written to systemd's directory of transient units, as `systemctl cat`.
fn dry_run(host: &Host, making: Making<'_>) -> Result<u8> {
    let plan = making.plan()?;
    for (index, file) in units::units(&plan, &host.stage1()?)?.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        let path = host.manager()?.unit_directory().join(&file.name);
        stdio::print(&format!("{gap}# {}\n{}", path.display(), file.text))?;
    }
    Ok(0)
}
