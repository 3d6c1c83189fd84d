//! A pod's state, derived from the directory that it is in and from its lock: pure.
//!
//! | directory        | lock held        | lock free       |
//! |------------------|------------------|-----------------|
//! | `embryo`         | embryo           | embryo          |
//! | `prepare`        | preparing        | aborted prepare |
//! | `prepared`       | prepared         | prepared        |
//! | `run`            | running          | exited          |
//! | `exited-garbage` | exited deleting  | exited garbage  |
//! | `garbage`        | deleting         | garbage         |
//!
//! A pod goes from one directory to the next by rename(2), its lock held:
//!
//! | from             | to                        | by                                        |
//! |------------------|---------------------------|-------------------------------------------|
//! | nothing          | `embryo`, then `prepare`  | run, prepare                              |
//! | `prepare`        | `run`                     | run                                       |
//! | `prepare`        | `prepared`                | prepare                                   |
//! | `prepared`       | `run`                     | run-prepared                              |
//! | `run`            | `prepared`                | run-prepared, where it cannot be mounted  |
//! | `run`            | `exited-garbage`          | gc and rm, where the lock was free        |
//! | `exited-garbage` | nothing                   | rm, and gc after the grace period         |
//! | `embryo`, `prepare`, `prepared` | `garbage`, then nothing | rm, and gc: aborted or expired |

use std::fmt;

use clap::ValueEnum;

/// The directories beneath `pods/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Just made, nothing in it.
    Embryo,
    /// Being filled.
    Prepare,
    /// Ready to run.
    Prepared,
    /// Runs, or has run.
    Run,
    /// Has run, and its traces on the host are gone.
    ExitedGarbage,
    /// Never ran, or is being deleted.
    Garbage,
}

impl Stage {
    /// All of them, in the order of a pod's life.
    pub const ALL: [Self; 6] = [
        Self::Embryo,
        Self::Prepare,
        Self::Prepared,
        Self::Run,
        Self::ExitedGarbage,
        Self::Garbage,
    ];

    /// The directory's name.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Embryo => "embryo",
            Self::Prepare => "prepare",
            Self::Prepared => "prepared",
            Self::Run => "run",
            Self::ExitedGarbage => "exited-garbage",
            Self::Garbage => "garbage",
        }
    }
}

/// A pod's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Just made.
    Embryo,
    /// Being prepared.
    Preparing,
    /// Its preparation broke off.
    AbortedPrepare,
    /// Ready to run.
    Prepared,
    /// Runs.
    Running,
    /// Has run.
    Exited,
    /// Has run, and its traces on the host are gone.
    ExitedGarbage,
    /// Has run, and is being deleted.
    ExitedDeleting,
    /// Never ran, and is to be deleted.
    Garbage,
    /// Never ran, and is being deleted.
    Deleting,
}

impl State {
    /// The state of a pod in the directory of `stage`.
    pub fn of(stage: Stage, is_locked: bool) -> Self {
        match (stage, is_locked) {
            (Stage::Embryo, _) => Self::Embryo,
            (Stage::Prepare, true) => Self::Preparing,
            (Stage::Prepare, false) => Self::AbortedPrepare,
            (Stage::Prepared, _) => Self::Prepared,
            (Stage::Run, true) => Self::Running,
            (Stage::Run, false) => Self::Exited,
            (Stage::ExitedGarbage, true) => Self::ExitedDeleting,
            (Stage::ExitedGarbage, false) => Self::ExitedGarbage,
            (Stage::Garbage, true) => Self::Deleting,
            (Stage::Garbage, false) => Self::Garbage,
        }
    }
}

impl State {
    /// Whether the pod has run and does no more.
    pub fn is_exited(self) -> bool {
        matches!(
            self,
            Self::Exited | Self::ExitedGarbage | Self::ExitedDeleting
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embryo => "embryo",
            Self::Preparing => "preparing",
            Self::AbortedPrepare => "aborted prepare",
            Self::Prepared => "prepared",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::ExitedGarbage => "exited garbage",
            Self::ExitedDeleting => "exited deleting",
            Self::Garbage => "garbage",
            Self::Deleting => "deleting",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds() {
        let names = |locked| Stage::ALL.map(|stage| State::of(stage, locked).to_string());
        assert_eq!(
            names(true),
            [
                "embryo",
                "preparing",
                "prepared",
                "running",
                "exited deleting",
                "deleting"
            ]
        );
        assert_eq!(
            names(false),
            [
                "embryo",
                "aborted prepare",
                "prepared",
                "exited",
                "exited garbage",
                "garbage"
            ]
        );
    }
}
