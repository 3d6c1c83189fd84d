//! What is wrong with a pod file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Most faults that are told of one pod file.
const MAX: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; `None` where it is the whole file.
    pub line: Option<usize>,
    /// What is wrong there, and what to do: one line.
    pub what: String,
}

impl Fault {
    /// A fault of a whole file.
    pub fn of_file(path: &Path, what: impl Into<String>) -> Self {
        Self {
            path: path.to_path_buf(),
            line: None,
            what: what.into(),
        }
    }

    /// A fault of a line.
    pub fn of_line(path: &Path, line: usize, what: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            ..Self::of_file(path, what)
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.path.display().to_string();
        if let Some(line) = self.line {
            text.push_str(&format!(":{line}"));
        }
        text.push_str(": ");
        text.push_str(&self.what);
        // Values are quoted in messages, and may hold anything.
        for c in text.chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_debug())?,
                false => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// All that is wrong with a pod file; at least one thing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// These, in the order of the lines; `None` where there is none.
    pub fn new(mut faults: Vec<Fault>) -> Option<Self> {
        // Files keep their order, which is that in which they were read.
        let mut files: Vec<PathBuf> = Vec::new();
        for fault in &faults {
            if !files.contains(&fault.path) {
                files.push(fault.path.clone());
            }
        }
        faults.sort_by_key(|fault| {
            let file = files.iter().position(|path| *path == fault.path);
            (file, fault.line)
        });
        faults.dedup();
        faults.truncate(MAX);
        (!faults.is_empty()).then_some(Self(faults))
    }

    /// One fault of a whole file.
    pub fn of_file(path: &Path, what: impl Into<String>) -> Self {
        Self::one(Fault::of_file(path, what))
    }

    /// The one fault.
    pub fn one(fault: Fault) -> Self {
        Self(vec![fault])
    }

    /// All of them.
    pub fn list(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.0.first() {
            write!(f, "{first}")?;
        }
        match self.0.len() {
            0 | 1 => Ok(()),
            2 => write!(f, " (and one more fault: see skim check)"),
            count => write!(f, " (and {} more faults: see skim check)", count - 1),
        }
    }
}

impl std::error::Error for Faults {}
