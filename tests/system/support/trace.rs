//! Everything on the host by which one could tell that skim has run a pod.

use std::fs;
use std::path::Path;

use super::{process, systemd};

/// Where skim keeps everything.
pub(crate) const STATE: &str = "/var/lib/skim";

const UNIT_DIRECTORIES: [&str; 2] = ["/run/systemd/system", "/run/systemd/transient"];

/// What was found; empty on a host without pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    /// Loaded units, in whatever state.
    pub(crate) units: Vec<String>,
    /// Unit files, drop-in directories, links.
    pub(crate) unit_files: Vec<String>,
    /// Mounts below skim's directory, or with layers there.
    pub(crate) mounts: Vec<String>,
    /// Processes that execute a file below skim's directory, and holders.
    pub(crate) processes: Vec<String>,
    /// Pod directories.
    pub(crate) pods: Vec<String>,
}

impl Trace {
    /// Looks at the host as it is now.
    #[track_caller]
    pub(crate) fn take() -> Self {
        Self {
            units: systemd::skim_units(),
            unit_files: unit_files(),
            mounts: mounts(),
            processes: processes(),
            pods: pods(),
        }
    }

    /// Fails unless nothing is left of any pod.
    #[track_caller]
    pub(crate) fn assert_none() {
        assert_eq!(Self::take(), Self::default(), "skim left something behind");
    }
}

/// Mounts of skim, as lines of mountinfo.
#[track_caller]
pub(crate) fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("cannot read mountinfo");
    table
        .lines()
        .filter(|line| line.contains(STATE))
        .map(str::to_owned)
        .collect()
}

fn unit_files() -> Vec<String> {
    let mut found = Vec::new();
    for directory in UNIT_DIRECTORIES {
        found.extend(
            names(Path::new(directory))
                .filter(|name| name.trim_start_matches('.').starts_with("skim")),
        );
    }
    found
}

fn processes() -> Vec<String> {
    let skims = |pid: &u32| {
        // A process that has ended meanwhile, or a kernel thread, has no executable.
        let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        executable.starts_with(STATE) || executable.ends_with("stage1-skim")
    };
    let describe = |pid: u32| {
        format!(
            "{pid} {}",
            fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
        )
    };
    process::all()
        .into_iter()
        .filter(skims)
        .map(describe)
        .collect()
}

/// Pods lie one level down, in a directory for each state.
fn pods() -> Vec<String> {
    let pods = Path::new(STATE).join("pods");
    names(&pods)
        .flat_map(|state| names(&pods.join(&state)).map(move |uuid| format!("{state}/{uuid}")))
        .collect()
}

/// The names in a directory; none where it does not exist, or is no directory.
fn names(directory: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
}
