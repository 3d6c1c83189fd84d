//! The connection of a pod's holder to systemd, where it broke off.

use std::time::Duration;

use anyhow::{Result, bail};
use futures_lite::future;

use super::units::{Observed, Units};
use crate::bus::{Bus, Listener};
use crate::scope::Manager;
use crate::timer;

/// How long a bus may take to come back once it can be reached.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection, what it hears, and each unit as it is.
type Connected = (Bus, Listener, Vec<(String, Observed)>);

/// A new connection, and the units as they are now.
///
/// # Errors
/// Where the bus or systemd does not answer in time.
pub(super) async fn connect(manager: &Manager, units: &Units) -> Result<Connected> {
    let connect = async {
        let bus = Bus::connect(manager).await?;
        let watched = units.watched();
        let events = bus.listen(&watched).await?;
        let mut states = Vec::new();
        for unit in watched {
            bus.reference(&unit).await?;
            let observed = Observed::of(&bus, units, &unit).await?;
            states.push((unit, observed));
        }
        Ok((bus, events, states))
    };
    let give_up = async {
        timer::sleep(RECONNECT_TIMEOUT).await;
        bail!("the bus does not answer")
    };
    future::or(connect, give_up).await
}
