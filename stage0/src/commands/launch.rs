//! The start of stage1, which runs a pod that is mounted and locked.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, kill_process};
use stage1_skim::names::LOCK_FD;
use stage1_skim::{signals, stdio};

use crate::gc;
use crate::host::Host;
use crate::pod::directory::{LockedPod, Pods};

/// How stage1 is started.
pub struct Launch<'a> {
    /// Where stage1-skim is.
    pub stage1: &'a Path,
    /// This host.
    pub host: &'a Host,
    /// Whether to return once every app is up.
    pub detach: bool,
    /// Whether the pod is removed when it has exited.
    pub rm: bool,
}

impl Launch<'_> {
    /// Runs the pod; returns its exit code, or 0 where it is detached and up.
    ///
    /// # Errors
    /// Whatever keeps it from starting; then nothing of it is left.
    pub fn run(&self, pods: &Pods, pod: LockedPod) -> Result<u8> {
        let outcome = match self.detach {
            true => self.detached(&pod),
            false => self.in_the_foreground(&pod),
        };
        outcome.inspect_err(|_| gc::report(gc::withdraw(pods, pod, self.host)))
    }

    /// Becomes the holder.
    fn in_the_foreground(&self, pod: &LockedPod) -> Result<u8> {
        let error = self.command(pod)?.exec();
        Err(error).with_context(|| format!("cannot execute {}", self.stage1.display()))
    }

    /// Starts the holder and waits until the pod is up. A signal that ends the wait stops the
    /// pod.
    fn detached(&self, pod: &LockedPod) -> Result<u8> {
        let mut holder = self
            .command(pod)?
            .arg("--detach")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot execute {}", self.stage1.display()))?;
        let pid = rustix::process::Pid::from_child(&holder);
        signals::watch(move |signal| {
            if let Some(signal) = Signal::from_named_raw(signal) {
                // The holder may be gone already: then there is nothing to stop.
                let _ = kill_process(pid, signal);
            }
        })?;
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .context("cannot read from stage1")?;
        }
        if line == "ready\n" {
            stdio::print(&format!("{}\n", pod.uuid))?;
            return Ok(0);
        }
        let status = holder.wait().context("cannot wait for stage1")?;
        match (status.code(), status.signal()) {
            (Some(0), _) => bail!("the pod was stopped before it was up"),
            (Some(code), _) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, signal) => bail!("stage1 was killed by signal {}", signal.unwrap_or_default()),
        }
    }

    /// stage1's `run` in the pod's directory, the lock inherited.
    fn command(&self, pod: &LockedPod) -> Result<Command> {
        let lock: &File = &pod.lock;
        fcntl_setfd(lock, FdFlags::empty()).context("cannot pass the pod's lock on")?;
        let mut command = Command::new(self.stage1);
        if self.host.debug {
            command.arg("--debug");
        }
        command
            .arg("run")
            .current_dir(&pod.path)
            .env(LOCK_FD, lock.as_raw_fd().to_string());
        if self.rm {
            command.arg("--rm");
        }
        Ok(command)
    }
}
