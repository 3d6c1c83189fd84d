//! Why an app has failed, in words: pure but for [`look`].
//!
//! systemd tells that much: a `Result=`, an exit code or a signal, and lines in the journal. What
//! its codes leave open, above all which file `ENOENT` was about, is learnt by a look at the
//! app's files.

pub mod elf;
pub mod exit_codes;
mod libraries;
mod log;
pub mod look;

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use signal_hook::consts::SIGSYS;
use signal_hook::low_level::signal_name;

use self::look::Finding;
use crate::bus::{CommandEnd, FailedSocket, ServiceDetail};
use crate::journal::Entry;
use crate::pod::{AppPlan, Credentials, ExecPlan, Root};
use crate::progress::{Ended, Main, SOCKET_FAILED};

pub use self::log::excerpt;

/// What a loader exits with that cannot load a program's libraries, as shells do where there is
/// no such command.
const NOT_LOADED: u8 = 127;

/// What is known of an app that has failed.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The app.
    pub app: &'a AppPlan,
    /// The name of its service, or of the socket that has failed.
    pub service: &'a str,
    /// How it ended.
    pub ended: &'a Ended,
    /// What systemd knows beyond that.
    pub detail: &'a ServiceDetail,
    /// The last entries of the journal about it, the oldest first.
    pub journal: &'a [Entry],
}

/// A program whose files may be at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect<'a> {
    /// It was not executed; the error, where systemd told it.
    NotExecuted(&'a ExecPlan, Option<i32>),
    /// It was, and its loader may not have found a library.
    NotLoaded(&'a ExecPlan),
}

/// Which of an app's commands failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    PreStart,
    App,
    PostStop,
}

impl<'a> Facts<'a> {
    /// The program whose files are worth a look, if any.
    pub fn suspect(&self) -> Option<Suspect<'a>> {
        let (role, end) = self.culprit();
        let program = self.program(role)?;
        let spawn = log::spawn_failure(self.service, self.journal);
        match end {
            Main::Exited(exit_codes::EXEC) => {
                let errno = match spawn {
                    Some(spawn) => spawn.errno,
                    None => log::errno_of_stage1(&program.path, self.journal),
                };
                Some(Suspect::NotExecuted(program, errno))
            }
            Main::Exited(NOT_LOADED) => Some(Suspect::NotLoaded(program)),
            _ => None,
        }
    }

    /// The line that names the app and the cause; `finding` is what is wrong with the
    /// [`Facts::suspect`].
    pub fn headline(&self, finding: Option<&Finding>) -> String {
        let app = &self.app.name;
        let (role, end) = self.culprit();
        let cause = match self.ended.result.as_str() {
            "exit-code" | "signal" | "core-dump" => self.end(role, end, finding),
            result => self.without_a_code(result, end),
        };
        let whose = match (role, &self.app.unit) {
            (Role::App, _) => return format!("app {app} failed: {cause}"),
            (Role::PreStart, None) => "pre-start handler".to_string(),
            (Role::PostStop, None) => "post-stop handler".to_string(),
            (Role::PreStart, Some(unit)) => format!("ExecStartPre= of {}", unit.name),
            (Role::PostStop, Some(unit)) => format!("ExecStopPost= of {}", unit.name),
        };
        format!("app {app} failed: its {whose}: {cause}")
    }

    fn culprit(&self) -> (Role, Main) {
        let failed = |ends: &[CommandEnd]| {
            let mut ends = ends.iter().map(|end| Main::new(end.code, end.status));
            ends.find(|end| !matches!(end, Main::Never | Main::Exited(0)))
        };
        let main = self.ended.main;
        match main {
            Main::Never => match failed(&self.detail.pre_start) {
                Some(end) => (Role::PreStart, end),
                None => (Role::App, main),
            },
            Main::Exited(0) => match failed(&self.detail.post_stop) {
                Some(end) => (Role::PostStop, end),
                None => (Role::App, main),
            },
            _ => (Role::App, main),
        }
    }

    fn program(&self, role: Role) -> Option<&'a ExecPlan> {
        match role {
            Role::PreStart => self.app.pre_start.as_ref(),
            Role::App => Some(&self.app.exec),
            Role::PostStop => self.app.post_stop.as_ref(),
        }
    }

    fn end(&self, role: Role, end: Main, finding: Option<&Finding>) -> String {
        match end {
            Main::Never => format!("it was not executed ({})", self.ended.result),
            Main::Killed(signal) => killed(signal, self.ended.result == "core-dump"),
            Main::Exited(NOT_LOADED) => self.not_loaded(finding),
            Main::Exited(code) => self.exited(role, code, finding),
        }
    }

    fn exited(&self, role: Role, code: u8, finding: Option<&Finding>) -> String {
        let spawn = log::spawn_failure(self.service, self.journal);
        let meaning = exit_codes::meaning(code);
        let (Some((name, what)), Some(program)) = (meaning, self.program(role)) else {
            return format!("exited with code {code}");
        };
        if code == exit_codes::EXEC {
            let errno = match self.suspect() {
                Some(Suspect::NotExecuted(_, errno)) => errno,
                _ => None,
            };
            if errno.is_none() && finding.is_none() {
                return format!("exited with code {code}");
            }
            return not_executed(&program.path, errno, finding);
        }
        // Without a word from systemd the code is the app's own.
        let Some(spawn) = spawn else {
            return format!("exited with code {code}");
        };
        if code == exit_codes::CHDIR {
            let directory = self.app.working_directory.display();
            let why = spawn.errno.map(error_text).unwrap_or(spawn.reason);
            return format!(
                "cannot enter its working directory {directory}: {why} ({code}/{name})"
            );
        }
        let reason = spawn.reason;
        format!("systemd could not set up {what}: {reason} ({code}/{name})")
    }

    fn not_loaded(&self, finding: Option<&Finding>) -> String {
        let said = log::loader_complaint(self.journal);
        match (finding, said) {
            (Some(Finding::MissingLibrary(library, by)), _) => format!(
                "the library {} is missing, which {} needs (exit code {NOT_LOADED})",
                library.display(),
                by.display()
            ),
            (_, Some(said)) => format!("its libraries cannot be loaded: {said}"),
            _ => format!("exited with code {NOT_LOADED}"),
        }
    }

    fn socket_failed(&self, end: Main) -> String {
        match (&self.detail.failed_socket, end) {
            (Some(socket), _) => {
                listener(socket, log::first_of_systemd(self.service, self.journal))
            }
            (None, Main::Never) => "not started, as its socket could not be opened".to_string(),
            (None, _) => "its socket is closed".to_string(),
        }
    }

    /// What ended otherwise than by a code or a signal of its own (systemd.service(5), `Result`
    /// in systemd.exec(5) `$SERVICE_RESULT`), or was not started at all.
    fn without_a_code(&self, result: &str, end: Main) -> String {
        let detail = self.detail;
        let left = match end {
            Main::Exited(code) => format!("exited with code {code}"),
            Main::Killed(signal) => killed(signal, false),
            Main::Never => "ended".to_string(),
        };
        match result {
            "timeout" if !self.ended.was_up => {
                let limit = duration(detail.start_timeout, "the time that it has");
                format!("it was not up within {limit} (TimeoutStartSec=)")
            }
            "timeout" => match log::last_of_systemd(self.service, self.journal) {
                Some(line) => format!("it ran into a time limit: {line}"),
                None => "it ran into a time limit (timeout)".to_string(),
            },
            "protocol" if detail.kind.starts_with("notify") => {
                format!(
                    "{left} before it said that it was ready (Type={})",
                    detail.kind
                )
            }
            "protocol" => format!("{left}, and did not start as Type={} wants it", detail.kind),
            "watchdog" => {
                let limit = duration(detail.watchdog, "its time limit");
                format!("it gave no sign of life for {limit} (WatchdogSec=)")
            }
            "oom-kill" => match detail.memory_max {
                u64::MAX => "killed as the memory ran out (oom-kill)".to_string(),
                bytes => {
                    format!("killed as it reached its limit of memory, {bytes} bytes (oom-kill)")
                }
            },
            "start-limit-hit" => match &detail.failed_socket {
                Some(socket) => {
                    let unit = &socket.unit;
                    format!("{left}, and its socket {unit} started it too often (start-limit-hit)")
                }
                None => format!("{left}, and was started too often (start-limit-hit)"),
            },
            "dependency" => match &detail.failed_dependency {
                Some(unit) => format!("not started, as {unit} is not up, which it requires"),
                None => "not started, as a unit that it requires is not up".to_string(),
            },
            SOCKET_FAILED => self.socket_failed(end),
            "assert" => "not started, as an Assert…= of its unit does not hold".to_string(),
            "unknown" => "its unit is gone, and with it how it ended".to_string(),
            result => match log::last_of_systemd(self.service, self.journal) {
                Some(line) => format!("{line} ({result})"),
                None => format!("systemd could not start it ({result})"),
            },
        }
    }
}

fn listener(socket: &FailedSocket, said: Option<String>) -> String {
    let (unit, result) = (&socket.unit, &socket.result);
    match (result.as_str(), said) {
        ("trigger-limit-hit", _) => format!(
            "its socket {unit} started it again and again, as it ends without taking the \
             connection (trigger-limit-hit)"
        ),
        ("service-start-limit-hit", _) => {
            format!("its socket {unit} started it too often (service-start-limit-hit)")
        }
        (_, Some(line)) => format!("its socket {unit} does not listen: {line} ({result})"),
        (_, None) => format!("its socket {unit} does not listen ({result})"),
    }
}

fn killed(signal: u8, is_dumped: bool) -> String {
    let number = i32::from(signal);
    let mut text = match signal_name(number) {
        Some(name) => format!("killed by {name}"),
        None => format!("killed by signal {number}"),
    };
    if number == SIGSYS {
        text.push_str(": it made a system call that its filter forbids (seccomp)");
    }
    if is_dumped {
        text.push_str(" (core dumped)");
    }
    text
}

fn duration(microseconds: u64, unknown: &str) -> String {
    match microseconds {
        0 | u64::MAX => unknown.to_string(),
        limit => format!("{:?}", Duration::from_micros(limit)),
    }
}

fn not_executed(program: &Path, errno: Option<i32>, finding: Option<&Finding>) -> String {
    let reason = match (finding, errno) {
        (Some(finding), _) => found(program, finding),
        (None, Some(errno)) => error_text(errno),
        (None, None) => "systemd does not say why".to_string(),
    };
    // systemd 257 loses what it says of a program where its unit has more than one field in
    // LogExtraFields=, as those of apps have.
    let errno = errno.or_else(|| finding.and_then(|finding| finding.errno(program)));
    let name = match errno {
        Some(errno) => format!(", {:?}", Errno::from_raw(errno)),
        None => String::new(),
    };
    format!(
        "cannot execute {}: {reason} (203/EXEC{name})",
        program.display()
    )
}

/// `strerror`.
fn error_text(errno: i32) -> String {
    Errno::from_raw(errno).desc().to_string()
}

fn found(program: &Path, finding: &Finding) -> String {
    // Whom the finding is about: the program, or its interpreter.
    let it = |path: &Path| match path == program {
        true => "it".to_string(),
        false => format!("its interpreter {}", path.display()),
    };
    match finding {
        Finding::Missing(path) => format!("{} does not exist", it(path)),
        Finding::MissingInterpreter(of, interpreter) if of == program => format!(
            "its interpreter {} is missing in the image",
            interpreter.display()
        ),
        Finding::MissingInterpreter(of, interpreter) => format!(
            "the interpreter {} of its interpreter {} is missing in the image",
            interpreter.display(),
            of.display()
        ),
        Finding::NotAFile(path) => format!("{} is no regular file", it(path)),
        Finding::Foreign(path, machine) => format!(
            "{} is for {machine}, and this host is {}",
            it(path),
            std::env::consts::ARCH
        ),
        Finding::NotAProgram(path) => {
            format!(
                "{} is neither a program nor a script with a #! line",
                it(path)
            )
        }
        Finding::Damaged(path) => format!("{} is a damaged ELF file", it(path)),
        Finding::NotExecutable(path) => {
            format!("{} has no execute permission for its user", it(path))
        }
        Finding::NoExec(path) => format!("{} is on a file system mounted noexec", it(path)),
        Finding::Closed(path) => format!("its user may not enter {}", path.display()),
        Finding::MissingLibrary(library, by) => {
            format!(
                "{} needs {}, which is missing",
                by.display(),
                library.display()
            )
        }
    }
}

/// Looks at the files of a suspect.
pub fn look(app: &AppPlan, suspect: Suspect<'_>) -> Option<Finding> {
    let root = match app.root {
        Root::Host => Path::new("/"),
        Root::Image => &app.rootfs,
    };
    let tree = look::Tree::open(root).ok()?;
    let mut variables = app.environment.iter();
    let library_path = variables.find(|variable| variable.name == "LD_LIBRARY_PATH");
    let (command, as_root) = match suspect {
        Suspect::NotExecuted(command, _) | Suspect::NotLoaded(command) => {
            (command, command != &app.exec)
        }
    };
    let program = look::Program {
        path: &command.path,
        working_directory: &app.working_directory,
        who: if as_root { &ROOT } else { &app.credentials },
        library_path: library_path.map(|variable| variable.value.as_str()),
    };
    match suspect {
        Suspect::NotExecuted(_, errno) => program.why_not_executed(&tree, errno),
        Suspect::NotLoaded(_) => program.missing_library(&tree),
    }
}

/// Handlers are run as root.
const ROOT: Credentials = Credentials {
    uid: 0,
    gid: 0,
    supplementary_gids: Vec::new(),
};

#[cfg(test)]
mod tests;
