//! A pod's control group, which may outlive its units.

use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::names::ROOT_SLICE;

/// Where the unified hierarchy is mounted, or systemd's part of it on a hybrid host.
const MOUNT_POINTS: [&str; 3] = [
    "/sys/fs/cgroup/unified",
    "/sys/fs/cgroup/systemd",
    "/sys/fs/cgroup",
];

/// How long a killed process may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// The processes in the control group of the pod's slice and below, as `NAME PID`; `above` is the
/// service manager's ([`crate::systemd::Systemd::control_group`]).
///
/// # Errors
/// Where the control groups cannot be read.
pub fn processes(above: &Path, slice: &str) -> Result<Vec<String>> {
    Ok(members(above, slice)?.into_iter().map(named).collect())
}

/// Whether this process is in the control group of the pod's slice or below.
///
/// # Errors
/// Where its control group cannot be read.
pub fn holds_this_process(slice: &str) -> Result<bool> {
    let groups = std::fs::read_to_string("/proc/self/cgroup");
    let groups = groups.context("cannot read /proc/self/cgroup")?;
    Ok(groups
        .lines()
        .any(|group| group.split('/').any(|part| part == slice)))
}

/// Kills the processes in the control group of the pod's slice and below, and waits until they
/// have ended. systemd does not know those any more whose units it has unloaded.
///
/// # Errors
/// Where the control groups cannot be read, or a process does not end.
pub fn kill(above: &Path, slice: &str) -> Result<()> {
    let deadline = Instant::now() + KILL_TIMEOUT;
    loop {
        let pids = members(above, slice)?;
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids {
            kill_process(pid, deadline).with_context(|| format!("cannot kill {}", named(pid)))?;
        }
    }
}

fn kill_process(pid: i32, deadline: Instant) -> Result<()> {
    let process = Pid::from_raw(pid).context("it is in another PID namespace")?;
    let process = match pidfd_open(process, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        process => process?,
    };
    match pidfd_send_signal(&process, Signal::KILL) {
        Err(Errno::SRCH) => return Ok(()),
        sent => sent?,
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left)?;
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    if poll(&mut ended, Some(&timeout))? == 0 {
        bail!("it does not end");
    }
    Ok(())
}

/// The PIDs in the control group of the pod's slice and below. 0 stands for a process in another
/// PID namespace.
fn members(above: &Path, slice: &str) -> Result<BTreeSet<i32>> {
    let mut members = BTreeSet::new();
    for mount_point in MOUNT_POINTS {
        let top = Path::new(mount_point).join(above.strip_prefix("/").unwrap_or(above));
        let top = top.join(ROOT_SLICE).join(slice);
        let mut groups = VecDeque::from([top]);
        while let Some(group) = groups.pop_front() {
            groups.extend(children(&group)?);
            let procs = group.join("cgroup.procs");
            let pids = unless_gone(std::fs::read_to_string(&procs))
                .with_context(|| format!("cannot read {}", procs.display()))?;
            let pids = pids.unwrap_or_default();
            members.extend(pids.lines().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    Ok(members)
}

fn children(group: &Path) -> Result<Vec<PathBuf>> {
    let entries = unless_gone(std::fs::read_dir(group))
        .with_context(|| format!("cannot read {}", group.display()))?;
    let mut children = Vec::new();
    for entry in entries.into_iter().flatten() {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            children.push(entry.path());
        }
    }
    Ok(children)
}

/// A control group may go while it is read: then nothing is in it.
fn unless_gone<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // ENODEV: the group was removed between open and read.
        Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn named(pid: i32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} {pid}", name.trim_end()),
        Err(_) => pid.to_string(),
    }
}
