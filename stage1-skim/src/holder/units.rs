//! The units of a pod that its holder watches.

use anyhow::Result;

use crate::bus::{Bus, ServiceState};
use crate::pod_dir::PodDir;
use crate::progress::{Progress, Watched};

/// The units of a pod, by what the holder has to do with them.
#[derive(Clone, Debug)]
pub struct Units {
    apps: Vec<Watched>,
}

impl Units {
    /// Those of `pod`.
    pub fn of(pod: &PodDir) -> Self {
        Self {
            apps: pod.watched(),
        }
    }

    /// What starts with the pod: services, or the sockets that start them.
    pub fn wanted(&self) -> Vec<String> {
        let apps = self.apps.iter();
        apps.flat_map(|app| match app.sockets.as_slice() {
            [] => std::slice::from_ref(&app.service),
            sockets => sockets,
        })
        .cloned()
        .collect()
    }

    /// What tells how the apps are: their services, and the sockets that start them.
    pub fn watched(&self) -> Vec<String> {
        let apps = self.apps.iter();
        apps.flat_map(|app| std::iter::once(&app.service).chain(&app.sockets))
            .cloned()
            .collect()
    }

    /// Whether a connection to `unit` starts an app.
    pub(super) fn is_socket(&self, unit: &str) -> bool {
        self.sockets().any(|socket| socket == unit)
    }

    /// The sockets that start the app of `service`.
    pub(super) fn sockets_of(&self, service: &str) -> Vec<String> {
        let apps = self.apps.iter().filter(|app| app.service == service);
        apps.flat_map(|app| app.sockets.clone()).collect()
    }

    /// The sockets that start apps.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &String> {
        self.apps.iter().flat_map(|app| &app.sockets)
    }
}

/// What systemd says of a unit.
pub(super) enum Observed {
    Service(ServiceState),
    Socket(String),
}

impl Observed {
    pub(super) async fn of(bus: &Bus, units: &Units, unit: &str) -> Result<Self> {
        Ok(match units.is_socket(unit) {
            true => Self::Socket(bus.unit_state(unit).await?.0),
            false => Self::Service(bus.service_state(unit).await?),
        })
    }

    pub(super) fn take_in(&self, progress: &mut Progress, unit: &str) {
        match self {
            Self::Service(state) => progress.observe(unit, state),
            Self::Socket(active) => progress.observe_socket(unit, active),
        }
    }
}
