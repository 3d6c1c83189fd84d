//! Writes the units of all pod files. Whatever goes wrong with one, the others are written.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{Output, faulty, outputs};
use crate::pod_file::{Faults, PodFile, SearchPath, Text, name};

/// Writes units into a directory of systemd's.
pub struct Writer<'a> {
    /// The directory.
    directory: &'a Path,
    /// The program that the units run.
    skim: &'a Path,
    /// Tells what is wrong, in one line.
    complain: &'a dyn Fn(&str),
    /// The paths beneath the directory that were written.
    written: HashSet<String>,
}

/// What a pod file gives, and what can be read of it.
struct Made {
    texts: Vec<Text>,
    outputs: Result<Vec<Output>, Faults>,
}

impl<'a> Writer<'a> {
    /// One that has not written anything: units that run `skim` go into `directory`, and what is
    /// wrong to `complain`.
    pub fn new(directory: &'a Path, skim: &'a Path, complain: &'a dyn Fn(&str)) -> Self {
        Self {
            directory,
            skim,
            complain,
            written: HashSet::new(),
        }
    }

    /// Writes the units of all pod files that `search` finds.
    pub fn write_all(&mut self, search: &SearchPath) {
        let (names, unlisted) = match search.names() {
            Ok(names) => (names, None),
            Err(partial) => (partial.read, Some(partial.faults)),
        };
        for (name, path) in names {
            // Its name is not that of a unit: nothing can stand for it.
            let done = name::check(&name).and_then(|()| {
                let made = match &unlisted {
                    None => self.make(search, &name),
                    Some(faults) => Some(overridden(search, &name, faults)),
                };
                made.map_or(Ok(()), |made| self.write_pod(&name, &path, made))
            });
            if let Err(error) = done {
                (self.complain)(&format!("{}: {error:#}", path.display()));
            }
        }
    }

    /// The units of a pod file; `None` where it has just gone.
    fn make(&self, search: &SearchPath, name: &str) -> Option<Made> {
        let texts = match search.texts(name) {
            Ok(texts) => texts?,
            Err(partial) => {
                return Some(Made {
                    texts: partial.read,
                    outputs: Err(partial.faults),
                });
            }
        };
        let outputs = PodFile::parse(name, &texts).and_then(|file| {
            outputs(&file, self.skim)
                .map_err(|error| Faults::of_file(&file.path, format!("{error:#}")))
        });
        Some(Made { texts, outputs })
    }

    /// Writes what a pod file gives; a unit that fails with the reason where that cannot be.
    fn write_pod(&mut self, name: &str, path: &Path, made: Made) -> Result<()> {
        let outputs = made.outputs.and_then(|outputs| match self.taken(&outputs) {
            Some(taken) => Err(Faults::of_file(path, collision(taken))),
            None => Ok(outputs),
        });
        let faults = match outputs {
            Ok(outputs) => return self.write(&outputs),
            Err(faults) => faults,
        };
        for fault in faults.list() {
            (self.complain)(&fault.to_string());
        }
        let mut outputs = faulty(name, &made.texts, &faults, self.skim)?;
        // The others of its names may be another pod's; without its own, they would start that.
        let own = self.taken(outputs.get(..1).unwrap_or_default());
        ensure!(own.is_none(), "{}", collision(own.unwrap_or_default()));
        outputs.retain(|output| !self.written.contains(output.path()));
        self.write(&outputs)
    }

    /// The first path that is another pod's.
    fn taken<'o>(&self, outputs: &'o [Output]) -> Option<&'o str> {
        let mut paths = outputs.iter().map(Output::path);
        paths.find(|path| self.written.contains(*path))
    }

    fn write(&mut self, outputs: &[Output]) -> Result<()> {
        for output in outputs {
            let path = output.path();
            self.written.insert(path.to_string());
            let target = self.directory.join(path);
            let made = match (output, target.parent()) {
                (Output::File(_, text), _) => fs::write(&target, text),
                (Output::Link(_, to), Some(parent)) => {
                    fs::create_dir_all(parent).and_then(|()| symlink(to, &target))
                }
                (Output::Link(..), None) => Ok(()),
            };
            made.with_context(|| format!("cannot write {}", target.display()))?;
        }
        Ok(())
    }
}

/// What is made of a pod file while a directory cannot be read: that may hold another file of this
/// name, or a drop-in, and to run the pod without it could do what was forbidden.
fn overridden(search: &SearchPath, name: &str, faults: &Faults) -> Made {
    let texts = search.without(faults).texts(name);
    let texts = texts.map(Option::unwrap_or_default);
    Made {
        texts: texts.unwrap_or_else(|partial| partial.read),
        outputs: Err(faults.clone()),
    }
}

fn collision(path: &str) -> String {
    format!("{path} is made of another pod file already: rename one, or its app")
}

#[cfg(test)]
#[path = "writing_tests.rs"]
mod tests;
