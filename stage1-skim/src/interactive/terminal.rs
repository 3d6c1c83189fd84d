//! The caller's terminal, and the job that the pod is to the caller's shell
//! (termios(3), "Job Control"; setpgid(2)).

use std::fs::File;
use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal as OwnSignal, raise};
use rustix::process::{
    Pid, Signal, getpgid, getpgrp, kill_process, kill_process_group, test_kill_process_group,
};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};

/// The terminal that controls this process, and how it was found.
#[derive(Clone)]
pub struct Terminal {
    terminal: Arc<File>,
    modes: Option<Termios>,
}

impl Terminal {
    /// `None` where this process has no terminal.
    pub fn of_caller() -> Option<Self> {
        let open = File::options().read(true).write(true).open("/dev/tty");
        let terminal = open.ok()?;
        Some(Self {
            modes: tcgetattr(&terminal).ok(),
            terminal: Arc::new(terminal),
        })
    }

    /// The child has stopped, as for Ctrl-Z or a shell's `suspend`: this process stops, too, so
    /// that the caller's shell takes notice. Once it goes on, so does the child.
    pub fn stop_with(&self, child: Pid) {
        // The terminal stops the whole group, in which case both may have been continued since.
        if !is_stopped(child) {
            return;
        }
        let had_terminal = tcgetpgrp(&self.terminal).ok() == getpgid(Some(child)).ok();
        // To this thread: it goes on only once the whole process does. One that is sent to the
        // process is for whichever thread comes first.
        if let Err(error) = raise(OwnSignal::SIGSTOP) {
            log::debug!("cannot stop: {error}");
            return;
        }
        let Ok(group) = getpgid(Some(child)) else {
            return;
        };
        if group == getpgrp() {
            told(kill_process(child, Signal::CONT));
            return;
        }
        // A job of its own, such as a shell. In the background it gets no terminal.
        if had_terminal && tcgetpgrp(&self.terminal) == Ok(getpgrp()) {
            told(tcsetpgrp(&self.terminal, group));
        }
        told(kill_process_group(group, Signal::CONT));
    }

    /// Takes the terminal back from a job that is no more, such as a shell that was killed, and
    /// puts its modes right where whoever changed them could not.
    pub fn take_back(&self, was_killed: bool) {
        let group = tcgetpgrp(&self.terminal);
        let is_ours = group == Ok(getpgrp());
        let is_nobodys = match group {
            Ok(group) => test_kill_process_group(group) == Err(rustix::io::Errno::SRCH),
            Err(_) => false,
        };
        if !is_ours && !is_nobodys {
            // Of the caller's shell, which has put this job into the background.
            return;
        }
        // The terminal stops whoever changes it from the background, unless this is blocked.
        let mut blocked = SigSet::empty();
        blocked.add(OwnSignal::SIGTTOU);
        if let Err(error) = blocked.thread_block() {
            log::debug!("cannot block a signal: {error}");
            return;
        }
        if is_nobodys {
            told(tcsetpgrp(&self.terminal, getpgrp()));
        }
        if let Some(modes) = self.modes.as_ref().filter(|_| was_killed) {
            told(tcsetattr(&self.terminal, OptionalActions::Drain, modes));
        }
        if let Err(error) = blocked.thread_unblock() {
            log::debug!("cannot unblock a signal: {error}");
        }
    }
}

/// Whether a process is stopped (proc_pid_stat(5), the field after the name in parentheses).
fn is_stopped(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let stat = stat.unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| state.starts_with('T'))
}

fn told(done: rustix::io::Result<()>) {
    if let Err(error) = done {
        log::debug!("cannot control the job: {error}");
    }
}
