//! A service that is restarted, and watched while it comes up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_lite::{StreamExt, future};
use zbus::fdo::DBusProxy;
use zbus::message::Type;
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant};

use super::{Bus, SERVICE, SERVICE_INTERFACE, UNIT_INTERFACE};
use crate::scope::Manager;
use crate::timer;

const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// What systemd says where a job would take the place of another one.
const DESTRUCTIVE: &str = "org.freedesktop.systemd1.TransactionIsDestructive";

/// A service, as it is at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRun {
    /// `ActiveState`.
    pub active: String,
    /// Whether its `ExecStartPost=` runs: it has started, and is not yet active (`SubState`).
    pub is_in_post: bool,
    /// `InvocationID`: another one for each run.
    pub invocation: Vec<u8>,
    /// `NRestarts`.
    pub restarts: u32,
    /// `ExecMainStartTimestampMonotonic`, in microseconds.
    pub started: u64,
    /// `Result`.
    pub result: String,
    /// `ExecMainCode`, as si_code of waitid(2); 0 where the main process has not ended.
    pub code: i32,
    /// `ExecMainStatus`: the exit code or the signal.
    pub status: i32,
}

/// Whether a service that does not run is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// No (`systemctl try-restart`).
    IfItRuns,
    /// Yes (`systemctl restart`).
    Always,
}

/// A service that is watched.
pub struct Watch {
    bus: Bus,
    stream: MessageStream,
    unit: String,
    /// The job of the last restart, and its result.
    job: Option<(String, Option<String>)>,
    is_stopped: bool,
}

impl Watch {
    /// Begins to watch the service `unit`.
    ///
    /// # Errors
    /// Where the bus or systemd refuses.
    pub fn new(unit: &str) -> Result<Self> {
        zbus::block_on(async {
            let bus = Bus::connect(&Manager::System).await?;
            let stream = MessageStream::from(&bus.connection);
            let dbus = DBusProxy::new(&bus.connection).await?;
            for member in ["JobNew", "JobRemoved"] {
                dbus.add_match_rule(signals(member)?).await?;
            }
            bus.subscribe().await?;
            // Else systemd forgets it when it is down, and how it ended.
            bus.reference(unit).await?;
            Ok(Self {
                bus,
                stream,
                unit: unit.to_owned(),
                job: None,
                is_stopped: false,
            })
        })
    }

    /// Connects anew, after an error. What is known of the restart's job and of a stop stays;
    /// where the job has ended unseen its result is told from the service.
    ///
    /// # Errors
    /// As [`Watch::new`], and where systemd does not answer.
    pub fn renew(&mut self) -> Result<()> {
        let mut new = Self::new(&self.unit)?;
        new.is_stopped = self.is_stopped;
        new.job.clone_from(&self.job);
        if let Some((job, None)) = &self.job
            && zbus::block_on(new.bus.has_ended(job))?
        {
            let result = unseen_result(&new.see()?.active);
            new.job = Some((job.clone(), Some(result.to_owned())));
        }
        *self = new;
        Ok(())
    }

    /// Asks systemd to restart the service, from now on the one job that is this process's own.
    /// False where somebody has asked for something else just now: that holds. Earlier starts do
    /// not count against this one: else systemd may refuse it as one too many.
    ///
    /// # Errors
    /// Where systemd refuses.
    pub fn restart(&mut self, how: Restart) -> Result<bool> {
        let method = match how {
            Restart::IfItRuns => "TryRestartUnit",
            Restart::Always => "RestartUnit",
        };
        if let Err(error) = self.reset_failed() {
            log::debug!("{error:#}");
        }
        let arguments = &(self.unit.as_str(), "fail");
        let call = self.bus.connection.call_method(
            Some(SERVICE),
            MANAGER_PATH,
            Some(MANAGER_INTERFACE),
            method,
            arguments,
        );
        let reply = match zbus::block_on(call) {
            // It may be another unit's job, of one that this one wants: that passes.
            Err(zbus::Error::MethodError(name, ..))
                if name.as_str() == DESTRUCTIVE && self.is_to_stop()? =>
            {
                return Ok(false);
            }
            reply => reply.with_context(|| format!("systemd refuses to restart {}", self.unit))?,
        };
        let job: OwnedObjectPath = reply.body().deserialize()?;
        self.job = Some((job.to_string(), None));
        Ok(true)
    }

    /// Whether a job of the service's own stops it, or the host goes down.
    fn is_to_stop(&self) -> Result<bool> {
        zbus::block_on(async {
            let job = self.bus.property(&self.unit, UNIT_INTERFACE, "Job").await?;
            let (number, path): (u32, OwnedObjectPath) = job;
            let is_stop = number != 0 && self.is_stop(path.as_str()).await?;
            Ok(is_stop || self.bus.is_host_stopping().await?)
        })
    }

    /// Forgets that the service has failed, and how often it was started.
    fn reset_failed(&self) -> Result<()> {
        let reset = zbus::block_on(self.bus.manager.reset_failed_unit(&self.unit));
        super::found(reset).with_context(|| format!("systemd refuses to reset {}", self.unit))?;
        Ok(())
    }

    /// Lets `time` pass, and takes in what systemd says meanwhile.
    ///
    /// # Errors
    /// Where the connection breaks off.
    pub fn pass(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        zbus::block_on(async {
            loop {
                let left = until.saturating_duration_since(Instant::now());
                let message = async { Some(self.stream.next().await) };
                let pause = async {
                    timer::sleep(left).await;
                    None
                };
                match future::or(message, pause).await {
                    None => return Ok(()),
                    Some(message) => {
                        let message = message.context("the system bus is gone")?;
                        let message = message.context("the system bus broke off")?;
                        self.take_in(&message).await?;
                    }
                }
            }
        })
    }

    /// The result of the last restart's job; `None` while it runs.
    pub fn job_result(&self) -> Option<&str> {
        self.job.as_ref()?.1.as_deref()
    }

    /// Whether somebody else has asked systemd to stop the service.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// The service as it is now.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub fn see(&self) -> Result<ServiceRun> {
        self.see_other(&self.unit)
    }

    /// Another service as it is now.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub fn see_other(&self, unit: &str) -> Result<ServiceRun> {
        let bus = &self.bus;
        zbus::block_on(async {
            Ok(ServiceRun {
                active: bus.property(unit, UNIT_INTERFACE, "ActiveState").await?,
                is_in_post: bus
                    .property::<String>(unit, UNIT_INTERFACE, "SubState")
                    .await?
                    == "start-post",
                invocation: bus.property(unit, UNIT_INTERFACE, "InvocationID").await?,
                restarts: bus.property(unit, SERVICE_INTERFACE, "NRestarts").await?,
                started: bus
                    .property(unit, SERVICE_INTERFACE, "ExecMainStartTimestampMonotonic")
                    .await?,
                result: bus.property(unit, SERVICE_INTERFACE, "Result").await?,
                code: bus
                    .property(unit, SERVICE_INTERFACE, "ExecMainCode")
                    .await?,
                status: bus
                    .property(unit, SERVICE_INTERFACE, "ExecMainStatus")
                    .await?,
            })
        })
    }

    async fn take_in(&mut self, message: &Message) -> Result<()> {
        let Some((job, unit, result)) = job_of(message) else {
            return Ok(());
        };
        if unit != self.unit {
            return Ok(());
        }
        let is_own = self.job.as_ref().is_some_and(|(own, _)| *own == job);
        match result {
            Some(result) if is_own => self.job = Some((job, Some(result))),
            None if !is_own => self.is_stopped |= self.is_stop(&job).await?,
            _ => (),
        }
        Ok(())
    }

    /// Whether somebody's job stops the service. One that is over at once started nothing: that
    /// takes its time.
    async fn is_stop(&self, job: &str) -> Result<bool> {
        match self.bus.job_type(job).await {
            Ok(reply) => {
                let kind: OwnedVariant = reply.body().deserialize()?;
                Ok(String::try_from(kind)? == "stop")
            }
            Err(zbus::Error::MethodError(..)) => {
                let active = self.bus.property(&self.unit, UNIT_INTERFACE, "ActiveState");
                let active: String = active.await?;
                // A start that systemd refuses is over at once, too, and leaves it failed.
                Ok(matches!(active.as_str(), "inactive" | "deactivating"))
            }
            Err(error) => Err(error).context("cannot read the type of a job"),
        }
    }
}

/// The result of a restart's job that has ended unseen, from the service's `ActiveState`.
fn unseen_result(active: &str) -> &'static str {
    match active {
        "active" | "reloading" | "refreshing" => "done",
        // A service that did not start is failed, or is started again.
        "inactive" | "deactivating" => "canceled",
        _ => "failed",
    }
}

fn signals(member: &'static str) -> zbus::Result<MatchRule<'static>> {
    MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(SERVICE)
        .path(MANAGER_PATH)
        .member(member)
        .build()
}

/// The job's path, its unit, and its result where it has ended.
fn job_of(message: &Message) -> Option<(String, String, Option<String>)> {
    let header = message.header();
    if header.message_type() != Type::Signal {
        return None;
    }
    let body = message.body();
    match header.member()?.as_str() {
        "JobNew" => {
            let (_, job, unit): (u32, OwnedObjectPath, String) = body.deserialize().ok()?;
            Some((job.to_string(), unit, None))
        }
        "JobRemoved" => {
            let (_, job, unit, result): (u32, OwnedObjectPath, String, String) =
                body.deserialize().ok()?;
            Some((job.to_string(), unit, Some(result)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_unseen_is_told_from_the_service() {
        for (active, result) in [
            ("active", "done"),
            ("reloading", "done"),
            ("inactive", "canceled"),
            ("deactivating", "canceled"),
            ("activating", "failed"),
            ("failed", "failed"),
        ] {
            assert_eq!(unseen_result(active), result, "{active}");
        }
    }
}
