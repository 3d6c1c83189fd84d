//! What is asked of systemd about a service only once it has failed.

use anyhow::{Context, Result};

use super::{Bus, SERVICE_INTERFACE, SOCKET_INTERFACE, UNIT_INTERFACE};

/// Dependencies whose failure keeps a unit from being started (systemd.unit(5)).
const HARD_DEPENDENCIES: [&str; 3] = ["Requires", "Requisite", "BindsTo"];

/// No unit is asked about more of its dependencies.
const DEPENDENCIES_MAX: usize = 64;

/// What explains how a service has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceDetail {
    /// `Type=`.
    pub kind: String,
    /// `TimeoutStartSec=`, in microseconds; `u64::MAX` is none.
    pub start_timeout: u64,
    /// `WatchdogSec=`, in microseconds; `u64::MAX` or 0 is none.
    pub watchdog: u64,
    /// `MemoryMax=`, in bytes; `u64::MAX` is none.
    pub memory_max: u64,
    /// How the commands of `ExecStartPre=` ended.
    pub pre_start: Vec<CommandEnd>,
    /// How those of `ExecStopPost=` ended.
    pub post_stop: Vec<CommandEnd>,
    /// A unit that it cannot do without, and which is not up.
    pub failed_dependency: Option<String>,
    /// A socket of its own that has failed.
    pub failed_socket: Option<FailedSocket>,
}

/// A socket that does not listen any more, or never did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSocket {
    /// The unit.
    pub unit: String,
    /// Its `Result=`: resources, trigger-limit-hit, …
    pub result: String,
}

/// How a command beside the main one ended last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandEnd {
    /// As `ExecMainCode`.
    pub code: i32,
    /// As `ExecMainStatus`.
    pub status: i32,
}

impl CommandEnd {
    /// Of a command that exited with `code`.
    pub fn of_exit(code: u8) -> Self {
        Self {
            code: 1, // CLD_EXITED
            status: code.into(),
        }
    }

    /// Of a command that `signal` ended.
    pub fn of_signal(signal: u8) -> Self {
        Self {
            code: 2, // CLD_KILLED
            status: signal.into(),
        }
    }
}

/// `a(sasbttttuii)`: path, arguments, whether a failure is ignored, when it started and ended (of
/// two clocks each), PID, code, status.
type Commands = Vec<(String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32)>;

impl Bus {
    /// What explains how a service has failed.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn service_detail(&self, unit: &str) -> Result<ServiceDetail> {
        let number = async |name| self.property::<u64>(unit, SERVICE_INTERFACE, name).await;
        Ok(ServiceDetail {
            kind: self.property(unit, SERVICE_INTERFACE, "Type").await?,
            start_timeout: number("TimeoutStartUSec").await?,
            watchdog: number("WatchdogUSec").await?,
            memory_max: number("MemoryMax").await?,
            pre_start: self.commands(unit, "ExecStartPre").await?,
            post_stop: self.commands(unit, "ExecStopPost").await?,
            failed_dependency: self.failed_dependency(unit).await?,
            failed_socket: None,
        })
    }

    /// The one of the sockets that has failed.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn failed_socket(&self, sockets: &[String]) -> Result<Option<FailedSocket>> {
        for unit in sockets {
            if self.unit_state(unit).await?.0 == "failed" {
                return Ok(Some(FailedSocket {
                    unit: unit.clone(),
                    result: self.property(unit, SOCKET_INTERFACE, "Result").await?,
                }));
            }
        }
        Ok(None)
    }

    async fn commands(&self, unit: &str, name: &str) -> Result<Vec<CommandEnd>> {
        let reply = self.get(unit, SERVICE_INTERFACE, name).await?;
        let body = reply.body();
        let value: zbus::Variant<'_> = body.deserialize()?;
        let commands = Commands::try_from(value);
        let commands = commands.with_context(|| format!("{name} of {unit} has an odd type"))?;
        // What may fail (`-`) has not made the service fail.
        let commands = commands.into_iter().filter(|command| !command.2);
        let ends = commands.map(|command| CommandEnd {
            code: command.8,
            status: command.9,
        });
        Ok(ends.collect())
    }

    async fn failed_dependency(&self, unit: &str) -> Result<Option<String>> {
        let mut names = Vec::new();
        for kind in HARD_DEPENDENCIES {
            let units = self.property::<Vec<String>>(unit, UNIT_INTERFACE, kind);
            names.extend(units.await?);
        }
        for name in names.into_iter().take(DEPENDENCIES_MAX) {
            let active = self.property::<String>(&name, UNIT_INTERFACE, "ActiveState");
            if matches!(active.await?.as_str(), "failed" | "inactive") {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}
