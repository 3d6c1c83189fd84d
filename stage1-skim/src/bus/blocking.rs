//! The same, for callers who do one thing after the other.

use std::cell::RefCell;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::events::Listener;
use super::{Bus, Scope, found};
use crate::scope::Manager;
use crate::systemd::Systemd;

/// A blocking connection, for what is done once.
pub struct BlockingBus {
    pub(super) bus: Bus,
    /// One for the connection's life: the bus bounds the number of match rules of each.
    pub(super) events: RefCell<Listener>,
}

impl BlockingBus {
    /// Connects to the bus that the service manager is on.
    ///
    /// # Errors
    /// Where there is no bus.
    pub fn connect(manager: &Manager) -> Result<Self> {
        zbus::block_on(async {
            let bus = Bus::connect(manager).await?;
            let events = RefCell::new(bus.listen(&[]).await?);
            Ok(Self { bus, events })
        })
    }

    /// [`Bus::systemd_version`].
    ///
    /// # Errors
    /// As it.
    pub fn systemd_version(&self) -> Result<String> {
        zbus::block_on(self.bus.systemd_version())
    }

    /// [`Bus::start_scope`], waiting for the end of the job.
    ///
    /// # Errors
    /// As [`Bus::start_scope`].
    pub fn start_scope(&self, scope: &Scope<'_>) -> Result<()> {
        let mut events = self.events.borrow_mut();
        zbus::block_on(async {
            let job = self.bus.start_scope(scope).await?;
            events.wait_for(&self.bus, &job).await.map(drop)
        })
    }

    /// [`Bus::main_pid`].
    ///
    /// # Errors
    /// As [`Bus::main_pid`].
    pub fn main_pid(&self, unit: &str) -> Result<Option<u32>> {
        zbus::block_on(self.bus.main_pid(unit))
    }
}

impl Systemd for BlockingBus {
    fn stop(&self, unit: &str) -> Result<()> {
        let mut events = self.events.borrow_mut();
        zbus::block_on(async {
            match self.bus.request_stop(unit).await? {
                Some(job) => events.wait_for(&self.bus, &job).await.map(drop),
                None => Ok(()),
            }
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

    fn control_group(&self) -> Result<PathBuf> {
        zbus::block_on(self.bus.control_group())
    }

    fn reload(&self) -> Result<()> {
        zbus::block_on(self.bus.manager.reload()).context("daemon-reload failed")
    }
}
