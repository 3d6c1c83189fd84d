//! What is asked of a service that a pod runs as, and of its apps.

use anyhow::{Context, Result, bail, ensure};
use zbus::{Message, OwnedObjectPath, OwnedVariant};

use super::{BlockingBus, Bus, Event, MANAGER, UNIT_INTERFACE};

/// Jobs after which a unit runs.
const STARTING: [&str; 4] = ["start", "restart", "try-restart", "reload-or-start"];

impl Bus {
    /// `After`: the units that a unit starts after.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn after(&self, unit: &str) -> Result<Vec<String>> {
        self.property(unit, UNIT_INTERFACE, "After").await
    }

    /// `CanReload`: whether a unit can be reloaded.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn can_reload(&self, unit: &str) -> Result<bool> {
        self.property(unit, UNIT_INTERFACE, "CanReload").await
    }

    /// Whether a job is queued after which the unit runs.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn is_to_start(&self, unit: &str) -> Result<bool> {
        let job = self.property::<(u32, OwnedObjectPath)>(unit, UNIT_INTERFACE, "Job");
        let (number, path) = job.await?;
        if number == 0 {
            return Ok(false);
        }
        let interface = "org.freedesktop.systemd1.Job";
        let kind = self.get_at(path.into_inner(), interface, "JobType").await;
        Ok(match kind {
            Ok(kind) => STARTING.contains(&text(&kind)?.as_str()),
            // It has ended meanwhile.
            Err(zbus::Error::MethodError(..)) => false,
            Err(error) => return Err(error).context("cannot read the type of a job"),
        })
    }

    /// Whether this host is going down.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn is_host_stopping(&self) -> Result<bool> {
        let interface = "org.freedesktop.systemd1.Manager";
        let state = self.get_at(MANAGER, interface, "SystemState").await;
        let state = state.context("cannot read the state of systemd")?;
        Ok(text(&state)? == "stopping")
    }
}

fn text(reply: &Message) -> Result<String> {
    let value: OwnedVariant = reply.body().deserialize()?;
    Ok(String::try_from(value)?)
}

impl BlockingBus {
    /// [`Bus::after`].
    ///
    /// # Errors
    /// As it.
    pub fn after(&self, unit: &str) -> Result<Vec<String>> {
        zbus::block_on(self.bus.after(unit))
    }

    /// [`Bus::can_reload`].
    ///
    /// # Errors
    /// As it.
    pub fn can_reload(&self, unit: &str) -> Result<bool> {
        zbus::block_on(self.bus.can_reload(unit))
    }

    /// [`Bus::is_to_start`].
    ///
    /// # Errors
    /// As it.
    pub fn is_to_start(&self, unit: &str) -> Result<bool> {
        zbus::block_on(self.bus.is_to_start(unit))
    }

    /// [`Bus::is_host_stopping`].
    ///
    /// # Errors
    /// As it.
    pub fn is_host_stopping(&self) -> Result<bool> {
        zbus::block_on(self.bus.is_host_stopping())
    }

    /// Reloads a unit, and waits for the end of the job.
    ///
    /// # Errors
    /// Where systemd refuses, or the reload fails.
    pub fn reload_unit(&self, unit: &str) -> Result<()> {
        let mut events = self.events.borrow_mut();
        zbus::block_on(async {
            let job = self.bus.manager.reload_unit(unit, "replace").await;
            let job = job.with_context(|| format!("systemd refuses to reload {unit}"))?;
            loop {
                match events.next().await {
                    Event::JobRemoved {
                        job: ended, result, ..
                    } if ended == job.as_str() => {
                        ensure!(
                            result == "done",
                            "the reload of {unit} ended with: {result}"
                        );
                        return Ok(());
                    }
                    Event::Disconnected => bail!("the connection to the system bus broke off"),
                    _ => (),
                }
            }
        })
    }
}
