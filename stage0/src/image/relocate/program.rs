//! Dynamic executables and shared libraries: what each needs, and giving it that.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;

use anyhow::Result;

use super::cow::CowFile;
use super::elf::{Facts, Fault, MAX_INTERPRETER, Machine};
use super::elf_patch::{MAX_WRITTEN, Wanted, patch};
use super::libraries::{self, Libc};
use super::report::{FromTo, Recorder, What};
use super::survey::{Loader, Survey};
use super::tree::Tree;
use super::walk::Entry;
use super::{is_executable, rewrite, rpath};

/// What is to be done with an ELF file.
#[derive(Debug, PartialEq, Eq)]
enum Role<'f> {
    /// A program with this interpreter.
    Program(&'f [u8]),
    /// A library whose search path would keep the loader from the programs' one.
    Library,
    /// Right as it is.
    Other,
}

/// Relocates programs and libraries.
pub(super) struct Programs<'a> {
    tree: Tree<'a>,
    final_root: &'a [u8],
    survey: &'a Survey,
    directories: BTreeMap<(Libc, Machine), Vec<Vec<u8>>>,
}

impl<'a> Programs<'a> {
    pub(super) fn new(tree: Tree<'a>, final_root: &'a [u8], survey: &'a Survey) -> Self {
        Self {
            tree,
            final_root,
            survey,
            directories: BTreeMap::new(),
        }
    }

    /// Relocates an ELF file if it needs it.
    pub(super) fn relocate(
        &mut self,
        entry: &Entry<'_>,
        file: &File,
        report: &mut Recorder,
    ) -> Result<()> {
        if self.survey.inodes.contains(&entry.id()) {
            return Ok(());
        }
        let mut view = CowFile::new(file, MAX_WRITTEN)?;
        let facts = match Facts::read(&mut view) {
            Ok(Some(facts)) => facts,
            Ok(None) => return Ok(()),
            Err(Fault::Odd(reason)) => {
                // Whether it is a program at all cannot be told.
                if is_executable(entry) {
                    report.left(&entry.path(), reason);
                }
                return Ok(());
            }
            Err(Fault::Io(error)) => return Err(error.into()),
        };
        match self.patch(entry, &mut view, &facts) {
            Ok(Some(change)) => report.changed(&entry.path(), change),
            Ok(None) => {}
            Err(Problem::Fault(Fault::Odd(reason))) => report.left(&entry.path(), reason),
            Err(Problem::Fault(Fault::Io(error))) => return Err(error.into()),
            Err(Problem::Other(error)) => return Err(error),
        }
        Ok(())
    }

    fn patch(
        &mut self,
        entry: &Entry<'_>,
        view: &mut CowFile<'_>,
        facts: &Facts,
    ) -> Result<Option<What>, Problem> {
        let (loader, is_program) = match role(facts, is_executable(entry)) {
            Role::Program(path) => (self.loader_at(path)?, true),
            Role::Library => (self.loader_for(facts), false),
            Role::Other => return Ok(None),
        };
        let Some(loader) = loader else {
            return Ok(None);
        };
        let rpath = self.rpath(entry.dir_path, facts, &loader)?;
        let interpreter = is_program.then(|| self.interpreter(&loader)).transpose()?;
        if interpreter.is_none() && facts.search_path() == Some(rpath.to_bytes()) {
            return Ok(None);
        }
        let wanted = Wanted {
            interpreter: interpreter.as_deref(),
            rpath: &rpath,
        };
        patch(view, &wanted)?;
        rewrite(entry, |file| Ok(view.apply(file)?))?;
        let old = facts.interpreter.as_deref().unwrap_or_default();
        Ok(Some(What::Elf {
            interpreter: interpreter
                .as_deref()
                .map(|new| FromTo::new(old, new.to_bytes())),
            rpath: FromTo::new(facts.search_path().unwrap_or_default(), rpath.to_bytes()),
        }))
    }

    /// The loader that a program names, if it is in the image.
    fn loader_at(&self, path: &[u8]) -> Result<Option<Loader>, Problem> {
        let found = self.tree.find_file(path)?;
        Ok(found.map(|found| Loader {
            libc: Libc::of_loader(path),
            path: found.path,
        }))
    }

    /// The loader that a library is for: among those of the image's programs, the one of the C
    /// library that it needs, or else the first.
    fn loader_for(&self, facts: &Facts) -> Option<Loader> {
        let loaders = self.survey.loaders.get(&facts.machine)?;
        let needed = |loader: &&Loader| {
            facts
                .libc
                .as_ref()
                .is_some_and(|name| loader.libc.is_named(name))
        };
        loaders.iter().find(needed).or(loaders.first()).cloned()
    }

    fn interpreter(&self, loader: &Loader) -> Result<CString, Fault> {
        let path = rpath::below(self.final_root, &loader.path);
        if path.len() >= MAX_INTERPRETER {
            return Err(Fault::odd("the path of its loader would be too long"));
        }
        CString::new(path).map_err(Fault::odd)
    }

    /// The file's own directories, then the image's; last the loader's, beside which its C
    /// library is.
    fn rpath(&mut self, dir: &[u8], facts: &Facts, loader: &Loader) -> Result<CString, Problem> {
        let mut own = Vec::new();
        let search_path = facts.search_path().unwrap_or_default();
        for candidate in rpath::candidates(search_path, dir, facts.machine) {
            // What an earlier relocation wrote means the same place now.
            let path = rpath::above(self.final_root, &candidate);
            own.extend(self.tree.find_directory(b"/", path)?);
        }
        let key = (loader.libc.clone(), facts.machine);
        if !self.directories.contains_key(&key) {
            let found = libraries::directories(self.tree, &key.0, key.1).map_err(Problem::Other)?;
            self.directories.insert(key.clone(), found);
        }
        let shared = self.directories.get(&key).into_iter().flatten();
        let beside = [libraries::parent(&loader.path)];
        let all = own.iter().chain(shared).map(Vec::as_slice).chain(beside);
        let path = rpath::search_path(self.final_root, all)
            .ok_or_else(|| Fault::odd("its library search path would be too long"))?;
        Ok(CString::new(path).map_err(Fault::odd)?)
    }
}

/// What kind of file it is, by its content.
///
/// Some libraries have an interpreter too (libc.so.6 prints its version): what has a DT_SONAME and
/// no search path of its own is a library that works as it is. A static program or a loader has
/// neither an interpreter nor needs, but starts somewhere.
fn role(facts: &Facts, is_executable: bool) -> Role<'_> {
    let interferes = facts.runpath.is_some()
        || facts
            .rpath
            .as_deref()
            .is_some_and(rpath::has_absolute_entry);
    match facts
        .interpreter
        .as_deref()
        .filter(|path| path.starts_with(b"/"))
    {
        Some(_) if facts.has_soname && !interferes => Role::Other,
        Some(interpreter) if is_executable => Role::Program(interpreter),
        Some(_) if !facts.has_soname => Role::Other,
        None if facts.has_entry && !facts.has_needs => Role::Other,
        _ if interferes => Role::Library,
        _ => Role::Other,
    }
}

/// What ends the work on one file, or the whole import.
enum Problem {
    Fault(Fault),
    Other(anyhow::Error),
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<rustix::io::Errno> for Problem {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Fault(Fault::Io(errno.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            machine: Machine {
                number: 62,
                wide: true,
            },
            interpreter: None,
            has_entry: false,
            has_soname: false,
            has_needs: true,
            libc: None,
            rpath: None,
            runpath: None,
        }
    }

    #[test]
    fn tells_programs_from_libraries_by_their_content() {
        let interpreter = || Some(b"/ld.so".to_vec());
        let path = |path: &str| Some(path.as_bytes().to_vec());
        let program = || Facts {
            interpreter: interpreter(),
            has_entry: true,
            ..facts()
        };
        let library = || Facts {
            has_soname: true,
            ..facts()
        };
        let libc = || Facts {
            interpreter: interpreter(),
            has_entry: true,
            ..library()
        };
        let loader = || Facts {
            has_entry: true,
            has_needs: false,
            ..library()
        };
        for (name, facts, is_executable, expected) in [
            ("program", program(), true, Role::Program(b"/ld.so")),
            ("not executable", program(), false, Role::Other),
            (
                "relative",
                Facts {
                    interpreter: path("ld.so"),
                    ..program()
                },
                true,
                Role::Other,
            ),
            ("libc.so.6", libc(), true, Role::Other),
            (
                "libc with RUNPATH",
                Facts {
                    runpath: path("/x"),
                    ..libc()
                },
                false,
                Role::Library,
            ),
            ("library", library(), false, Role::Other),
            (
                "RUNPATH",
                Facts {
                    runpath: path("$ORIGIN"),
                    ..library()
                },
                false,
                Role::Library,
            ),
            (
                "RPATH",
                Facts {
                    rpath: path("/usr/lib/x"),
                    ..library()
                },
                true,
                Role::Library,
            ),
            (
                "$ORIGIN",
                Facts {
                    rpath: path("$ORIGIN"),
                    ..library()
                },
                false,
                Role::Other,
            ),
            (
                "plugin",
                Facts {
                    runpath: path("/x"),
                    ..facts()
                },
                false,
                Role::Library,
            ),
            (
                "loader",
                Facts {
                    runpath: path("/x"),
                    ..loader()
                },
                true,
                Role::Other,
            ),
        ] {
            assert_eq!(role(&facts, is_executable), expected, "{name}");
        }
    }
}
