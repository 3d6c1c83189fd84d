//! A pod's control group, which may outlive its units.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::names::ROOT_SLICE;

/// Where the unified hierarchy is mounted, or systemd's part of it on a hybrid host.
const MOUNT_POINTS: [&str; 3] = [
    "/sys/fs/cgroup/unified",
    "/sys/fs/cgroup/systemd",
    "/sys/fs/cgroup",
];

/// The processes in the control group of the pod's slice and below, as `NAME PID`.
///
/// # Errors
/// Where the control groups cannot be read.
pub fn processes(slice: &str) -> Result<Vec<String>> {
    let mut processes = Vec::new();
    for mount_point in MOUNT_POINTS {
        let top = Path::new(mount_point).join(ROOT_SLICE).join(slice);
        let mut groups = VecDeque::from([top]);
        while let Some(group) = groups.pop_front() {
            groups.extend(children(&group)?);
            let procs = group.join("cgroup.procs");
            let pids = unless_gone(std::fs::read_to_string(&procs))
                .with_context(|| format!("cannot read {}", procs.display()))?;
            processes.extend(pids.unwrap_or_default().lines().map(named));
        }
    }
    processes.sort();
    processes.dedup();
    Ok(processes)
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
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn named(pid: &str) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} {pid}", name.trim_end()),
        Err(_) => pid.to_string(),
    }
}
