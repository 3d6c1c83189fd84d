//! What /proc says of a process.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;

use super::command::run;

/// The namespaces that an app shares with the host.
pub(crate) const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// The namespace's identity, such as `mnt:[4026531841]`.
#[track_caller]
pub(crate) fn namespace(pid: u32, kind: &str) -> PathBuf {
    link(pid, &format!("ns/{kind}"))
}

/// The file that the process executes.
#[track_caller]
pub(crate) fn executable(pid: u32) -> PathBuf {
    link(pid, "exe")
}

/// The process's root directory.
#[track_caller]
pub(crate) fn root(pid: u32) -> PathBuf {
    link(pid, "root")
}

#[track_caller]
fn link(pid: u32, name: &str) -> PathBuf {
    let path = format!("/proc/{pid}/{name}");
    fs::read_link(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// When the process started, in clock ticks since boot: with its PID, this names a process for
/// good. `None` where there is no such process, or only a zombie.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name, is in brackets and may contain blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    // The state, just taken, is field 3; the start time is field 22.
    fields.nth(18)?.parse().ok()
}

/// The PIDs of all processes.
#[track_caller]
pub(crate) fn all() -> Vec<u32> {
    fs::read_dir("/proc")
        .expect("cannot list /proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Runs a program to its end and tells how much memory it had at most, in KiB (getrusage(2)).
#[track_caller]
pub(crate) fn peak_memory<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> u64 {
    let script = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); \
                  print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)";
    let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
    let python = ["-c", script].map(OsString::from);
    let outcome = run("python3", python.into_iter().chain(args)).success();
    let peak = outcome
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("peak ")?.parse().ok());
    peak.expect("python prints the figure")
}
