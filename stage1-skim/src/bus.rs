//! systemd's D-Bus interface (org.freedesktop.systemd1(5)): the one module that speaks D-Bus.

mod blocking;
mod detail;
mod events;
mod service;
mod watch;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_lite::future;
use zbus::fdo::DBusProxy;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

use self::events::{changes, changes_of_systemd, ends_of_jobs};
use crate::scope::Manager;

pub use self::blocking::BlockingBus;
pub use self::detail::{CommandEnd, FailedSocket, ServiceDetail};
pub use self::events::{Event, Listener};
pub use self::watch::{Restart, ServiceRun, Watch};

/// How long systemd may take to answer a call. Jobs are not calls: they have the units' own
/// time limits. A daemon-reload answers when it is done, and runs generators before.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);

/// How long the processes of a scope may take to end, in microseconds: systemd's own default,
/// which distributions shorten.
const STOP_TIMEOUT: u64 = 90_000_000;

/// How many messages may wait to be read. While a call waits for its answer nobody reads events,
/// and a full queue would hold up the answer.
const QUEUE: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const ALREADY_SUBSCRIBED: &str = "org.freedesktop.systemd1.AlreadySubscribed";
const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";
const SERVICE_INTERFACE: &str = "org.freedesktop.systemd1.Service";
const SOCKET_INTERFACE: &str = "org.freedesktop.systemd1.Socket";
const JOB_INTERFACE: &str = "org.freedesktop.systemd1.Job";

/// What systemd says of a job that is over.
const NO_SUCH_OBJECT: &str = "org.freedesktop.DBus.Error.UnknownObject";

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
    fn reload_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
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
    /// Whether it is PID 1.
    is_system: bool,
}

impl Bus {
    /// Connects to the bus that the service manager is on.
    ///
    /// # Errors
    /// Where there is no bus.
    pub async fn connect(manager: &Manager) -> Result<Self> {
        let address = manager.bus_address();
        let is_system = address.is_none();
        let connection = match address {
            Some(address) => zbus::connection::Builder::address(address.as_str()),
            None => zbus::connection::Builder::system(),
        };
        let connection = connection
            .method_timeout(CALL_TIMEOUT)
            .max_queued(QUEUE)
            .build()
            .await
            .with_context(|| {
                format!(
                    "cannot connect to the {}: is dbus running?",
                    manager.bus_name()
                )
            })?;
        let manager = ManagerProxy::new(&connection).await?;
        Ok(Self {
            connection,
            manager,
            is_system,
        })
    }

    /// Starts to listen to the ends of jobs, and to changes of the units named.
    ///
    /// # Errors
    /// Where the bus or systemd refuses.
    pub async fn listen(&self, units: &[String]) -> Result<Listener> {
        let stream = MessageStream::from(&self.connection);
        let dbus = DBusProxy::new(&self.connection).await?;
        dbus.add_match_rule(ends_of_jobs()?).await?;
        if !units.is_empty() {
            dbus.add_match_rule(changes_of_systemd()?).await?;
        }
        for unit in units {
            dbus.add_match_rule(changes(unit)?).await?;
        }
        self.subscribe().await?;
        Ok(Listener {
            stream,
            units: units.to_vec(),
        })
    }

    /// Asks systemd to send signals at all.
    ///
    /// # Errors
    /// Where systemd refuses.
    pub async fn subscribe(&self) -> Result<()> {
        match self.manager.subscribe().await {
            Err(zbus::Error::MethodError(name, ..)) if name.as_str() == ALREADY_SUBSCRIBED => {
                Ok(())
            }
            subscribed => Ok(subscribed?),
        }
    }

    /// Stops listening to the ends of jobs, which on a busy host are many.
    ///
    /// # Errors
    /// Where the bus refuses.
    pub async fn stop_listening_to_jobs(&self) -> Result<()> {
        let dbus = DBusProxy::new(&self.connection).await?;
        dbus.remove_match_rule(ends_of_jobs()?).await?;
        Ok(())
    }

    /// Whether systemd knows nothing of a job any more, an object path.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn has_ended(&self, job: &str) -> Result<bool> {
        match self.job_type(job).await {
            Ok(_) => Ok(false),
            Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_SUCH_OBJECT => Ok(true),
            Err(error) => Err(error).context("cannot look for a job"),
        }
    }

    /// `JobType` of a job, an object path.
    async fn job_type(&self, job: &str) -> zbus::Result<Message> {
        self.get_at(job.to_owned(), JOB_INTERFACE, "JobType").await
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
    /// in `wants`. It stops before the bus does, which its process needs to the end.
    ///
    /// Returns the job.
    ///
    /// # Errors
    /// Where systemd refuses.
    pub async fn start_scope(&self, scope: &Scope<'_>) -> Result<OwnedObjectPath> {
        let properties = [
            ("Description", Variant::from(scope.description)),
            ("Slice", Variant::from(scope.slice)),
            ("PIDs", Variant::from(vec![scope.pid])),
            ("Wants", Variant::from(scope.wants.to_vec())),
            ("PropagatesStopTo", Variant::from(scope.stops.to_vec())),
            ("After", Variant::from(vec!["dbus.service", "dbus.socket"])),
            ("CollectMode", Variant::from("inactive-or-failed")),
            ("SendSIGHUP", Variant::from(scope.hang_up)),
            (
                "DefaultDependencies",
                Variant::from(scope.default_dependencies),
            ),
            ("TimeoutStopUSec", Variant::from(STOP_TIMEOUT)),
        ];
        // "replace", as the slice above all pods may have a stop job queued: the pod before this
        // one may have been the last in it.
        self.manager
            .start_transient_unit(scope.name, "replace", &properties, &[])
            .await
            .with_context(|| format!("systemd refuses to start {}", scope.name))
    }

    /// Queues a stop job for a unit, and does not wait for it. A unit that is not loaded is
    /// stopped already.
    ///
    /// Returns the job, `None` where there was nothing to stop.
    ///
    /// # Errors
    /// Where systemd refuses.
    pub async fn request_stop(&self, unit: &str) -> Result<Option<OwnedObjectPath>> {
        found(self.manager.stop_unit(unit, "replace").await)
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
        let (active, has_job) = self.unit_state(unit).await?;
        let end = match active.as_str() {
            "inactive" | "failed" => Some(self.service_end(unit).await?),
            _ => None,
        };
        Ok(ServiceState {
            active,
            has_job,
            end,
        })
    }

    /// The units that start after `unit` does, as far as they are loaded.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn ordered_after(&self, unit: &str) -> Result<Vec<String>> {
        self.property(unit, UNIT_INTERFACE, "Before").await
    }

    /// `ActiveState` of a unit of any kind, and whether a job for it is queued or runs.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn unit_state(&self, unit: &str) -> Result<(String, bool)> {
        let job = self.property::<(u32, OwnedObjectPath)>(unit, UNIT_INTERFACE, "Job");
        let active = self.property::<String>(unit, UNIT_INTERFACE, "ActiveState");
        // Both calls are on their way before the first answer is.
        let (job, active) = future::try_zip(job, active).await?;
        Ok((active, job.0 != 0))
    }

    /// `MainPID`: the service's main process, `None` where it has none.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn main_pid(&self, unit: &str) -> Result<Option<u32>> {
        let pid = self.property::<u32>(unit, SERVICE_INTERFACE, "MainPID");
        Ok(Some(pid.await?).filter(|pid| *pid != 0))
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

    /// systemd's version, with what its distribution adds.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn systemd_version(&self) -> Result<String> {
        self.manager_property("Version").await
    }

    /// The control group that all units are beneath, a path in the hierarchy of this process: `/`
    /// for PID 1, whose own is that.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn control_group(&self) -> Result<PathBuf> {
        if self.is_system {
            return Ok("/".into());
        }
        Ok(self.manager_property("ControlGroup").await?.into())
    }

    async fn manager_property(&self, name: &str) -> Result<String> {
        let interface = "org.freedesktop.systemd1.Manager";
        let reply = self.get_at(MANAGER, interface, name).await;
        let reply = reply.with_context(|| format!("cannot read {name} of systemd"))?;
        let value: OwnedVariant = reply.body().deserialize()?;
        String::try_from(value).with_context(|| format!("{name} of systemd has an odd type"))
    }

    async fn property<T>(&self, unit: &str, interface: &str, name: &str) -> Result<T>
    where
        T: TryFrom<OwnedVariant>,
        T::Error: std::error::Error + Send + Sync + 'static,
    {
        let reply = self.get(unit, interface, name).await?;
        let value: OwnedVariant = reply.body().deserialize()?;
        T::try_from(value).with_context(|| format!("{name} of {unit} has an odd type"))
    }

    async fn get(&self, unit: &str, interface: &str, name: &str) -> Result<Message> {
        let reply = self.get_at(object_path(unit), interface, name).await;
        reply.with_context(|| format!("cannot read {name} of {unit}"))
    }

    /// A property of the object at `path`.
    async fn get_at<P>(&self, path: P, interface: &str, name: &str) -> zbus::Result<Message>
    where
        P: TryInto<zbus::ObjectPath<'static>>,
        P::Error: Into<zbus::Error>,
    {
        let properties = Some("org.freedesktop.DBus.Properties");
        self.connection
            .call_method(Some(SERVICE), path, properties, "Get", &(interface, name))
            .await
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
    /// The units that start with it.
    pub wants: &'a [String],
    /// The units that stop before it does.
    pub stops: &'a [String],
    /// Whether its processes get SIGHUP, too, when it stops (`SendSIGHUP=`, systemd.kill(5)).
    pub hang_up: bool,
    /// Whether systemd stops it at shutdown of its own accord (`DefaultDependencies=`,
    /// systemd.unit(5)).
    pub default_dependencies: bool,
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
