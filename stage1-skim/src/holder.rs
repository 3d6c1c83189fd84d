//! The holder: the process in the pod's scope.
//!
//! It keeps the pod's lock, stops the pod when an app fails, and ends when the last app has
//! ended. Should it be killed, systemd stops the apps, as nothing needs them any more.

mod connection;
mod units;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_channel::{Receiver, Sender};
use futures_lite::future;

use self::connection::connect;
use self::units::Observed;
use crate::bus::{Bus, Event, Listener, ServiceDetail};
use crate::names::{self, EXIT_ERROR};
use crate::output::{Follower, Source};
use crate::pod_dir::PodDir;
use crate::progress::Progress;
use crate::relay::{Relay, Tails};
use crate::scope::Manager;
use crate::summary::{self, Course};
use crate::{journal, logging, notify, report, signals, stdio, timer};

pub use self::units::Units;

/// How long to wait before asking again what could not be learnt.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How the holder stands to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Prints the apps' output until the pod exits.
    Foreground,
    /// Prints `ready` once every app is up, then lets go of the standard streams.
    Detached,
    /// As a service of systemd: what the apps print is in the journal, and so is what the holder
    /// does.
    Service,
}

/// What reaches the holder other than from systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// A signal that asks this process to end.
    Signal(i32),
    /// Nobody reads standard output any more.
    OutputClosed,
}

/// What the holder wakes up for.
enum Step {
    Systemd(Event),
    Local(Local),
    Retry,
}

/// A pod that runs, as its holder sees it.
pub struct Holder<'a> {
    pod: &'a PodDir,
    mode: Mode,
    manager: Manager,
    services: Vec<String>,
    units: Units,
    bus: Bus,
    events: Listener,
    local: Receiver<Local>,
    progress: Progress,
    /// Services whose state is to be asked for again.
    unobserved: BTreeSet<String>,
    follower: Option<Follower>,
    /// What takes the apps' output, where it does not go to the journal by itself.
    pub relay: Option<Relay>,
    /// Whether a job may have ended unheard.
    is_to_check: bool,
    is_announced: bool,
    stop: Stop,
    /// What the service manager was told last, where one listens.
    told: Option<String>,
}

/// How far the stop of the pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    NotAsked,
    /// To be asked for, as soon as systemd listens.
    Wanted,
    Asked,
    /// systemd ends this process while the bus is away: nothing more can be learnt.
    Lost,
}

impl<'a> Holder<'a> {
    /// The holder of a pod whose scope this process is in.
    pub fn new(
        pod: &'a PodDir,
        mode: Mode,
        manager: Manager,
        bus: Bus,
        events: Listener,
        local: Receiver<Local>,
    ) -> Self {
        let is_heard = mode != Mode::Detached && notify::is_wanted();
        Self {
            pod,
            mode,
            manager,
            progress: Progress::new(pod.watched()),
            services: pod.services(),
            units: Units::of(pod),
            bus,
            events,
            local,
            unobserved: BTreeSet::new(),
            follower: None,
            relay: None,
            is_to_check: false,
            is_announced: false,
            stop: Stop::NotAsked,
            told: is_heard.then(String::new),
        }
    }

    /// Makes sure that systemd has a job for each unit that is to start.
    ///
    /// The scope only wants them, so one that systemd cannot start at all, for a setting
    /// that it refuses, gets no job and no event.
    ///
    /// # Errors
    /// Where one has none: systemd's reason. The pod is being stopped then.
    pub async fn check_jobs(&mut self) -> Result<()> {
        let mut idle = Vec::new();
        for unit in self.units.wanted() {
            if self.is_idle(&unit).await? {
                idle.push(unit);
            }
        }
        // A job may be over already. Its end was said before the answers above were given.
        while let Some(event) = self.events.next_at_hand().await {
            self.take_in(event).await;
        }
        for unit in idle {
            if self.progress.is_waiting(&unit)
                && let Err(reason) = self.bus.request_start(&unit).await
            {
                self.stop_pod().await;
                let what = match self.pod.units.app_of(&unit) {
                    Some(app) => format!("the app {app}"),
                    None => unit,
                };
                return Err(reason).with_context(|| format!("systemd cannot start {what}"));
            }
        }
        Ok(())
    }

    /// Whether a unit has not started, and is not going to.
    async fn is_idle(&self, unit: &str) -> Result<bool> {
        if self.units.is_socket(unit) {
            let (active, has_job) = self.bus.unit_state(unit).await?;
            return Ok(active == "inactive" && !has_job);
        }
        let state = self.bus.service_state(unit).await?;
        let never_ran = state.end.as_ref().is_some_and(|end| !end.was_started);
        Ok(never_ran && !state.has_job)
    }

    /// Starts to print the apps' output.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn follow(&mut self, sender: Sender<Local>) -> Result<()> {
        let names = self.pod.plan.apps.iter().map(|app| app.name.len());
        let source = Source {
            services: self.services.clone(),
            prefix: names.max().filter(|_| self.services.len() > 1),
        };
        let follower = Follower::start(source, move || {
            // The holder is gone only when the process ends.
            let _ = sender.send_blocking(Local::OutputClosed);
        })?;
        self.follower = Some(follower);
        Ok(())
    }

    /// Waits for the end of the last app, records the exit codes, lets the rest of the output
    /// out, and returns the pod's exit code.
    pub async fn hold_to_the_end(&mut self) -> u8 {
        let code = match self.hold().await {
            Ok(()) => self.progress.code(),
            Err(error) => {
                log::error!("{error:#}");
                EXIT_ERROR
            }
        };
        self.record(code);
        let detail = self.failure_detail().await;
        for unit in self.units.watched() {
            // At the end of the connection systemd drops the reference itself, only later.
            if let Err(error) = self.bus.release(&unit).await {
                log::debug!("{error:#}");
            }
        }
        let output = self.finish_output();
        let unit = self.pod.service_unit();
        if let Err(error) = journal::mark_exit(&self.pod.plan.uuid, code, unit) {
            log::debug!("{error:#}");
        }
        if let Some((service, ended)) = self.progress.failure() {
            let is_output_shown = self.mode != Mode::Detached;
            report::report(self.pod, service, ended, &detail, is_output_shown, output);
        }
        code
    }

    async fn hold(&mut self) -> Result<()> {
        loop {
            if self.progress.has_failed() || self.stop == Stop::Wanted {
                self.stop_pod().await;
            }
            if self.is_to_check && self.unobserved.is_empty() {
                self.check_again().await;
            }
            if self.progress.is_ready() && !self.is_announced {
                self.announce().await;
            }
            self.tell();
            if self.progress.all_ended() {
                return Ok(());
            }
            match self.next().await? {
                Step::Systemd(event) => self.take_in(event).await,
                Step::Local(Local::Signal(signal)) => self.signalled(signal).await,
                Step::Local(Local::OutputClosed) => self.stop_pod().await,
                Step::Retry => self.observe_again().await,
            }
            if self.stop == Stop::Lost {
                bail!("systemd ended the pod while the bus was away");
            }
        }
    }

    /// After a time in which nobody heard systemd: a unit whose job has ended then, and has not
    /// started it, is given another one.
    async fn check_again(&mut self) {
        self.is_to_check = false;
        if self.stop == Stop::NotAsked
            && !self.is_announced
            && let Err(error) = self.check_jobs().await
        {
            log::error!("{error:#}");
        }
    }

    async fn next(&mut self) -> Result<Step> {
        let retry = !self.unobserved.is_empty() || self.stop == Stop::Wanted;
        let systemd = async { Ok(Step::Systemd(self.events.next().await)) };
        let local = async { Ok(Step::Local(self.local.recv().await?)) };
        let retry = async {
            if !retry {
                future::pending::<()>().await;
            }
            timer::sleep(RETRY_INTERVAL).await;
            Ok(Step::Retry)
        };
        future::or(systemd, future::or(local, retry)).await
    }

    async fn take_in(&mut self, event: Event) {
        match event {
            Event::JobRemoved { unit, result, .. } => {
                if self.pod.units.owns(&unit) && self.units.watched().contains(&unit) {
                    self.progress.job_removed(&unit, &result);
                    self.observe(unit).await;
                }
            }
            Event::Changed { unit } => self.observe(unit).await,
            Event::Reexecuted => {
                log::debug!("systemd was executed anew");
                self.unobserved.extend(self.units.watched());
                self.is_to_check = true;
                self.observe_again().await;
            }
            Event::Disconnected => self.reconnect().await,
        }
    }

    async fn observe(&mut self, unit: String) {
        match Observed::of(&self.bus, &self.units, &unit).await {
            Ok(observed) => {
                self.unobserved.remove(&unit);
                observed.take_in(&mut self.progress, &unit);
            }
            Err(error) => {
                log::debug!("{error:#}");
                self.unobserved.insert(unit);
            }
        }
    }

    async fn observe_again(&mut self) {
        if let Err(error) = self.bus.subscribe().await {
            log::debug!("{error:#}");
            return;
        }
        for unit in self.unobserved.clone() {
            if let Err(error) = self.bus.reference(&unit).await {
                log::debug!("{error:#}");
            }
            self.observe(unit).await;
        }
    }

    /// The first signal stops the pod as `skim stop` does, a second one kills it. A second
    /// `SIGTERM` is systemd's, which ends the scope as the apps have ended.
    async fn signalled(&mut self, signal: i32) {
        if self.stop != Stop::Asked {
            self.stop_pod().await;
            return;
        }
        if signal != signals::TERMINATE {
            for service in &self.services {
                if let Err(error) = self.bus.kill(service, signals::KILL).await {
                    log::error!("{error:#}");
                }
            }
        }
    }

    async fn stop_pod(&mut self) {
        if self.stop == Stop::Asked {
            return;
        }
        if self.stop == Stop::NotAsked && self.told.is_some() {
            notify::notify("STOPPING=1");
        }
        self.stop = match self.bus.request_stop(&self.pod.units.scope()).await {
            Ok(_) => Stop::Asked,
            Err(error) => {
                log::error!("{error:#}; trying again");
                Stop::Wanted
            }
        };
    }

    async fn announce(&mut self) {
        self.is_announced = true;
        // Connections start jobs for as long as the pod runs.
        if self.units.sockets().next().is_none()
            && let Err(error) = self.bus.stop_listening_to_jobs().await
        {
            log::debug!("{error:#}");
        }
        log::debug!("pod {} is up", self.pod.plan.uuid);
        self.pod.tell_ready();
        if self.told.is_some() {
            notify::notify("READY=1");
        }
        if self.mode == Mode::Detached {
            let told = stdio::tell("ready\n");
            let released = stdio::release();
            logging::detach();
            match told.and_then(|is_heard| released.map(|()| is_heard)) {
                Ok(true) => (),
                // Nobody would learn of the pod.
                Ok(false) => self.stop_pod().await,
                Err(error) => log::warn!("{error:#}"),
            }
        }
    }

    /// The pod lives on while the bus is away; what happened meanwhile is read anew.
    async fn reconnect(&mut self) {
        log::warn!(
            "the connection to the {} broke off; connecting again",
            self.manager.bus_name()
        );
        while self.stop != Stop::Lost {
            let local = async { self.local.recv().await.ok() };
            let pause = async {
                timer::sleep(RETRY_INTERVAL).await;
                None
            };
            match future::or(local, pause).await {
                Some(Local::Signal(signals::TERMINATE)) => self.stop = Stop::Lost,
                Some(_) => self.stop = Stop::Wanted,
                None => match connect(&self.manager, &self.units).await {
                    Ok((bus, events, states)) => {
                        (self.bus, self.events) = (bus, events);
                        for (unit, observed) in states {
                            observed.take_in(&mut self.progress, &unit);
                        }
                        self.is_to_check = true;
                        return;
                    }
                    Err(error) => log::debug!("{error:#}"),
                },
            }
        }
    }

    /// Tells the service manager what has changed.
    fn tell(&mut self) {
        let Some(told) = &mut self.told else {
            return;
        };
        let units = &self.pod.units;
        let name = |service| units.app_of(service).unwrap_or_default();
        let states = self.progress.states();
        let failure = self.progress.failure();
        let course = match self.stop == Stop::NotAsked && !self.progress.all_ended() {
            true => Course::On,
            false => Course::Down,
        };
        let line = summary::line(
            states.map(|(service, state)| (name(service), state)),
            failure.map(|(service, ended)| (name(service), ended)),
            course,
        );
        if line != *told {
            notify::notify(&format!("STATUS={line}"));
            *told = line;
        }
    }

    fn record(&self, code: u8) {
        let apps = self.progress.codes().filter_map(|(unit, code)| {
            let app = self.pod.units.app_of(unit)?;
            Some((app, code))
        });
        for (name, code) in apps.chain([(names::POD_STATUS, code)]) {
            if let Err(error) = self.pod.write_status(name, code) {
                log::error!("cannot record how the pod ended: {error:#}");
            }
        }
    }

    /// Lets the rest of the output out; returns the last of it where a relay took it.
    fn finish_output(&mut self) -> Option<Tails> {
        // What is left may go to a terminal that is stopped: Ctrl-C must end it. SIGTERM comes
        // from systemd at every stop of the pod and must not.
        let local = self.local.clone();
        let watch = std::thread::Builder::new().spawn(move || {
            while let Ok(event) = local.recv_blocking() {
                if let Local::Signal(signal) = event
                    && signal != signals::TERMINATE
                {
                    std::process::exit(128 + signal);
                }
            }
        });
        if let Err(error) = watch {
            log::debug!("{error:#}");
        }
        if let Some(follower) = self.follower.take()
            && let Err(error) = follower.finish()
        {
            log::warn!("the end of the apps' output may be missing: {error:#}; see skim logs");
        }
        self.relay.take().map(Relay::finish)
    }

    /// What only systemd knows of the failure, before it forgets the unit.
    async fn failure_detail(&self) -> ServiceDetail {
        let Some((service, _)) = self.progress.failure() else {
            return ServiceDetail::default();
        };
        let sockets = self.units.sockets_of(service);
        let detail = async {
            Ok::<_, anyhow::Error>(ServiceDetail {
                failed_socket: self.bus.failed_socket(&sockets).await?,
                ..self.bus.service_detail(service).await?
            })
        };
        detail.await.unwrap_or_else(|error| {
            log::debug!("{error:#}");
            ServiceDetail::default()
        })
    }
}
