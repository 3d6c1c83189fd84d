//! The entrypoint `run`: starts a pod and stays as its holder.
//!
//! The holder is the one process in the pod's scope. It keeps the pod's lock, stops the pod when
//! an app fails, and ends when the last app has ended. Should it be killed, systemd stops the
//! apps, as they are bound to the scope.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_channel::{Receiver, Sender};
use futures_lite::future;

use crate::bus::{Bus, Event, Listener, Scope};
use crate::names;
use crate::output::{Follower, Source};
use crate::pod_dir::PodDir;
use crate::progress::Progress;
use crate::write::UnitDirectory;
use crate::{journal, logging, signals, systemd, units};

/// How long to wait between attempts to reach a bus that went away.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// How the holder stands to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Prints the apps' output until the pod exits.
    Foreground,
    /// Prints `ready` once every app is up, then lets go of the standard streams.
    Detached,
}

/// What reaches the holder other than from systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Local {
    /// A signal that asks this process to end.
    Signal(i32),
    /// Nobody reads standard output any more.
    OutputClosed,
}

/// Starts the pod, holds it until all its apps have ended, and returns the pod's exit code.
///
/// # Errors
/// Where the pod could not be started: then nothing of it runs.
pub fn run(pod: &PodDir, mode: Mode) -> Result<u8> {
    ensure!(
        systemd::booted(),
        "systemd is not PID 1 of this host, and skim runs apps as its services"
    );
    let (sender, local) = async_channel::unbounded();
    let signal_sender = sender.clone();
    signals::watch(move |signal| {
        let _ = signal_sender.send_blocking(Local::Signal(signal));
    })?;
    pod.write(names::PID_FILE, &format!("{}\n", std::process::id()))?;
    let code = zbus::block_on(async {
        let mut holder = Holder::start(pod, mode, &sender, local).await?;
        let code = holder.hold().await?;
        holder.finish(code).await?;
        Ok::<_, anyhow::Error>(code)
    })?;
    Ok(code)
}

struct Holder<'a> {
    pod: &'a PodDir,
    mode: Mode,
    services: Vec<String>,
    bus: Bus,
    events: Listener,
    local: Receiver<Local>,
    progress: Progress,
    follower: Option<Follower>,
    is_announced: bool,
    is_stopping: bool,
}

impl<'a> Holder<'a> {
    async fn start(
        pod: &'a PodDir,
        mode: Mode,
        sender: &Sender<Local>,
        local: Receiver<Local>,
    ) -> Result<Self> {
        let services = pod.services();
        let stage1 =
            std::env::current_exe().context("cannot tell the path of stage1-skim itself")?;
        let files = units::units(&pod.plan, &stage1)?;
        let directory = UnitDirectory::open()?;
        let bus = Bus::connect().await?;
        let events = bus.listen(&services).await?;
        directory.lock_shared()?;
        directory.write_root_slice()?;
        directory.write(&files)?;
        for service in &services {
            bus.reference(service).await?;
        }
        let (name, slice) = (pod.units.scope(), pod.units.slice());
        let scope = Scope {
            name: &name,
            description: &format!("skim pod {}", pod.plan.uuid),
            slice: &slice,
            pid: std::process::id(),
            wants: &services,
        };
        bus.start_scope(&scope).await?;
        drop(directory);
        let mut holder = Self {
            pod,
            mode,
            progress: Progress::new(&services),
            services,
            bus,
            events,
            local,
            follower: None,
            is_announced: false,
            is_stopping: false,
        };
        if mode == Mode::Foreground {
            holder.follower = Some(holder.follow(sender.clone())?);
        }
        holder.check_jobs().await?;
        Ok(holder)
    }

    fn follow(&self, sender: Sender<Local>) -> Result<Follower> {
        let names = self.pod.plan.apps.iter().map(|app| app.name.len());
        let source = Source {
            services: self.services.clone(),
            prefix: names.max().filter(|_| self.services.len() > 1),
        };
        Follower::start(source, move || {
            // The holder is gone only when the process ends.
            let _ = sender.send_blocking(Local::OutputClosed);
        })
    }

    /// The scope only wants the services, so one that systemd cannot start at all, for a setting
    /// that it refuses, gets no job and no event: ask for it by name to learn why.
    async fn check_jobs(&mut self) -> Result<()> {
        for service in self.services.clone() {
            let state = self.bus.service_state(&service).await?;
            self.progress.observe(&service, &state);
            let never_ran = state.end.is_some_and(|end| !end.was_started);
            if never_ran && !state.has_job {
                let reason = self.bus.request_start(&service).await;
                if let Err(reason) = reason {
                    self.request_stop().await?;
                    return Err(reason).with_context(|| {
                        let app = self.pod.units.app_of(&service).unwrap_or(&service);
                        format!("systemd cannot start the app {app}")
                    });
                }
            }
        }
        Ok(())
    }

    /// Waits for the end of the last app; returns the pod's exit code.
    async fn hold(&mut self) -> Result<u8> {
        while !self.progress.all_ended() {
            let local = self.local.clone();
            let event = future::or(async { Ok(self.events.next().await) }, async {
                Err(local.recv().await)
            })
            .await;
            match event {
                Ok(event) => self.take_in(event).await?,
                Err(Ok(Local::Signal(signal))) => self.signalled(signal).await?,
                Err(Ok(Local::OutputClosed)) => self.request_stop().await?,
                Err(Err(_)) => bail!("the watch for signals ended"),
            }
            if self.progress.has_failed() {
                self.request_stop().await?;
            }
            if self.progress.is_ready() && !self.is_announced {
                self.announce().await?;
            }
        }
        Ok(self.progress.code())
    }

    async fn take_in(&mut self, event: Event) -> Result<()> {
        match event {
            Event::JobRemoved { unit, result } if self.services.contains(&unit) => {
                self.progress.job_removed(&unit, &result);
                self.observe(&unit).await
            }
            Event::Changed { unit } => self.observe(&unit).await,
            Event::Disconnected => self.reconnect().await,
            _ => Ok(()),
        }
    }

    async fn observe(&mut self, unit: &str) -> Result<()> {
        match self.bus.service_state(unit).await {
            Ok(state) => {
                self.progress.observe(unit, &state);
                Ok(())
            }
            // The end of the connection comes as an event, too, and is dealt with there.
            Err(error) => {
                log::debug!("{error:#}");
                Ok(())
            }
        }
    }

    /// The first signal stops the pod as `skim stop` does, a second one kills it.
    async fn signalled(&mut self, signal: i32) -> Result<()> {
        if self.is_stopping && signal != signals::TERMINATE {
            for service in &self.services {
                self.bus.kill(service, signals::KILL).await?;
            }
            return Ok(());
        }
        self.request_stop().await
    }

    async fn request_stop(&mut self) -> Result<()> {
        if !self.is_stopping {
            self.is_stopping = true;
            self.bus.request_stop(&self.pod.units.scope()).await?;
        }
        Ok(())
    }

    async fn announce(&mut self) -> Result<()> {
        self.is_announced = true;
        self.bus.stop_listening_to_jobs().await?;
        log::debug!("pod {} is up", self.pod.plan.uuid);
        if self.mode == Mode::Detached {
            println!("ready");
            crate::stdio::release()?;
            logging::detach();
        }
        Ok(())
    }

    /// The pod lives on while the bus is away; what happened meanwhile is read anew.
    async fn reconnect(&mut self) -> Result<()> {
        log::warn!("the connection to the system bus broke off; connecting again");
        loop {
            std::thread::sleep(RECONNECT_INTERVAL);
            match self.connect_again().await {
                Ok(()) => return Ok(()),
                Err(error) => log::debug!("{error:#}"),
            }
        }
    }

    async fn connect_again(&mut self) -> Result<()> {
        let bus = Bus::connect().await?;
        let events = bus.listen(&self.services).await?;
        for service in &self.services {
            bus.reference(service).await?;
            let state = bus.service_state(service).await?;
            self.progress.observe(service, &state);
        }
        (self.bus, self.events) = (bus, events);
        Ok(())
    }

    /// Records the exit codes, says what failed, and lets the rest of the output out.
    async fn finish(&mut self, code: u8) -> Result<()> {
        for (unit, code) in self.progress.codes() {
            if let Some(app) = self.pod.units.app_of(unit) {
                self.pod.write_status(app, code)?;
            }
        }
        self.pod.write_status(names::POD_STATUS, code)?;
        for service in &self.services {
            // At the end of the connection systemd drops the reference itself, only later.
            if let Err(error) = self.bus.release(service).await {
                log::debug!("{error:#}");
            }
        }
        if let Some(follower) = self.follower.take()
            && let Err(error) = follower.finish()
        {
            log::warn!("the end of the apps' output may be missing: {error:#}; see skim logs");
        }
        if let Err(error) = journal::mark_exit(&self.pod.plan.uuid, code) {
            log::debug!("{error:#}");
        }
        self.report_failure();
        Ok(())
    }

    fn report_failure(&self) {
        let Some((unit, ended)) = self.progress.first_failure() else {
            return;
        };
        let app = self.pod.units.app_of(unit).unwrap_or(unit);
        let code = match ended.code {
            Some(code) => format!(", code {code}"),
            None => String::new(),
        };
        log::error!(
            "app {app} failed ({}{code}): see skim logs {} {app}",
            ended.result,
            self.pod.plan.uuid
        );
    }
}
