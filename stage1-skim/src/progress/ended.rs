//! How an app has ended: pure.

use crate::bus::ServiceState;

/// `si_code` of a process that exited (sigaction(2)); others were ended by a signal.
pub(super) const CLD_EXITED: i32 = 1;

/// How an app has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The app's exit code: its own, 128 + the signal that ended it, or none where it was never
    /// started.
    pub code: Option<u8>,
    /// Whether systemd counts the end as a failure (systemd.service(5), `SuccessExitStatus=`).
    pub failed: bool,
    /// `Result=` of the service: success, exit-code, signal, timeout, protocol, …; where it was
    /// never started, the result of its start job.
    pub result: String,
    /// How its main process ended.
    pub main: Main,
    /// Whether it was up once.
    pub was_up: bool,
}

/// How the main process of a service ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Main {
    /// There was none.
    #[default]
    Never,
    /// With this exit code.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

impl Main {
    /// From how and with what a process ended, as systemd tells it (`ExecMainCode`,
    /// `ExecMainStatus`).
    pub fn new(code: i32, status: i32) -> Self {
        let status = u8::try_from(status).unwrap_or(u8::MAX);
        match code {
            0 => Self::Never,
            CLD_EXITED => Self::Exited(status),
            _ => Self::Killed(status),
        }
    }

    /// The exit code as a shell has it.
    pub fn code(self) -> Option<u8> {
        match self {
            Self::Never => None,
            Self::Exited(code) => Some(code),
            Self::Killed(signal) => Some(signal.saturating_add(128)),
        }
    }
}

/// Whether a start job with this result never got to start its unit.
pub(super) fn is_no_start(result: &str) -> bool {
    !matches!(result, "done" | "failed")
}

/// Whether somebody else than the user is to blame for a start job's result.
pub(super) fn is_failure(result: &str) -> bool {
    !matches!(result, "canceled" | "collected" | "skipped")
}

pub(super) fn never_started(result: &str) -> Ended {
    Ended {
        code: None,
        failed: is_failure(result),
        result: result.to_string(),
        main: Main::Never,
        was_up: false,
    }
}

/// The end of an app whose unit is not there any more.
pub(super) fn vanished() -> Ended {
    Ended {
        was_up: true,
        ..never_started("unknown")
    }
}

pub(super) fn has_run(service: &ServiceState) -> bool {
    service.end.as_ref().is_some_and(|end| end.was_started)
}

pub(super) fn ended(service: &ServiceState, was_up: bool) -> Ended {
    let end = service.end.clone().unwrap_or_default();
    let main = Main::new(end.code, end.status);
    Ended {
        code: main.code(),
        failed: service.active == "failed" || end.result != "success",
        result: end.result,
        main,
        was_up,
    }
}
