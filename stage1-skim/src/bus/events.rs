//! What systemd says of its own accord: signals, as events.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_lite::{StreamExt, future};
use zbus::message::Type;
use zbus::{MatchRule, MessageStream, OwnedObjectPath};

use super::{Bus, SERVICE, UNIT_INTERFACE, object_path};
use crate::timer;

/// After how long without its end a job is asked for, and again.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Something that systemd said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A job has ended: the unit that it was for, and its result (`done`, `failed`,
    /// `dependency`, …).
    JobRemoved {
        /// The job's object path.
        job: String,
        /// The unit's name.
        unit: String,
        /// The job's result.
        result: String,
    },
    /// A property of the unit has changed.
    Changed {
        /// The unit's name.
        unit: String,
    },
    /// systemd was executed anew (`systemctl daemon-reexec`): what it said meanwhile is lost.
    Reexecuted,
    /// The connection is gone, and no event will follow.
    Disconnected,
}

/// What [`Bus::listen`] hears.
pub struct Listener {
    pub(super) stream: MessageStream,
    pub(super) units: Vec<String>,
}

impl Listener {
    /// Waits for the next event. After [`Event::Disconnected`] there is none.
    pub async fn next(&mut self) -> Event {
        while let Some(Ok(message)) = self.stream.next().await {
            if let Some(event) = event_of(&message, &self.units) {
                return event;
            }
        }
        Event::Disconnected
    }

    /// The next event that is here already, if any.
    pub async fn next_at_hand(&mut self) -> Option<Event> {
        future::poll_once(self.next()).await
    }

    /// Waits for the end of a job; its result, `None` where that was not heard: what systemd says
    /// while it is executed anew reaches nobody.
    ///
    /// # Errors
    /// Where the connection breaks off.
    pub async fn wait_for(&mut self, bus: &Bus, job: &OwnedObjectPath) -> Result<Option<String>> {
        let mut look = Instant::now() + LOOK_INTERVAL;
        loop {
            // Not from event to event: on a busy host there is always another one.
            let left = look.saturating_duration_since(Instant::now());
            let pause = async {
                timer::sleep(left).await;
                None
            };
            let event = async { Some(self.next().await) };
            match future::or(pause, event).await {
                Some(Event::JobRemoved {
                    job: ended, result, ..
                }) if ended == job.as_str() => return Ok(Some(result)),
                Some(Event::Disconnected) => bail!("the connection to the bus broke off"),
                Some(_) => (),
                None => {
                    match bus.has_ended(job.as_str()).await {
                        Ok(true) => return Ok(self.result_at_hand(job).await),
                        Ok(false) => (),
                        // As while it is executed anew.
                        Err(error) => log::debug!("{error:#}"),
                    }
                    look = Instant::now() + LOOK_INTERVAL;
                }
            }
        }
    }

    /// The result of a job that has ended, where its end was said before systemd was asked.
    async fn result_at_hand(&mut self, job: &OwnedObjectPath) -> Option<String> {
        loop {
            match self.next_at_hand().await? {
                Event::JobRemoved {
                    job: ended, result, ..
                } if ended == job.as_str() => return Some(result),
                Event::Disconnected => return None,
                _ => (),
            }
        }
    }
}

/// Matches the changes of what a unit of every kind has, its state above all.
pub(super) fn changes(unit: &str) -> zbus::Result<MatchRule<'static>> {
    MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(SERVICE)
        .path(object_path(unit))
        .member("PropertiesChanged")
        .arg(0, UNIT_INTERFACE)
        .build()
}

/// Matches the ends of all jobs.
pub(super) fn ends_of_jobs() -> zbus::Result<MatchRule<'static>> {
    MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(SERVICE)
        .path("/org/freedesktop/systemd1")
        .member("JobRemoved")
        .build()
}

/// Matches systemd's coming back to the bus.
pub(super) fn changes_of_systemd() -> zbus::Result<MatchRule<'static>> {
    MatchRule::builder()
        .msg_type(Type::Signal)
        .sender("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .arg(0, SERVICE)
        .build()
}

fn event_of(message: &zbus::Message, units: &[String]) -> Option<Event> {
    let header = message.header();
    if header.message_type() != Type::Signal {
        return None;
    }
    match header.member()?.as_str() {
        "JobRemoved" => {
            let body = message.body();
            let (_, job, unit, result): (u32, OwnedObjectPath, String, String) =
                body.deserialize().ok()?;
            let job = job.to_string();
            Some(Event::JobRemoved { job, unit, result })
        }
        "NameOwnerChanged" => {
            let body = message.body();
            let (name, _, owner): (String, String, String) = body.deserialize().ok()?;
            (name == SERVICE && !owner.is_empty()).then_some(Event::Reexecuted)
        }
        "PropertiesChanged" => {
            let path = header.path()?.as_str();
            let unit = units.iter().find(|unit| object_path(unit) == path)?;
            Some(Event::Changed { unit: unit.clone() })
        }
        _ => None,
    }
}
