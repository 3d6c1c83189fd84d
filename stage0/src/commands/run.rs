//! `skim run`: from images to a pod that runs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, kill_process};
use stage1_skim::names::{AppDirectory, LOCK_FD};
use stage1_skim::pod::PodPlan;
use stage1_skim::{signals, stdio};

use super::app_arguments::{self, AppArguments};
use super::image_flags::ImageFlags;
use crate::fetch::{Fetcher, PullPolicy};
use crate::gc;
use crate::host::Host;
use crate::image::reference::Reference;
use crate::overlay;
use crate::pod::directory::{LockedPod, Pods};
use crate::pod::plan;
use crate::pod::request::{AppRequest, EnvironmentRequest, PodRequest};
use crate::pod::state::Stage;
use crate::pod::working_directory;
use crate::store::Store;

const HELP: &str = "\
Examples:
  skim run hello.aci                              run until the app ends; Ctrl-C stops it
  skim run --detach docker.aci containerd.aci     return when both are up, print the pod's UUID
  skim run docker://registry.example.com/app:1.2  an image from a registry, fetched if it is new
  skim run ./saved.tar                            a file of podman save or docker save
  skim run web.aci --set-env PORT=80 -- --verbose --- db.aci
                                                  arguments for the first app, then a second one

Flags of an app follow its image:
      --name APP           the app's name [default: the last part of the image's]
      --exec PROGRAM       run this instead of the image's command line
      --set-env NAME=VALUE set a variable; wins over the image's
      --requires APP       start after APP, instead of after the app named before it;
                           empty: after none
  -p, --property KEY=VALUE set a directive of the app's service, as systemd-run -p
      -- ARGUMENTS         append to the command line, up to --- or the end

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
    /// How images are fetched.
    #[command(flatten)]
    pub images: ImageFlags,
    /// Write the pod's UUID to this file
    #[arg(long, value_name = "FILE")]
    pub uuid_file_save: Option<PathBuf>,
    /// An image (a file, docker://…, an ID, a name: see skim fetch --help) and its flags
    #[arg(
        value_name = "IMAGE",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub apps: Vec<OsString>,
}

/// Runs the pod; returns its exit code, or 0 where it is detached and up.
///
/// # Errors
/// Whatever keeps it from starting; then nothing of it is left.
pub fn run(host: &Host, arguments: &RunArguments) -> Result<u8> {
    let apps = app_arguments::parse(&arguments.apps)?;
    host.need_root()?;
    host.need_systemd()?;
    let stage1 = host.stage1()?;
    let store = Store::open(&host.directory)?;
    let images = &arguments.images;
    let request = images.with_fetcher(host, &store, PullPolicy::New, |fetcher| {
        requests(fetcher, apps)
    })?;
    // From here on nobody takes an image away, until it shows that the pod uses it.
    let hold = store.hold()?;
    note_use(&store, &request)?;
    let uuid = uuid::Uuid::new_v4().to_string();
    let pods = Pods::new(&host.directory);
    let plan = plan::plan(&uuid, &pods.run_path(&uuid), &stage1, &request)?;
    if let Some(file) = &arguments.uuid_file_save {
        std::fs::write(file, &uuid)
            .with_context(|| format!("cannot write the UUID to {}", file.display()))?;
    }
    let pod = prepare(&pods, &plan)?;
    drop(hold);
    let launch = Launch {
        stage1: &stage1,
        host,
        rm: arguments.rm,
        pod: &pod,
    };
    let outcome = if arguments.detach {
        launch.detached()
    } else {
        launch.in_the_foreground()
    };
    outcome.inspect_err(|_| gc::report(gc::withdraw(&pods, pod)))
}

fn requests(fetcher: &Fetcher<'_>, apps: Vec<AppArguments>) -> Result<PodRequest> {
    let apps: Result<Vec<_>> = apps
        .into_iter()
        .map(|app| {
            let reference = Reference::parse(&app.image)?;
            let image = fetcher
                .fetch(&reference)
                .with_context(|| format!("image {}", app.image))?;
            Ok(AppRequest {
                name: app.name,
                exec: app.exec,
                arguments: app.arguments,
                environment: EnvironmentRequest {
                    set: app.environment,
                    ..EnvironmentRequest::default()
                },
                requires: app.requires,
                settings: app.settings,
                ..AppRequest::new(image)
            })
        })
        .collect();
    Ok(PodRequest {
        apps: apps?,
        ..PodRequest::default()
    })
}

/// Notes that the images are used, if they are still there.
fn note_use(store: &Store, request: &PodRequest) -> Result<()> {
    let now = SystemTime::now();
    request.apps.iter().try_for_each(|app| {
        let image = &app.image;
        let there = store.find_id(&image.id)?;
        ensure!(
            there.is_some_and(|there| there.key == image.key),
            "image {} was removed from the store just now, or replaced: try again",
            image.name()
        );
        store.note_use(image, now)
    })
}

/// Makes the pod and mounts its overlays; where that fails, nothing of it is left.
fn prepare(pods: &Pods, plan: &PodPlan) -> Result<LockedPod> {
    let mut pod = pods.create(&plan.uuid)?;
    let prepared = pod.fill(plan).and_then(|()| {
        pods.move_to(&mut pod, Stage::Run)?;
        for app in &plan.apps {
            overlay::mount(&app.image.tree, &AppDirectory::new(&pod.path, &app.name))?;
            working_directory::make(&app.rootfs, &app.working_directory)
                .with_context(|| format!("app {}", app.name))?;
        }
        Ok(())
    });
    match prepared {
        Ok(()) => Ok(pod),
        Err(error) => {
            gc::report(gc::undo(pods, &pod));
            Err(error)
        }
    }
}

/// How stage1 is started.
struct Launch<'a> {
    stage1: &'a Path,
    host: &'a Host,
    rm: bool,
    pod: &'a LockedPod,
}

impl Launch<'_> {
    /// Becomes the holder.
    fn in_the_foreground(&self) -> Result<u8> {
        let error = self.command()?.exec();
        Err(error).with_context(|| format!("cannot execute {}", self.stage1.display()))
    }

    /// Starts the holder and waits until the pod is up. A signal that ends the wait stops the
    /// pod.
    fn detached(&self) -> Result<u8> {
        let mut holder = self
            .command()?
            .arg("--detach")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot execute {}", self.stage1.display()))?;
        let pid = rustix::process::Pid::from_child(&holder);
        signals::watch(move |signal| {
            if let Some(signal) = Signal::from_named_raw(signal) {
                // The holder may be gone already: then there is nothing to stop.
                let _ = kill_process(pid, signal);
            }
        })?;
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .context("cannot read from stage1")?;
        }
        if line == "ready\n" {
            stdio::print(&format!("{}\n", self.pod.uuid))?;
            return Ok(0);
        }
        let status = holder.wait().context("cannot wait for stage1")?;
        match (status.code(), status.signal()) {
            (Some(0), _) => bail!("the pod was stopped before it was up"),
            (Some(code), _) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, signal) => bail!("stage1 was killed by signal {}", signal.unwrap_or_default()),
        }
    }

    /// stage1's `run` in the pod's directory, the lock inherited.
    fn command(&self) -> Result<Command> {
        let lock: &File = &self.pod.lock;
        fcntl_setfd(lock, FdFlags::empty()).context("cannot pass the pod's lock on")?;
        let mut command = Command::new(self.stage1);
        if self.host.debug {
            command.arg("--debug");
        }
        command
            .arg("run")
            .current_dir(&self.pod.path)
            .env(LOCK_FD, lock.as_raw_fd().to_string());
        if self.rm {
            command.arg("--rm");
        }
        Ok(command)
    }
}
