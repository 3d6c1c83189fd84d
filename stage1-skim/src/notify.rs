//! What the service manager is told of this process: sd_notify(3).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with,
};

/// The variable that names the service manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// How long a message may be, in bytes: systemd drops what is longer (`NOTIFY_BUFFER_MAX`).
const STATE_MAX: usize = 4096;

/// Whether a service manager listens at all.
pub fn is_wanted() -> bool {
    std::env::var_os(SOCKET).is_some_and(|socket| !socket.is_empty())
}

/// Tells the service manager `state`, lines of `VARIABLE=VALUE`, if there is one that listens.
/// One that does not take it is no reason to fail.
pub fn notify(state: &str) {
    let Some(socket) = std::env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else {
        return;
    };
    match send(&socket, state) {
        Ok(()) => log::debug!("told the service manager: {}", state.escape_debug()),
        Err(error) => log::debug!("the service manager was not told: {error}"),
    }
}

/// Keeps a child from being told of the service manager, which listens to this process.
pub fn withhold(command: &mut Command) -> &mut Command {
    command.env_remove(SOCKET)
}

fn send(socket: &OsStr, state: &str) -> rustix::io::Result<()> {
    if state.len() > STATE_MAX {
        return Err(rustix::io::Errno::MSGSIZE);
    }
    let address = address(socket)?;
    let kind = SocketType::DGRAM;
    let descriptor = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    sendto(&descriptor, state.as_bytes(), SendFlags::NOSIGNAL, &address)?;
    Ok(())
}

/// A path, or a name in the abstract namespace, which `@` stands for (unix(7)).
fn address(socket: &OsStr) -> rustix::io::Result<SocketAddrUnix> {
    match socket.as_bytes() {
        [b'/', ..] => SocketAddrUnix::new(socket),
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
        _ => Err(rustix::io::Errno::AFNOSUPPORT),
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_path_or_an_abstract_name_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1\nSTATUS=a").unwrap();
        assert_eq!(received(&listener), "READY=1\nSTATUS=a");

        let name = format!("skim-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").unwrap();
        assert_eq!(received(&listener), "STOPPING=1");
    }

    #[test]
    fn what_cannot_be_told_is_an_error() {
        for socket in [
            "vsock:2:1",
            "relative",
            "/nowhere/notify",
            "@nobody-is-here",
        ] {
            assert!(send(OsStr::new(socket), "READY=1").is_err(), "{socket}");
        }
        assert!(send(OsStr::new("/x"), &"x".repeat(STATE_MAX + 1)).is_err());
    }
}
