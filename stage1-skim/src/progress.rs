//! How far each app of a pod has come, from what systemd says: pure.

use crate::bus::ServiceState;
use crate::names::EXIT_ERROR;

/// `si_code` of a process that exited (sigaction(2)); others were ended by a signal.
const CLD_EXITED: i32 = 1;

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

/// Where one app stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppState {
    /// Its start job is queued or runs.
    Starting,
    /// It is up.
    Up,
    /// It has ended and nothing will start it again.
    Ended(Ended),
}

/// The apps of one pod.
#[derive(Clone, Debug)]
pub struct Progress {
    apps: Vec<App>,
    first_failure: Option<usize>,
}

#[derive(Clone, Debug)]
struct App {
    unit: String,
    state: AppState,
    /// The start job has ended, one way or the other.
    started: bool,
    /// It was up once: not where it was stopped, or failed, before.
    was_up: bool,
}

impl Progress {
    /// All apps are starting.
    pub fn new(units: &[String]) -> Self {
        let app = |unit: &String| App {
            unit: unit.clone(),
            state: AppState::Starting,
            started: false,
            was_up: false,
        };
        Self {
            apps: units.iter().map(app).collect(),
            first_failure: None,
        }
    }

    /// Takes in that the start job of `unit` has ended with `result`.
    ///
    /// A job that ends with anything but `done` and `failed` never got to start the app: the pod
    /// was stopped before (`canceled`), a condition of the unit does not hold (`skipped`), an app
    /// that it requires failed (`dependency`), or else something is wrong with the unit
    /// (org.freedesktop.systemd1(5), `JobRemoved`).
    pub fn job_removed(&mut self, unit: &str, result: &str) {
        let Some(index) = self.index(unit) else {
            return;
        };
        if self.apps[index].started {
            return;
        }
        self.apps[index].started = true;
        self.apps[index].was_up = result == "done";
        if !matches!(result, "done" | "failed") {
            self.end(
                index,
                Ended {
                    code: None,
                    failed: !matches!(result, "canceled" | "collected" | "skipped"),
                    result: result.to_string(),
                    main: Main::Never,
                    was_up: false,
                },
            );
        }
    }

    /// Takes in what systemd knows of `unit` now.
    pub fn observe(&mut self, unit: &str, service: &ServiceState) {
        let Some(index) = self.index(unit) else {
            return;
        };
        let app = &mut self.apps[index];
        match service.active.as_str() {
            // A job is queued, as in a restart by hand: it is not over.
            "inactive" | "failed" if service.has_job => (),
            // Before the start job ran.
            "inactive" if !app.started => (),
            // Its unit was unloaded while nobody listened, and with it how the app ended.
            "inactive" if !has_run(service) && app.state == AppState::Up => {
                self.end(
                    index,
                    Ended {
                        code: None,
                        failed: true,
                        result: "unknown".to_string(),
                        main: Main::Never,
                        was_up: true,
                    },
                );
            }
            "inactive" | "failed" => {
                app.started = true;
                if !matches!(app.state, AppState::Ended(_)) {
                    let was_up = app.was_up;
                    self.end(index, ended(service, was_up));
                }
            }
            "active" | "reloading" => {
                (app.started, app.was_up) = (true, true);
                app.state = AppState::Up;
            }
            _ if app.started && matches!(app.state, AppState::Ended(_)) => {
                app.state = AppState::Starting;
            }
            _ => (),
        }
    }

    /// Whether every app is up, or has been and has ended well.
    pub fn is_ready(&self) -> bool {
        self.apps.iter().all(|app| match &app.state {
            AppState::Starting => false,
            AppState::Up => true,
            AppState::Ended(ended) => app.was_up && !ended.failed,
        })
    }

    /// Whether an app has failed, or could not start because another one failed.
    pub fn has_failed(&self) -> bool {
        self.apps
            .iter()
            .any(|app| matches!(&app.state, AppState::Ended(ended) if ended.failed))
    }

    /// Whether every app has ended.
    pub fn all_ended(&self) -> bool {
        self.apps
            .iter()
            .all(|app| matches!(app.state, AppState::Ended(_)))
    }

    /// The app that failed first: its unit, and how.
    pub fn first_failure(&self) -> Option<(&str, &Ended)> {
        self.failure_of(&self.apps[self.first_failure?])
    }

    /// What to tell of: the app that failed first, or else one that could not start because of
    /// a unit that is none of the pod's.
    pub fn failure(&self) -> Option<(&str, &Ended)> {
        let first = self.first_failure();
        first.or_else(|| self.apps.iter().find_map(|app| self.failure_of(app)))
    }

    fn failure_of<'a>(&self, app: &'a App) -> Option<(&'a str, &'a Ended)> {
        match &app.state {
            AppState::Ended(ended) if ended.failed => Some((&app.unit, ended)),
            _ => None,
        }
    }

    /// The exit codes of the apps that have ended, by unit.
    pub fn codes(&self) -> impl Iterator<Item = (&str, u8)> {
        self.apps.iter().filter_map(|app| match &app.state {
            AppState::Ended(ended) => Some((app.unit.as_str(), ended.code?)),
            _ => None,
        })
    }

    /// Whether the start job of `unit` has not ended yet, as far as is known.
    pub fn is_waiting(&self, unit: &str) -> bool {
        self.index(unit)
            .is_some_and(|index| !self.apps[index].started)
    }

    /// The pod's exit code: that of the app that failed first, 0 if none did.
    pub fn code(&self) -> u8 {
        match self.first_failure() {
            None if self.has_failed() => EXIT_ERROR,
            None => 0,
            // Failed and yet no code of its own: it never ran, or left with 0 before it was
            // ready.
            Some((_, ended)) => ended.code.filter(|code| *code != 0).unwrap_or(EXIT_ERROR),
        }
    }

    fn index(&self, unit: &str) -> Option<usize> {
        self.apps.iter().position(|app| app.unit == unit)
    }

    fn end(&mut self, index: usize, ended: Ended) {
        // An app that could not start because another failed is not the cause.
        if ended.failed && ended.result != "dependency" && self.first_failure.is_none() {
            self.first_failure = Some(index);
        }
        self.apps[index].state = AppState::Ended(ended);
    }
}

fn has_run(service: &ServiceState) -> bool {
    service.end.as_ref().is_some_and(|end| end.was_started)
}

fn ended(service: &ServiceState, was_up: bool) -> Ended {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::ServiceEnd;

    fn service(active: &str, result: &str, main_code: i32, main_status: i32) -> ServiceState {
        ServiceState {
            active: active.into(),
            has_job: false,
            end: Some(ServiceEnd {
                result: result.into(),
                was_started: true,
                code: main_code,
                status: main_status,
            }),
        }
    }

    fn two() -> Progress {
        Progress::new(&["a".to_string(), "b".to_string()])
    }

    #[test]
    fn clean_exits_leave_the_others_running() {
        let mut pod = two();
        pod.job_removed("a", "done");
        pod.observe("a", &service("active", "success", 0, 0));
        pod.job_removed("b", "done");
        pod.observe("b", &service("active", "success", 0, 0));
        pod.observe("a", &service("inactive", "success", CLD_EXITED, 0));
        assert!(pod.is_ready() && !pod.all_ended());
        pod.observe("b", &service("inactive", "success", 2, 15));
        assert!(pod.all_ended());
        assert_eq!(pod.code(), 0);
        assert_eq!(pod.codes().collect::<Vec<_>>(), [("a", 0), ("b", 143)]);
    }

    #[test]
    fn what_was_stopped_before_it_was_up_is_not_ready() {
        let mut pod = Progress::new(&["a".to_string()]);
        pod.job_removed("a", "canceled");
        assert!(!pod.is_ready());
        pod.observe("a", &service("deactivating", "success", 0, 0));
        assert!(!pod.is_ready() && !pod.all_ended());
        pod.observe("a", &service("inactive", "success", 2, 15));
        assert!(!pod.is_ready() && pod.all_ended() && !pod.has_failed());
    }

    #[test]
    fn the_first_failure_gives_the_code() {
        let mut pod = two();
        pod.job_removed("a", "done");
        pod.job_removed("b", "done");
        pod.observe("b", &service("failed", "exit-code", CLD_EXITED, 5));
        pod.observe("a", &service("failed", "signal", 2, 9));
        assert_eq!(pod.code(), 5);
        assert_eq!(pod.first_failure().unwrap().0, "b");
    }

    #[test]
    fn what_could_not_start_is_not_the_cause() {
        let mut pod = two();
        pod.job_removed("b", "dependency");
        pod.job_removed("a", "failed");
        pod.observe("a", &service("failed", "exit-code", CLD_EXITED, 203));
        assert!(pod.all_ended());
        assert_eq!(pod.code(), 203);
        assert!(pod.has_failed() && !pod.is_ready());
        assert_eq!(pod.codes().collect::<Vec<_>>(), [("a", 203)]);
    }

    #[test]
    fn a_failure_without_a_code_is_still_one() {
        let mut pod = Progress::new(&["a".to_string()]);
        pod.job_removed("a", "failed");
        pod.observe("a", &service("failed", "protocol", CLD_EXITED, 0));
        assert_eq!(pod.code(), EXIT_ERROR);
    }

    #[test]
    fn restarts_are_not_the_end() {
        let mut pod = Progress::new(&["a".to_string()]);
        pod.job_removed("a", "done");
        pod.observe("a", &service("activating", "signal", 2, 9));
        assert!(!pod.all_ended() && !pod.is_ready() && !pod.has_failed());
        let mut queued = service("inactive", "success", CLD_EXITED, 0);
        queued.has_job = true;
        pod.observe("a", &queued);
        assert!(!pod.all_ended());
        pod.observe("a", &service("inactive", "success", CLD_EXITED, 0));
        assert!(pod.all_ended());
        pod.observe("a", &service("active", "success", 0, 0));
        assert!(!pod.all_ended());
    }

    #[test]
    fn what_a_job_s_result_means() {
        for (result, failed) in [
            ("canceled", false),
            ("skipped", false),
            ("dependency", true),
            ("timeout", true),
            ("assert", true),
            ("invalid", true),
            ("unsupported", true),
        ] {
            let mut pod = Progress::new(&["a".to_string()]);
            pod.job_removed("a", result);
            assert!(pod.all_ended(), "{result}");
            assert_eq!(pod.has_failed(), failed, "{result}");
            assert_eq!(pod.code(), if failed { EXIT_ERROR } else { 0 }, "{result}");
        }
    }

    #[test]
    fn an_app_that_vanished_has_failed() {
        let mut pod = Progress::new(&["a".to_string()]);
        pod.job_removed("a", "done");
        pod.observe("a", &service("active", "success", 0, 0));
        let mut gone = service("inactive", "success", 0, 0);
        gone.end = Some(ServiceEnd::default());
        pod.observe("a", &gone);
        assert!(pod.all_ended());
        assert_eq!(pod.code(), EXIT_ERROR);
    }

    #[test]
    fn inactive_before_the_start_job_is_not_the_end() {
        let mut pod = Progress::new(&["a".to_string()]);
        pod.observe("a", &service("inactive", "success", 0, 0));
        assert!(!pod.all_ended() && !pod.is_ready());
        assert!(pod.is_waiting("a"));
    }
}
