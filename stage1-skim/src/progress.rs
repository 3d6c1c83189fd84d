//! How far each app of a pod has come, from what systemd says: pure.

mod ended;

use self::ended::{ended, has_run, is_failure, is_no_start, never_started, vanished};
use crate::bus::ServiceState;
use crate::names::EXIT_ERROR;

pub use self::ended::{Ended, Main};

/// The `result` of an app one of whose sockets has failed (see [`Watched::sockets`]).
pub const SOCKET_FAILED: &str = "socket";

/// An app, by its units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its service.
    pub service: String,
    /// The sockets a connection to which starts it; none where it starts with the pod.
    pub sockets: Vec<String>,
}

/// Where one app stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppState {
    /// Its start job is queued or runs.
    Starting,
    /// Its sockets are open, and the next connection starts it.
    Listening,
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
    sockets: Vec<Socket>,
    /// Of an app that connections start: whether it runs, and how it ended last.
    runs: bool,
    last_end: Option<Ended>,
}

#[derive(Clone, Debug)]
struct Socket {
    unit: String,
    state: SocketState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SocketState {
    Starting,
    Open,
    Closed,
    Failed,
}

impl Progress {
    /// All apps are starting.
    pub fn new(apps: impl IntoIterator<Item = Watched>) -> Self {
        let socket = |unit| Socket {
            unit,
            state: SocketState::Starting,
        };
        let app = |watched: Watched| App {
            unit: watched.service,
            state: AppState::Starting,
            started: false,
            was_up: false,
            sockets: watched.sockets.into_iter().map(socket).collect(),
            runs: false,
            last_end: None,
        };
        Self {
            apps: apps.into_iter().map(app).collect(),
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
        if let Some((index, socket)) = self.socket(unit) {
            return self.socket_job_removed(index, socket, result);
        }
        let Some(index) = self.index(unit) else {
            return;
        };
        let app = &mut self.apps[index];
        if !app.sockets.is_empty() {
            app.was_up |= result == "done";
            // Whether it is to be started is for the next connection to say.
            if is_no_start(result) && is_failure(result) {
                self.end(index, never_started(result));
            }
            return;
        }
        if app.started {
            return;
        }
        self.apps[index].started = true;
        self.apps[index].was_up = result == "done";
        if is_no_start(result) {
            self.end(index, never_started(result));
        }
    }

    fn socket_job_removed(&mut self, index: usize, socket: usize, result: &str) {
        let socket = &mut self.apps[index].sockets[socket];
        if socket.state == SocketState::Starting {
            socket.state = match result {
                "done" => SocketState::Open,
                result if is_failure(result) => SocketState::Failed,
                _ => SocketState::Closed,
            };
            self.settle(index);
        }
    }

    /// Takes in `ActiveState` of a socket.
    pub fn observe_socket(&mut self, unit: &str, active: &str) {
        let Some((index, socket)) = self.socket(unit) else {
            return;
        };
        let socket = &mut self.apps[index].sockets[socket];
        socket.state = match active {
            "active" => SocketState::Open,
            "failed" => SocketState::Failed,
            // Before the start job ran.
            "inactive" if socket.state != SocketState::Starting => SocketState::Closed,
            _ => return,
        };
        self.settle(index);
    }

    /// Where an app that connections start stands, once its service or a socket has changed.
    fn settle(&mut self, index: usize) {
        let app = &mut self.apps[index];
        if matches!(&app.state, AppState::Ended(ended) if ended.failed) {
            return;
        }
        let all = |state| app.sockets.iter().all(|socket| socket.state == state);
        let mut sockets = app.sockets.iter();
        if sockets.any(|socket| socket.state == SocketState::Failed) {
            let ended = Ended {
                failed: true,
                ..app.last_end.clone().unwrap_or(never_started(""))
            };
            let result = SOCKET_FAILED.to_string();
            self.end(index, Ended { result, ..ended });
        } else if app.runs {
            // Its service tells.
        } else if all(SocketState::Open) {
            app.state = AppState::Listening;
        } else if all(SocketState::Closed) {
            let ended = app.last_end.clone();
            let ended = ended.unwrap_or(never_started("canceled"));
            self.end(index, ended);
        } else {
            app.state = AppState::Starting;
        }
    }

    /// Takes in what systemd knows of `unit` now.
    pub fn observe(&mut self, unit: &str, service: &ServiceState) {
        let Some(index) = self.index(unit) else {
            return;
        };
        if !self.apps[index].sockets.is_empty() {
            return self.observe_on_demand(index, service);
        }
        let app = &mut self.apps[index];
        match service.active.as_str() {
            // A job is queued, as in a restart by hand: it is not over.
            "inactive" | "failed" if service.has_job => (),
            // Before the start job ran.
            "inactive" if !app.started => (),
            // Its unit was unloaded while nobody listened, and with it how the app ended.
            "inactive" if !has_run(service) && app.state == AppState::Up => {
                self.end(index, vanished());
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

    /// As [`Progress::observe`], of an app that connections start.
    fn observe_on_demand(&mut self, index: usize, service: &ServiceState) {
        let app = &mut self.apps[index];
        let result = service.end.as_ref().map(|end| end.result.as_str());
        match service.active.as_str() {
            // The connection that it left untaken has started it again before all was asked.
            "failed" if result == Some("success") => (),
            "inactive" if service.has_job => (),
            "inactive" if !has_run(service) && app.state == AppState::Up => {
                self.end(index, vanished());
            }
            "inactive" | "failed" => {
                app.runs = false;
                if has_run(service) || service.active == "failed" {
                    let ended = ended(service, app.was_up);
                    app.last_end = Some(ended.clone());
                    let is_known = matches!(&app.state, AppState::Ended(ended) if ended.failed);
                    if ended.failed && !is_known {
                        self.end(index, ended);
                    }
                }
                self.settle(index);
            }
            "active" | "reloading" => {
                (app.runs, app.was_up) = (true, true);
                app.state = AppState::Up;
            }
            "activating" => {
                app.runs = true;
                app.state = AppState::Starting;
            }
            _ => (),
        }
    }

    /// Whether every app is up or waits for connections, or has been up and has ended well.
    pub fn is_ready(&self) -> bool {
        self.apps.iter().all(|app| match &app.state {
            AppState::Starting => false,
            AppState::Listening | AppState::Up => true,
            AppState::Ended(ended) => app.was_up && !ended.failed,
        })
    }

    /// Whether an app has failed, or could not start because another one failed.
    pub fn has_failed(&self) -> bool {
        self.apps
            .iter()
            .any(|app| matches!(&app.state, AppState::Ended(ended) if ended.failed))
    }

    /// Whether every app has ended, and no connection will start one again.
    pub fn all_ended(&self) -> bool {
        self.apps.iter().all(|app| {
            let mut sockets = app.sockets.iter();
            let is_over = |state| matches!(state, SocketState::Closed | SocketState::Failed);
            matches!(app.state, AppState::Ended(_)) && sockets.all(|socket| is_over(socket.state))
        })
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

    /// Where each app stands, by its service.
    pub fn states(&self) -> impl Iterator<Item = (&str, &AppState)> {
        let apps = self.apps.iter();
        apps.map(|app| (app.unit.as_str(), &app.state))
    }

    /// Whether the start job of `unit` has not ended yet, as far as is known.
    pub fn is_waiting(&self, unit: &str) -> bool {
        if let Some((index, socket)) = self.socket(unit) {
            return self.apps[index].sockets[socket].state == SocketState::Starting;
        }
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

    fn socket(&self, unit: &str) -> Option<(usize, usize)> {
        let mut apps = self.apps.iter().enumerate();
        apps.find_map(|(index, app)| {
            let socket = app.sockets.iter().position(|socket| socket.unit == unit)?;
            Some((index, socket))
        })
    }

    fn end(&mut self, index: usize, ended: Ended) {
        // An app that could not start because another failed is not the cause.
        if ended.failed && ended.result != "dependency" && self.first_failure.is_none() {
            self.first_failure = Some(index);
        }
        self.apps[index].state = AppState::Ended(ended);
    }
}

#[cfg(test)]
mod tests;
