//! `--interactive`: the pod's one app as a child of the holder, in the pod's scope, with the
//! standard streams and the terminal of whoever runs the pod. There is no service, and nothing
//! in the journal.
//!
//! The app stays in the holder's process group, so that the keys of the terminal reach both: the
//! holder leaves Ctrl-C and Ctrl-Z to the app, and stops once the app has stopped. What a shell
//! does with a job, it so does with the pod.

mod child;
mod terminal;

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_channel::{Receiver, Sender};
use clap::ValueEnum;
use futures_lite::future;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};

use self::terminal::Terminal;
use crate::bus::{Bus, CommandEnd, Scope, ServiceDetail};
use crate::diagnosis::{self, Facts, exit_codes};
use crate::pod::{AppPlan, PodPlan, Root};
use crate::pod_dir::PodDir;
use crate::progress::{Ended, Main};
use crate::scope::Manager;
use crate::unit::Setting;
use crate::write::UnitDirectory;
use crate::{cgroup, journal, names, notify, signals, timer, units};

pub use self::child::{Program, become_app};

/// The entrypoint by which the holder's child becomes the app.
pub const ENTRYPOINT: &str = "become-app";

/// How long the app may take to end when the pod is stopped: less than the scope has
/// (`TimeoutStopSec=`), so that the holder is there to tell.
const STOP_TIMEOUT: Duration = Duration::from_secs(80);

/// What the isolators of an app set that a slice can have, too (systemd.resource-control(5)).
const OF_SLICE: [&str; 3] = ["MemoryMax", "CPUQuota", "CPUWeight"];

/// What stands for flags of the app's that only a service can heed.
const FLAGS: [(&str, &str); 3] = [
    ("Type", "--notify"),
    ("Restart", "--restart"),
    ("KillSignal", "--stop-signal"),
];

/// Whether a pod can be run so. Pure.
///
/// # Errors
/// Where it asks for what takes a service.
pub fn check(plan: &PodPlan) -> Result<()> {
    let [app] = plan.apps.as_slice() else {
        bail!(
            "an interactive pod has one app, and this one has {}",
            plan.apps.len()
        );
    };
    let refused = |what: &str| {
        format!(
            "app {}: {what} takes a service, and with --interactive there is none",
            app.name
        )
    };
    ensure!(app.root == Root::Host, refused("--root=image"));
    ensure!(app.sockets.is_empty(), refused("a socket-activated port"));
    ensure!(app.unit.is_none(), refused("--unit"));
    if let Some(setting) = app.user_settings.first() {
        let flag = FLAGS.iter().find(|(key, _)| *key == setting.key);
        bail!(match flag {
            Some((_, flag)) => refused(flag),
            None => refused(&format!("--property={}", setting.key)),
        });
    }
    for setting in &app.isolation_settings {
        let key = setting.key.as_str();
        ensure!(
            OF_SLICE.contains(&key) || child::APPLIED.contains(&key),
            refused(&format!("{key}="))
        );
    }
    Ok(())
}

/// What the slice of an interactive pod has beyond the pod's own settings: what its app's service
/// would have. Pure.
pub fn slice_settings(app: &AppPlan) -> Vec<Setting> {
    let settings = app.isolation_settings.iter();
    settings
        .filter(|setting| OF_SLICE.contains(&setting.key.as_str()))
        .map(|setting| Setting::slice(&setting.key, setting.value.clone()))
        .collect()
}

/// Directives on how a service starts, is restarted and ends, which mean nothing to an app whose
/// user sits at the terminal. Those that begin with these words are meant, too.
const OF_START_AND_END: [&str; 8] = [
    "Delegate",
    "KillMode",
    "KillSignal",
    "NotifyAccess",
    "Restart",
    "StartLimit",
    "Timeout",
    "Type",
];

/// How many of the image's settings an interactive app misses. Pure.
fn left_out(app: &AppPlan) -> usize {
    let settings = app.image_settings.iter();
    let missed = settings.filter(|setting| {
        let mut others = OF_START_AND_END.iter();
        !others.any(|other| setting.key.starts_with(other))
    });
    missed.count()
}

/// Runs the pod to its end, and returns its exit code.
///
/// # Errors
/// Where it could not be started. Whatever goes wrong later is logged.
pub fn run(pod: &PodDir) -> Result<u8> {
    let manager = Manager::of_caller(pod.plan.scope)?;
    manager.check_running()?;
    check(&pod.plan)?;
    let [app] = pod.plan.apps.as_slice() else {
        bail!("an interactive pod has one app");
    };
    let left_out = left_out(app);
    if left_out > 0 {
        log::warn!(
            "app {}: left out {left_out} of the settings in the image's skim.dropin: they take a \
             service, and with --interactive there is none",
            app.name
        );
    }
    let (sender, events) = async_channel::unbounded();
    let signals = sender.clone();
    signals::watch(move |signal| {
        // The holder is gone only when the process ends.
        let _ = signals.send_blocking(Event::Signal(signal));
    })?;
    pod.write(names::PID_FILE, &format!("{}\n", std::process::id()))?;
    zbus::block_on(async {
        let bus = start_scope(pod, &manager).await?;
        let mut holder = Holder {
            pod,
            app,
            bus,
            sender,
            events,
            is_stopping: false,
        };
        Ok(holder.hold().await)
    })
}

/// Writes the slice and moves this process to the pod's scope.
async fn start_scope(pod: &PodDir, manager: &Manager) -> Result<Bus> {
    let stage1 = std::env::current_exe().context("cannot tell the path of stage1-skim itself")?;
    let files = units::units(&pod.plan, &stage1)?;
    let directory = UnitDirectory::open(manager)?;
    let bus = Bus::connect(manager).await?;
    let mut jobs = bus.listen(&[]).await?;
    // Until the scope is there, gc must not take the slice above it away.
    let lock = pod.lock_all_pods()?;
    directory.write_root_slice()?;
    directory.write(&files)?;
    let (name, slice) = (pod.units.scope(), pod.units.slice());
    let scope = Scope {
        name: &name,
        description: &format!("skim pod {}", pod.plan.uuid),
        slice: &slice,
        pid: std::process::id(),
        wants: &[],
        stops: &[],
        // Shells that talk to somebody ignore SIGTERM.
        hang_up: true,
        default_dependencies: true,
    };
    let job = bus.start_scope(&scope).await?;
    jobs.wait_for(&bus, &job).await?;
    drop(lock);
    // The app must be in there from its beginning.
    ensure!(
        cgroup::holds_this_process(&slice)?,
        "systemd could not start {name}: see journalctl --unit={name}"
    );
    bus.stop_listening_to_jobs().await?;
    Ok(bus)
}

/// What the holder wakes up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A signal that asks this process to end.
    Signal(i32),
    /// The child has ended.
    Ended(Main),
    /// The child has had its time to end.
    Overdue,
}

struct Holder<'a> {
    pod: &'a PodDir,
    app: &'a AppPlan,
    bus: Bus,
    sender: Sender<Event>,
    events: Receiver<Event>,
    is_stopping: bool,
}

/// How the app and its handlers ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    pre_start: Main,
    app: Main,
    post_stop: Main,
}

impl Ends {
    fn code(self) -> u8 {
        let code = match self.app {
            Main::Never => names::EXIT_ERROR,
            app => app.code().unwrap_or(names::EXIT_ERROR),
        };
        match self.post_stop {
            Main::Never | Main::Exited(0) => code,
            // As a service has no code of its own for it.
            _ if code == 0 => names::EXIT_ERROR,
            _ => code,
        }
    }
}

impl Holder<'_> {
    async fn hold(&mut self) -> u8 {
        let terminal = Terminal::of_caller();
        // A holder that is stopped by itself, a moment before or after its child, cannot tell a
        // stop that is over from one that holds: it would stop once more after the shell's `fg`.
        if terminal.is_some()
            && let Err(error) = signals::outlast_terminal_stops()
        {
            log::debug!("{error:#}");
        }
        let mut ends = Ends::default();
        match self.run_all(terminal.as_ref(), &mut ends).await {
            Ok(()) => self.report(ends).await,
            Err(error) => log::error!("{error:#}"),
        }
        let code = ends.code();
        self.record(ends, code);
        self.end_what_is_left().await;
        if let Err(error) = journal::mark_exit(&self.pod.plan.uuid, code, self.pod.service_unit()) {
            log::debug!("{error:#}");
        }
        code
    }

    async fn run_all(&mut self, terminal: Option<&Terminal>, ends: &mut Ends) -> Result<()> {
        if self.app.pre_start.is_some() {
            ends.pre_start = self.handler(Program::PreStart, terminal).await?;
        }
        let is_prepared = matches!(ends.pre_start, Main::Never | Main::Exited(0));
        if is_prepared && !self.is_stopping {
            ends.app = self.run_app(terminal).await?;
        }
        if self.app.post_stop.is_some() {
            ends.post_stop = self.handler(Program::PostStop, terminal).await?;
        }
        Ok(())
    }

    async fn run_app(&mut self, terminal: Option<&Terminal>) -> Result<Main> {
        let command = self.command(Program::App, std::env::var("TERM").ok())?;
        // There is nothing more to wait for: the app is up as soon as it is executed.
        self.pod.tell_ready();
        notify::notify("READY=1");
        let end = self.wait_for(command, terminal.cloned()).await?;
        if let Some(terminal) = terminal {
            terminal.take_back(matches!(end, Main::Killed(_)));
        }
        Ok(end)
    }

    /// A handler runs as root, and does not read what is meant for the app.
    async fn handler(&mut self, handler: Program, terminal: Option<&Terminal>) -> Result<Main> {
        let mut command = self.command(handler, None)?;
        command.stdin(Stdio::null());
        self.wait_for(command, terminal.cloned()).await
    }

    /// What becomes a program of the app.
    fn command(&self, program: Program, term: Option<String>) -> Result<Command> {
        let stage1 = std::env::current_exe().context("cannot tell the path of stage1-skim")?;
        let name = program.to_possible_value();
        let name = name.context("a program has a name")?;
        let mut command = Command::new(stage1);
        command
            .args([ENTRYPOINT, name.get_name()])
            .current_dir(&self.pod.path)
            .env_clear()
            .envs(environment(self.app, term));
        Ok(command)
    }

    /// Waits for the end of a child, and stops the pod where that is asked for meanwhile.
    async fn wait_for(&mut self, mut command: Command, job: Option<Terminal>) -> Result<Main> {
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot execute {:?}", command.get_program()))?;
        let pid = Pid::from_child(&child);
        let sender = self.sender.clone();
        std::thread::Builder::new()
            .name("child".to_string())
            .spawn(move || {
                let end = wait(pid, job.as_ref());
                // The holder is gone only when the process ends.
                let _ = sender.send_blocking(Event::Ended(end));
            })
            .context("cannot start a thread")?;
        loop {
            match self.next().await? {
                Event::Ended(end) => return Ok(end),
                Event::Signal(signal) if signal == SIGTERM || signal == SIGHUP => {
                    self.stop(pid).await;
                }
                // Of the terminal, which has sent it to the app, too.
                Event::Signal(_) => (),
                Event::Overdue => kill(pid, Signal::KILL),
            }
        }
    }

    async fn next(&self) -> Result<Event> {
        let event = async { Ok(self.events.recv().await?) };
        let overdue = async {
            if !self.is_stopping {
                future::pending::<()>().await;
            }
            timer::sleep(STOP_TIMEOUT).await;
            Ok(Event::Overdue)
        };
        future::or(event, overdue).await
    }

    async fn stop(&mut self, child: Pid) {
        if self.is_stopping {
            return;
        }
        self.is_stopping = true;
        if let Err(error) = self.bus.request_stop(&self.pod.units.scope()).await {
            log::error!("{error:#}");
            kill(child, Signal::TERM);
        }
    }

    /// Processes that the app has left behind end with the scope.
    async fn end_what_is_left(&self) {
        let above = self.bus.control_group().await;
        let slice = self.pod.units.slice();
        match above.and_then(|above| cgroup::processes(&above, &slice)) {
            Ok(processes) if processes.len() <= 1 => return,
            Ok(processes) => log::debug!("left behind: {}", processes.join(", ")),
            Err(error) => log::debug!("{error:#}"),
        }
        if let Err(error) = self.bus.request_stop(&self.pod.units.scope()).await {
            log::error!("{error:#}");
        }
    }

    fn record(&self, ends: Ends, code: u8) {
        let app = ends.app.code().map(|code| (self.app.name.as_str(), code));
        for (name, code) in app.into_iter().chain([(names::POD_STATUS, code)]) {
            if let Err(error) = self.pod.write_status(name, code) {
                log::error!("cannot record how the pod ended: {error:#}");
            }
        }
    }

    /// Whether the pod was asked to stop. systemd sends its signal to one process of the scope
    /// after the other: the app may have ended before this process hears of it.
    async fn is_asked_to_stop(&self) -> bool {
        if self.is_stopping {
            return true;
        }
        let scope = self.pod.units.scope();
        let state = self.bus.unit_state(&scope).await;
        state.is_ok_and(|(active, _)| active == "deactivating")
    }

    /// An exit code of its own is for the app to explain; what it cannot is told.
    async fn report(&self, ends: Ends) {
        let end = |end: Main| match end {
            Main::Never => CommandEnd::default(),
            Main::Exited(code) => CommandEnd::of_exit(code),
            Main::Killed(signal) => CommandEnd::of_signal(signal),
        };
        let detail = ServiceDetail {
            pre_start: vec![end(ends.pre_start)],
            post_stop: vec![end(ends.post_stop)],
            ..ServiceDetail::default()
        };
        let ended = Ended {
            code: ends.app.code(),
            failed: true,
            result: "exit-code".to_string(),
            main: ends.app,
            was_up: true,
        };
        let facts = Facts {
            app: self.app,
            service: "",
            ended: &ended,
            detail: &detail,
            journal: &[],
        };
        let finding = facts
            .suspect()
            .and_then(|suspect| diagnosis::look(self.app, suspect));
        let is_bad = |end: Main| !matches!(end, Main::Never | Main::Exited(0));
        let is_worth_it = match ends.app {
            Main::Exited(0) | Main::Never => is_bad(ends.pre_start) || is_bad(ends.post_stop),
            Main::Exited(_) => finding.is_some(),
            Main::Killed(signal) => !is_of_user(signal) && !self.is_asked_to_stop().await,
        };
        if is_worth_it {
            log::error!("{}", facts.headline(finding.as_ref()));
        }
    }
}

/// Ends that whoever sits at the terminal has caused, and shells do not speak of.
fn is_of_user(signal: u8) -> bool {
    [SIGHUP, SIGINT, SIGPIPE].contains(&i32::from(signal))
}

/// What the app's service would have, and the kind of the caller's terminal. Pure.
fn environment(app: &AppPlan, term: Option<String>) -> Vec<(String, String)> {
    let own = app.environment.iter();
    let mut environment: Vec<_> = own
        .map(|variable| (variable.name.clone(), variable.value.clone()))
        .collect();
    if let Some(term) = term
        && !environment.iter().any(|(name, _)| name == "TERM")
    {
        environment.push(("TERM".to_string(), term));
    }
    environment
}

/// Waits for the end of a child; where it is stopped, so is this process.
fn wait(pid: Pid, job: Option<&Terminal>) -> Main {
    let options = match job {
        Some(_) => WaitOptions::UNTRACED,
        None => WaitOptions::empty(),
    };
    loop {
        match waitpid(Some(pid), options) {
            Ok(Some((_, status))) if status.stopped() => {
                if let Some(terminal) = job {
                    terminal.stop_with(pid);
                }
            }
            Ok(Some((_, status))) => return end_of(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => {
                log::error!("cannot wait for the app: {error}");
                return Main::Exited(exit_codes::EXEC);
            }
        }
    }
}

fn end_of(status: WaitStatus) -> Main {
    let number = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Main::Exited(number(code)),
        (None, signal) => Main::Killed(number(signal.unwrap_or_default())),
    }
}

fn kill(pid: Pid, signal: Signal) {
    if let Err(error) = kill_process(pid, signal) {
        log::debug!("cannot send {signal:?} to the app: {error}");
    }
}

#[cfg(test)]
mod tests;
