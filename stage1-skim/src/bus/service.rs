//! What is asked of a service that a pod runs as, and of its apps.

use anyhow::{Context, Result, ensure};
use futures_lite::future;
use zbus::{Message, OwnedObjectPath, OwnedVariant};

use super::{BlockingBus, Bus, JOB_INTERFACE, MANAGER, UNIT_INTERFACE};

/// Whether a unit that ends is to start once it has: its job is of the type `kind` and in `state`.
/// A start that runs is the one that fails just now; one that waits follows. Pure.
fn is_followed_by_start(kind: &str, state: &str) -> bool {
    match kind {
        "restart" | "try-restart" => true,
        "start" | "reload-or-start" => state == "waiting",
        _ => false,
    }
}

impl Bus {
    /// `After`: the units that a unit starts after.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn after(&self, unit: &str) -> Result<Vec<String>> {
        self.property(unit, UNIT_INTERFACE, "After").await
    }

    /// Whether a unit can be reloaded now: it has a way to (`CanReload`), and is active.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn can_reload(&self, unit: &str) -> Result<bool> {
        let can: bool = self.property(unit, UNIT_INTERFACE, "CanReload").await?;
        let (active, _) = self.unit_state(unit).await?;
        Ok(can && matches!(active.as_str(), "active" | "reloading"))
    }

    /// Whether a unit that ends is to start once it has, as its jobs go.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn is_to_start(&self, unit: &str) -> Result<bool> {
        let job = self.property::<(u32, OwnedObjectPath)>(unit, UNIT_INTERFACE, "Job");
        let (number, path) = job.await?;
        if number == 0 {
            return Ok(false);
        }
        let path = path.into_inner();
        let of_job = |name| self.get_at(path.clone(), JOB_INTERFACE, name);
        match future::try_zip(of_job("JobType"), of_job("State")).await {
            Ok((kind, state)) => Ok(is_followed_by_start(&text(&kind)?, &text(&state)?)),
            // It has ended meanwhile.
            Err(zbus::Error::MethodError(..)) => Ok(false),
            Err(error) => Err(error).context("cannot read the type of a job"),
        }
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
            if let Some(result) = events.wait_for(&self.bus, &job).await? {
                ensure!(
                    result == "done",
                    "the reload of {unit} ended with: {result}"
                );
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_fails_is_not_followed_by_one() {
        for (kind, state, expected) in [
            ("restart", "running", true),
            ("try-restart", "waiting", true),
            ("start", "waiting", true),
            ("start", "running", false),
            ("stop", "running", false),
        ] {
            assert_eq!(
                is_followed_by_start(kind, state),
                expected,
                "{kind} {state}"
            );
        }
    }
}
