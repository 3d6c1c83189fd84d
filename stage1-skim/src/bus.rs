//! systemd's D-Bus interface (org.freedesktop.systemd1(5)): the one module that speaks D-Bus.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_lite::{StreamExt, future};
use zbus::fdo::DBusProxy;
use zbus::message::Type;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

use crate::systemd::Systemd;

/// How long systemd may take to answer a call. Jobs are not calls: they have the units' own
/// time limits. A daemon-reload answers when it is done, and runs generators before.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);

/// How many messages may wait to be read. While a call waits for its answer nobody reads events,
/// and a full queue would hold up the answer.
const QUEUE: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

const SERVICE: &str = "org.freedesktop.systemd1";
const ALREADY_SUBSCRIBED: &str = "org.freedesktop.systemd1.AlreadySubscribed";
const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";
const SERVICE_INTERFACE: &str = "org.freedesktop.systemd1.Service";

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Variant<'_>)],
        aux: &[(&str, &[(&str, Variant<'_>)])],
    ) -> zbus::Result<OwnedObjectPath>;
}

/// Something that systemd said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A job has ended: the unit that it was for, and its result (`done`, `failed`,
    /// `dependency`, …).
    JobRemoved {
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
    /// The unit is not loaded any more.
    UnitRemoved {
        /// The unit's name.
        unit: String,
    },
    /// The connection is gone, and no event will follow.
    Disconnected,
}

/// What systemd knows of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// `ActiveState`: active, reloading, inactive, failed, activating, deactivating.
    pub active: String,
    /// Whether a job for the unit is queued or runs.
    pub has_job: bool,
    /// How it ended, where it is inactive or has failed.
    pub end: Option<ServiceEnd>,
}

/// How a service ended last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceEnd {
    /// `Result`: success, exit-code, signal, timeout, …
    pub result: String,
    /// Whether a main process was ever started.
    pub was_started: bool,
    /// `ExecMainCode`: how the main process ended (`CLD_EXITED` and its like), 0 if it has not.
    pub code: i32,
    /// `ExecMainStatus`: its exit code, or the signal that ended it.
    pub status: i32,
}

/// A connection to systemd.
pub struct Bus {
    connection: Connection,
    manager: ManagerProxy<'static>,
}

impl Bus {
    /// Connects to the system bus.
    ///
    /// # Errors
    /// Where there is no bus.
    pub async fn connect() -> Result<Self> {
        let connection = zbus::connection::Builder::system()
            .method_timeout(CALL_TIMEOUT)
            .max_queued(QUEUE)
            .build()
            .await
            .context("cannot connect to the system bus: is dbus running?")?;
        let manager = ManagerProxy::new(&connection).await?;
        Ok(Self {
            connection,
            manager,
        })
    }

    /// Starts to listen to the ends of jobs, the unloading of units, and changes of the units
    /// named.
    ///
    /// # Errors
    /// Where the bus or systemd refuses.
    pub async fn listen(&self, units: &[String]) -> Result<Listener> {
        let stream = MessageStream::from(&self.connection);
        let dbus = DBusProxy::new(&self.connection).await?;
        for rule in manager_rules()? {
            dbus.add_match_rule(rule).await?;
        }
        for unit in units {
            dbus.add_match_rule(changes(unit)?).await?;
        }
        match self.manager.subscribe().await {
            Err(zbus::Error::MethodError(name, ..)) if name.as_str() == ALREADY_SUBSCRIBED => (),
            subscribed => subscribed?,
        }
        Ok(Listener {
            stream,
            units: units.to_vec(),
        })
    }

    /// Stops listening to the ends of jobs and the unloading of units, which on a busy host are
    /// many.
    ///
    /// # Errors
    /// Where the bus refuses.
    pub async fn stop_listening_to_jobs(&self) -> Result<()> {
        let dbus = DBusProxy::new(&self.connection).await?;
        for rule in manager_rules()? {
            dbus.remove_match_rule(rule).await?;
        }
        Ok(())
    }

    /// Loads a unit, and keeps systemd from unloading it while this connection lasts.
    ///
    /// # Errors
    /// Where systemd refuses.
    pub async fn reference(&self, unit: &str) -> Result<()> {
        self.call(unit, UNIT_INTERFACE, "Ref").await
    }

    /// Takes back [`Bus::reference`].
    ///
    /// # Errors
    /// Where systemd refuses.
    pub async fn release(&self, unit: &str) -> Result<()> {
        self.call(unit, UNIT_INTERFACE, "Unref").await
    }

    /// Starts a transient scope for the process `pid` and, in the same transaction, the units
    /// in `wants`.
    ///
    /// # Errors
    /// Where systemd refuses.
    pub async fn start_scope(&self, scope: &Scope<'_>) -> Result<()> {
        let properties = [
            ("Description", Variant::from(scope.description)),
            ("Slice", Variant::from(scope.slice)),
            ("PIDs", Variant::from(vec![scope.pid])),
            ("Wants", Variant::from(scope.wants.to_vec())),
            ("PropagatesStopTo", Variant::from(scope.wants.to_vec())),
            ("CollectMode", Variant::from("inactive-or-failed")),
        ];
        // "replace", as the slice above all pods may have a stop job queued: the pod before this
        // one may have been the last in it.
        self.manager
            .start_transient_unit(scope.name, "replace", &properties, &[])
            .await
            .with_context(|| format!("systemd refuses to start {}", scope.name))?;
        Ok(())
    }

    /// Queues a stop job for a unit, and does not wait for it. A unit that is not loaded is
    /// stopped already.
    ///
    /// # Errors
    /// Where systemd refuses. `Ok(false)`: there was nothing to stop.
    pub async fn request_stop(&self, unit: &str) -> Result<bool> {
        found(self.manager.stop_unit(unit, "replace").await)
            .map(|job| job.is_some())
            .with_context(|| format!("systemd refuses to stop {unit}"))
    }

    /// Queues a start job for a unit, for the sake of systemd's reason why it cannot.
    ///
    /// # Errors
    /// systemd's reason.
    pub async fn request_start(&self, unit: &str) -> Result<()> {
        self.manager.start_unit(unit, "replace").await?;
        Ok(())
    }

    /// Sends `signal` to all processes of a unit. A unit that is not loaded has none.
    ///
    /// # Errors
    /// Where systemd refuses.
    pub async fn kill(&self, unit: &str, signal: i32) -> Result<()> {
        found(self.manager.kill_unit(unit, "all", signal).await)
            .with_context(|| format!("systemd refuses to kill {unit}"))?;
        Ok(())
    }

    /// What systemd knows of a service.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn service_state(&self, unit: &str) -> Result<ServiceState> {
        let job = self.property::<(u32, OwnedObjectPath)>(unit, UNIT_INTERFACE, "Job");
        let active = self.property::<String>(unit, UNIT_INTERFACE, "ActiveState");
        // Both calls are on their way before the first answer is.
        let (job, active) = future::try_zip(job, active).await?;
        let end = match active.as_str() {
            "inactive" | "failed" => Some(self.service_end(unit).await?),
            _ => None,
        };
        Ok(ServiceState {
            active,
            has_job: job.0 != 0,
            end,
        })
    }

    async fn service_end(&self, unit: &str) -> Result<ServiceEnd> {
        let number = |name| self.property::<i32>(unit, SERVICE_INTERFACE, name);
        let result = self.property::<String>(unit, SERVICE_INTERFACE, "Result");
        let pid = self.property::<u32>(unit, SERVICE_INTERFACE, "ExecMainPID");
        let main = future::try_zip(number("ExecMainCode"), number("ExecMainStatus"));
        let ((result, pid), (code, status)) =
            future::try_zip(future::try_zip(result, pid), main).await?;
        Ok(ServiceEnd {
            result,
            was_started: pid != 0,
            code,
            status,
        })
    }

    async fn property<T>(&self, unit: &str, interface: &str, name: &str) -> Result<T>
    where
        T: TryFrom<OwnedVariant>,
        T::Error: std::error::Error + Send + Sync + 'static,
    {
        let reply = self
            .connection
            .call_method(
                Some(SERVICE),
                object_path(unit),
                Some("org.freedesktop.DBus.Properties"),
                "Get",
                &(interface, name),
            )
            .await
            .with_context(|| format!("cannot read {name} of {unit}"))?;
        let value: OwnedVariant = reply.body().deserialize()?;
        T::try_from(value).with_context(|| format!("{name} of {unit} has an odd type"))
    }

    async fn call(&self, unit: &str, interface: &str, method: &str) -> Result<()> {
        self.connection
            .call_method(
                Some(SERVICE),
                object_path(unit),
                Some(interface),
                method,
                &(),
            )
            .await
            .with_context(|| format!("systemd refuses {method} of {unit}"))?;
        Ok(())
    }
}

/// What [`Bus::start_scope`] starts.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The scope's name.
    pub name: &'a str,
    /// Its description.
    pub description: &'a str,
    /// The slice it is in.
    pub slice: &'a str,
    /// The process that it takes over.
    pub pid: u32,
    /// The units that start with it, and stop before it does.
    pub wants: &'a [String],
}

/// A blocking connection, for what is done once.
pub struct BlockingBus {
    bus: Bus,
}

impl BlockingBus {
    /// Connects to the system bus.
    ///
    /// # Errors
    /// Where there is no bus.
    pub fn connect() -> Result<Self> {
        Ok(Self {
            bus: zbus::block_on(Bus::connect())?,
        })
    }
}

impl BlockingBus {
    /// [`Bus::start_scope`], waiting for the end of the job.
    ///
    /// # Errors
    /// As [`Bus::start_scope`].
    pub fn start_scope(&self, scope: &Scope<'_>) -> Result<()> {
        zbus::block_on(async {
            let mut events = self.bus.listen(&[]).await?;
            self.bus.start_scope(scope).await?;
            events.wait_for_job(scope.name).await
        })
    }
}

impl Systemd for BlockingBus {
    fn stop(&self, unit: &str) -> Result<()> {
        zbus::block_on(async {
            let mut events = self.bus.listen(&[]).await?;
            if !self.bus.request_stop(unit).await? {
                return Ok(());
            }
            events.wait_for_job(unit).await
        })
    }

    fn kill(&self, unit: &str, signal: i32) -> Result<()> {
        zbus::block_on(self.bus.kill(unit, signal))
    }

    fn reset_failed(&self, unit: &str) -> Result<()> {
        zbus::block_on(async {
            found(self.bus.manager.reset_failed_unit(unit).await)
                .with_context(|| format!("systemd refuses to reset {unit}"))?;
            Ok(())
        })
    }

    fn reload(&self) -> Result<()> {
        zbus::block_on(self.bus.manager.reload()).context("daemon-reload failed")
    }
}

/// `None` where systemd has no such unit loaded.
fn found<T>(result: zbus::Result<T>) -> zbus::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(zbus::Error::MethodError(name, ..))
            if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit" =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What [`Bus::listen`] hears.
pub struct Listener {
    stream: MessageStream,
    units: Vec<String>,
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

    /// Waits for the end of a job for `unit`.
    ///
    /// # Errors
    /// Where the connection breaks off.
    async fn wait_for_job(&mut self, unit: &str) -> Result<()> {
        loop {
            match self.next().await {
                Event::JobRemoved { unit: of, .. } | Event::UnitRemoved { unit: of }
                    if of == unit =>
                {
                    return Ok(());
                }
                Event::Disconnected => {
                    return Err(anyhow!("the connection to the system bus broke off"));
                }
                _ => (),
            }
        }
    }
}

/// Matches the changes of what a unit of every kind has, its state above all.
fn changes(unit: &str) -> zbus::Result<MatchRule<'static>> {
    MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(SERVICE)
        .path(object_path(unit))
        .member("PropertiesChanged")
        .arg(0, UNIT_INTERFACE)
        .build()
}

fn manager_rules() -> zbus::Result<[MatchRule<'static>; 2]> {
    let rule = |member| {
        MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SERVICE)
            .path("/org/freedesktop/systemd1")
            .member(member)
            .build()
    };
    Ok([rule("JobRemoved")?, rule("UnitRemoved")?])
}

fn event_of(message: &zbus::Message, units: &[String]) -> Option<Event> {
    let header = message.header();
    if header.message_type() != Type::Signal {
        return None;
    }
    match header.member()?.as_str() {
        "JobRemoved" => {
            let body = message.body();
            let (_, _, unit, result): (u32, OwnedObjectPath, String, String) =
                body.deserialize().ok()?;
            Some(Event::JobRemoved { unit, result })
        }
        "UnitRemoved" => {
            let body = message.body();
            let (unit, _): (String, OwnedObjectPath) = body.deserialize().ok()?;
            Some(Event::UnitRemoved { unit })
        }
        "PropertiesChanged" => {
            let path = header.path()?.as_str();
            let unit = units.iter().find(|unit| object_path(unit) == path)?;
            Some(Event::Changed { unit: unit.clone() })
        }
        _ => None,
    }
}

/// A unit's object path: what is not a letter or a digit is escaped (sd_bus_path_encode(3)).
fn object_path(unit: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_string();
    for (index, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && index > 0) {
            path.push(byte as char);
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_paths_are_escaped() {
        assert_eq!(
            object_path("skim-0a-my-app.service"),
            "/org/freedesktop/systemd1/unit/skim_2d0a_2dmy_2dapp_2eservice"
        );
        assert_eq!(object_path("0.x"), "/org/freedesktop/systemd1/unit/_30_2ex");
    }
}
