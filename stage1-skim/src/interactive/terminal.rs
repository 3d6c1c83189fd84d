//! The caller's terminal, and the job that the pod is to the caller's shell
//! (termios(3), "Job Control"; setpgid(2)).

use std::fs::File;
use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal as OwnSignal, raise};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpgid, getpgrp, kill_process, kill_process_group,
    test_kill_process_group, waitid,
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
        let had_terminal = tcgetpgrp(&self.terminal).ok() == getpgid(Some(child)).ok();
        if has_changed(child) {
            return;
        }
        // To this thread: it goes on only once the whole process does. One that is sent to the
        // process is for whichever thread comes first.
        if let Err(error) = raise(OwnSignal::SIGSTOP) {
            log::debug!("cannot stop: {error}");
            return;
        }
        let Ok(group) = getpgid(Some(child)) else {
            return;
        };
        let is_own_job = group != getpgrp();
        // A job of its own, such as a shell. In the background it gets no terminal.
        if is_own_job && had_terminal && tcgetpgrp(&self.terminal) == Ok(getpgrp()) {
            undisturbed(|| told(tcsetpgrp(&self.terminal, group)));
        }
        // A shell continues the whole job. Whoever has pressed Ctrl-Z since must not be overruled.
        if has_changed(child) {
            return;
        }
        told(match is_own_job {
            true => kill_process_group(group, Signal::CONT),
            false => kill_process(child, Signal::CONT),
        });
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
        undisturbed(|| {
            if is_nobodys {
                told(tcsetpgrp(&self.terminal, getpgrp()));
            }
            if let Some(modes) = self.modes.as_ref().filter(|_| was_killed) {
                told(tcsetattr(&self.terminal, OptionalActions::Drain, modes));
            }
        });
    }
}

/// Changes the terminal. It sends a signal to whoever does so from the background, and refuses,
/// unless that is blocked.
fn undisturbed(change: impl FnOnce()) {
    let mut blocked = SigSet::empty();
    blocked.add(OwnSignal::SIGTTOU);
    if let Err(error) = blocked.thread_block() {
        log::debug!("cannot block a signal: {error}");
        return;
    }
    change();
    if let Err(error) = blocked.thread_unblock() {
        log::debug!("cannot unblock a signal: {error}");
    }
}

/// Whether anything has become of a child since it was last seen to stop: it was continued, has
/// perhaps stopped again, or ended. That is left to be waited for.
fn has_changed(child: Pid) -> bool {
    let any = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::EXITED;
    let look = any | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(child), look), Ok(None))
}

fn told(done: rustix::io::Result<()>) {
    if let Err(error) = done {
        log::debug!("cannot control the job: {error}");
    }
}
