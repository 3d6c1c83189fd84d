//! The `stage1-skim` command: the entrypoints that stage0 executes in a pod's directory.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use stage1_skim::bus::BlockingBus;
use stage1_skim::credentials::Transition;
use stage1_skim::holder::Mode;
use stage1_skim::pod::{CONTRACT_VERSION, Credentials};
use stage1_skim::pod_dir::PodDir;
use stage1_skim::scope::Manager;
use stage1_skim::{
    credentials, directories, enter, gc, interactive, logging, names, notify, retire, run, stdio,
    stop, summary,
};

/// The stage1 of skim: turns the prepared pod in the working directory into systemd units and
/// holds it. skim runs it; by hand it serves to look into a pod.
#[derive(Parser)]
#[command(version = version(), about)]
struct Arguments {
    /// Log what is done
    #[arg(long, global = true)]
    debug: bool,
    #[command(subcommand)]
    entrypoint: Entrypoint,
}

/// Its version, and that of the contract that it speaks.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{} (contract {CONTRACT_VERSION})",
            env!("CARGO_PKG_VERSION")
        )
    });
    &VERSION
}

#[derive(Subcommand)]
enum Entrypoint {
    #[command(flatten)]
    OfPod(PodEntrypoint),
    /// Become a program as another user, or in another root; the services of such apps call it
    #[command(name = credentials::ENTRYPOINT, hide = true)]
    Exec(ExecArguments),
    /// Make or remove directories of a service's user; the services of such apps call it
    #[command(name = directories::ENTRYPOINT, hide = true)]
    Directories {
        #[command(subcommand)]
        action: directories::Action,
    },
}

#[derive(Subcommand)]
enum PodEntrypoint {
    /// Start the pod and hold it; exit with its code
    Run {
        /// Print `ready` once every app is up, then let go of the standard streams
        #[arg(long)]
        detach: bool,
        /// Remove the pod when it has exited
        #[arg(long)]
        rm: bool,
    },
    /// Run a command out of an app's rootfs with the app's environment
    Enter {
        /// The app; may be left out where the pod has one only
        #[arg(long)]
        app: Option<String>,
        /// The command; a shell by default
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Take the pod's units and mounts off the host
    Gc,
    /// Become the app of an interactive pod; its holder calls it
    #[command(name = interactive::ENTRYPOINT, hide = true)]
    BecomeApp {
        /// Which of its programs
        program: interactive::Program,
    },
    /// Stop the pod
    Stop {
        /// Kill its processes
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args)]
struct ExecArguments {
    #[arg(long)]
    uid: u32,
    #[arg(long)]
    gid: u32,
    #[arg(long)]
    supplementary_gid: Vec<u32>,
    #[arg(long)]
    drop: Vec<String>,
    #[arg(long)]
    block: Vec<String>,
    #[arg(long)]
    block_errno: Option<String>,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    argv: Vec<String>,
}

impl ExecArguments {
    fn exec(self) -> Result<Infallible> {
        let transition = Transition {
            who: Credentials {
                uid: self.uid,
                gid: self.gid,
                supplementary_gids: self.supplementary_gid,
            },
            drop: self.drop,
            block: self.block,
            block_errno: self.block_errno,
        };
        credentials::exec(&transition, &self.program, &self.argv)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let is_error = error.use_stderr();
            // Nothing is left to tell where the terminal is gone.
            let _ = error.print();
            return ExitCode::from(if is_error { names::EXIT_ERROR } else { 0 });
        }
    };
    // A program that is about to become another has nothing to log, and may have few system
    // calls to do it with.
    if !matches!(arguments.entrypoint, Entrypoint::Exec(_)) {
        logging::install(arguments.debug);
    }
    match dispatch(arguments.entrypoint) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::from(names::EXIT_ERROR)
        }
    }
}

/// What systemd itself exits with where it cannot execute a service's program (systemd.exec(5),
/// "Process Exit Codes").
const EXIT_EXEC: u8 = 203;

fn dispatch(entrypoint: Entrypoint) -> Result<u8> {
    match entrypoint {
        Entrypoint::OfPod(entrypoint) => {
            let directory = std::env::current_dir().context("cannot tell the working directory")?;
            in_pod(&PodDir::open(&directory)?, entrypoint)
        }
        Entrypoint::Directories { action } => directories::act(action).map(|()| 0),
        Entrypoint::Exec(arguments) => {
            let Err(error) = arguments.exec();
            stdio::complain(&format!("{error:#}"));
            Ok(EXIT_EXEC)
        }
    }
}

fn in_pod(pod: &PodDir, entrypoint: PodEntrypoint) -> Result<u8> {
    let lock = std::env::var(names::LOCK_FD).ok();
    match entrypoint {
        PodEntrypoint::Run { detach, rm } => {
            pod.check_lock(lock.as_deref())?;
            end(pod, run(pod, detach).inspect_err(tell_of), rm)
        }
        PodEntrypoint::Enter { app, command } => {
            match enter::exec(pod, app.as_deref(), &command, false)? {}
        }
        PodEntrypoint::Gc => {
            pod.check_lock(lock.as_deref())?;
            gc::collect_alone(pod, &bus(pod)?)?;
            Ok(0)
        }
        PodEntrypoint::BecomeApp { program } => {
            let Err(error) = interactive::become_app(pod.app(None)?, program);
            stdio::complain(&logging::one_line(&format!("{error:#}")));
            Ok(EXIT_EXEC)
        }
        PodEntrypoint::Stop { force } => {
            stop::stop(&pod.units, &bus(pod)?, force)?;
            Ok(0)
        }
    }
}

/// A connection to the service manager that runs the pod.
fn bus(pod: &PodDir) -> Result<BlockingBus> {
    BlockingBus::connect(&Manager::of_caller(pod.plan.scope)?)
}

fn run(pod: &PodDir, detach: bool) -> Result<u8> {
    if pod.plan.interactive {
        ensure!(!detach, "an interactive pod cannot be detached");
        return interactive::run(pod);
    }
    let mode = if detach {
        // The pod outlives the caller's terminal and its signals.
        rustix::process::setsid().context("cannot leave the caller's session")?;
        Mode::Detached
    } else if let Some(unit) = pod.service_unit() {
        logging::speak_for(unit);
        Mode::Service
    } else {
        Mode::Foreground
    };
    run::run(pod, mode)
}

/// Tells the service manager, if one listens, why there is no pod.
fn tell_of(error: &anyhow::Error) {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    let errno = causes.find_map(std::io::Error::raw_os_error);
    let errno = errno.map_or(String::new(), |errno| format!("ERRNO={errno}\n"));
    let text = summary::clean(&format!("{error:#}"));
    notify::notify(&format!("{errno}STATUS={text}"));
}

/// What is left to do when the pod has ended, or was refused.
fn end(pod: &PodDir, code: Result<u8>, rm: bool) -> Result<u8> {
    // A pod that could not even be started is no use to anybody.
    if (rm || code.is_err())
        && let Err(error) = retire::retire(pod)
    {
        log::error!("cannot remove the pod: {error:#}; skim gc will try again");
    }
    code
}
