//! What of the caller's environment is the caller's alone. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Variables that a service manager sets for one process and no other (systemd.exec(5),
/// "Environment Variables Set or Propagated by the Service Manager"; systemd.kill(5);
/// sd_listen_fds(3)), and appc's name of the app.
const OWN: [&str; 32] = [
    "AC_APP_NAME",
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "DEBUG_INVOCATION",
    "EXIT_CODE",
    "EXIT_STATUS",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LOGS_DIRECTORY",
    "LOG_NAMESPACE",
    "MAINPID",
    "MAINPIDFDID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "NOTIFY_SOCKET",
    "PIDFILE",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "RUNTIME_DIRECTORY",
    "SERVICE_RESULT",
    "STATE_DIRECTORY",
    "SYSTEMD_EXEC_PID",
    "TRIGGER_PATH",
    "TRIGGER_UNIT",
];

/// Beginnings of such names; the first is skim's.
const OWN_BEGINNINGS: [&str; 4] = ["SKIM_", "MONITOR_", "TRIGGER_TIMER_", "WATCHDOG_"];

/// Whether a variable says something of the process that has it which would be wrong of another:
/// who inherits the rest does not get it.
pub fn is_own(name: &OsStr) -> bool {
    let begins = |start: &&str| name.as_bytes().starts_with(start.as_bytes());
    OWN.iter().any(|own| name == *own) || OWN_BEGINNINGS.iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_one_process_is_no_other_s() {
        for (name, own) in [
            ("NOTIFY_SOCKET", true),
            ("LISTEN_FDS", true),
            ("SKIM_VOLUME_DATA", true),
            ("SKIM_ROOTFS", true),
            ("WATCHDOG_USEC", true),
            ("AC_APP_NAME", true),
            ("SKIM", false),
            ("LISTEN", false),
            ("LISTEN_FDS_X", false),
            ("HOME", false),
            ("XDG_RUNTIME_DIR", false),
        ] {
            assert_eq!(is_own(OsStr::new(name)), own, "{name}");
        }
    }
}
