//! The ports that systemd listens on for an app. Pure.

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::pod::{Protocol, SocketPlan};

use crate::image::manifest::App;

/// The most sockets that one port of an image stands for.
const SOCKETS_MAX: u32 = 1024;

/// The ports of an app section that are socket-activated.
///
/// # Errors
/// Where one has a protocol that systemd does not listen for, or is too many.
pub fn sockets(manifest: &App) -> Result<Vec<SocketPlan>> {
    let ports = manifest.ports.iter().filter(|port| port.socket_activated);
    ports
        .map(|port| {
            let context = || format!("port {}", port.name);
            let protocol = match port.protocol.as_deref() {
                Some("tcp") => Protocol::Tcp,
                Some("udp") => Protocol::Udp,
                other => {
                    let found = other.unwrap_or("none");
                    bail!(
                        "port {}: protocol {found:?} (must be one of: tcp, udp)",
                        port.name
                    )
                }
            };
            ensure!(
                port.count <= SOCKETS_MAX,
                "port {}: {} sockets; at most {SOCKETS_MAX} are opened",
                port.name,
                port.count
            );
            Ok(SocketPlan {
                name: port.name.clone(),
                protocol,
                port: port.port,
                count: u16::try_from(port.count).with_context(context)?,
                settings: Vec::new(),
            })
        })
        .collect()
}
