//! Which service manager runs a pod: the system's, or that of a user.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{names, systemd};

/// Whose units a pod's are, by systemd's own word (`--system`, `--user` of systemctl(1)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeScope {
    /// The system's: root runs the pod, and its apps may be any user.
    #[default]
    System,
    /// A user's, who has no privileges: all that the pod is and does is that user's.
    User,
}

impl RuntimeScope {
    /// Whether it is that of a user.
    pub fn is_user(self) -> bool {
        self == Self::User
    }
}

/// A service manager, as this process reaches it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Manager {
    /// PID 1.
    #[default]
    System,
    /// The caller's own (user@.service(5)).
    User {
        /// `XDG_RUNTIME_DIR`, where its sockets and transient units are.
        runtime_directory: PathBuf,
    },
}

impl Manager {
    /// That of `scope`, for this process.
    ///
    /// # Errors
    /// Where `XDG_RUNTIME_DIR` is no directory of the caller's, as where it is another user's who
    /// has called su(1) or sudo(8).
    pub fn of_caller(scope: RuntimeScope) -> Result<Self> {
        if !scope.is_user() {
            return Ok(Self::System);
        }
        let uid = rustix::process::geteuid().as_raw();
        let given = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty());
        // Where pam_systemd(8) makes it; su(1) and cron(8) set no variable.
        let runtime_directory =
            given.map_or_else(|| format!("/run/user/{uid}").into(), PathBuf::from);
        ensure!(
            runtime_directory.is_absolute(),
            "XDG_RUNTIME_DIR={runtime_directory:?} is no absolute path"
        );
        if let Ok(meta) = std::fs::metadata(&runtime_directory) {
            ensure!(
                meta.uid() == uid,
                "XDG_RUNTIME_DIR={runtime_directory:?} belongs to user {}, and this is user {uid}: \
                 unset it, or log in as the user meant",
                meta.uid()
            );
        }
        Ok(Self::User { runtime_directory })
    }

    /// Whose it is.
    pub fn scope(&self) -> RuntimeScope {
        match self {
            Self::System => RuntimeScope::System,
            Self::User { .. } => RuntimeScope::User,
        }
    }

    /// Where its transient unit files are (systemd.unit(5), "Unit File Load Path").
    pub fn unit_directory(&self) -> PathBuf {
        match self {
            Self::System => names::UNIT_DIRECTORY.into(),
            Self::User { runtime_directory } => runtime_directory.join("systemd/user"),
        }
    }

    /// The address of the bus that it is on, `None` where it is the system's: the user's bus,
    /// whatever `DBUS_SESSION_BUS_ADDRESS` says, as on others there is no systemd.
    ///
    /// systemd's own socket (`systemd/private`) will not do: it keeps no unit loaded for a
    /// connection (`Ref` of org.freedesktop.systemd1(5)), which the holder relies on.
    pub fn bus_address(&self) -> Option<String> {
        match self {
            Self::System => None,
            Self::User { runtime_directory } => Some(format!(
                "unix:path={}",
                escaped(&runtime_directory.join("bus"))
            )),
        }
    }

    /// Refuses where it does not run.
    ///
    /// # Errors
    /// As it says, with what to do.
    pub fn check_running(&self) -> Result<()> {
        ensure!(
            systemd::booted(),
            "systemd is not PID 1 of this host, and skim runs apps as its services"
        );
        let Self::User { runtime_directory } = self else {
            return Ok(());
        };
        let there = |name: &str| runtime_directory.join(name).exists();
        if !there("systemd/private") {
            bail!(
                "no user manager runs for this user ({} is missing): log in (su and sudo are no \
                 logins), or have it run from boot on: loginctl enable-linger USER",
                runtime_directory.join("systemd/private").display()
            );
        }
        ensure!(
            there("bus"),
            "the user has no bus ({} is missing): install dbus-user-session, or dbus-broker, and \
             log in again",
            runtime_directory.join("bus").display()
        );
        Ok(())
    }

    /// The slice in which it runs what belongs to no slice of its own.
    pub fn default_slice(&self) -> &'static str {
        match self {
            Self::System => "system.slice",
            Self::User { .. } => "app.slice",
        }
    }

    /// What the bus that it is on is called, for messages.
    pub fn bus_name(&self) -> &'static str {
        match self {
            Self::System => "system bus",
            Self::User { .. } => "user's bus",
        }
    }
}

/// A path in the address of a bus (D-Bus specification, "Server Addresses").
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'/' | b'.' | b'*' => {
                text.push(byte as char);
            }
            _ => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_s_address_is_escaped() {
        let manager = Manager::User {
            runtime_directory: "/run/user/a b%".into(),
        };
        let address = manager.bus_address().unwrap();
        assert_eq!(address, "unix:path=/run/user/a%20b%25/bus");
        assert_eq!(Manager::System.bus_address(), None);
        let units = manager.unit_directory();
        assert_eq!(units, Path::new("/run/user/a b%/systemd/user"));
    }

    #[test]
    fn a_manager_that_does_not_run_is_told() {
        let runtime = tempfile::tempdir().unwrap();
        let manager = Manager::User {
            runtime_directory: runtime.path().into(),
        };
        // Where the tests run, there need be no systemd at all.
        if !systemd::booted() {
            return;
        }
        let said = || manager.check_running().unwrap_err().to_string();
        assert!(said().contains("enable-linger"), "{}", said());
        std::fs::create_dir(runtime.path().join("systemd")).unwrap();
        std::fs::write(runtime.path().join("systemd/private"), "").unwrap();
        assert!(said().contains("dbus-user-session"), "{}", said());
        std::fs::write(runtime.path().join("bus"), "").unwrap();
        manager.check_running().unwrap();
    }
}
