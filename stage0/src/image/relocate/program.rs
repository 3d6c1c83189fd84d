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
use super::survey::Survey;
use super::tree::{Found, Tree};
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
        if self.survey.loaders.contains(&entry.id()) {
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
        let (loader, libc) = match role(facts, is_executable(entry)) {
            Role::Program(path) => match self.tree.find_file(path)? {
                Some(loader) => (Some(loader), Libc::of_loader(path)),
                None => return Ok(None),
            },
            Role::Library => match self.libc_of(facts) {
                Some(libc) => (None, libc),
                None => return Ok(None),
            },
            Role::Other => return Ok(None),
        };
        let rpath = self.rpath(entry.dir_path, facts, libc, loader.as_ref())?;
        let interpreter = loader.map(|loader| self.interpreter(&loader)).transpose()?;
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

    /// The C library that a library is for: among those that the image's programs run on, the
    /// one that it names, or else the first.
    fn libc_of(&self, facts: &Facts) -> Option<Libc> {
        let libcs = self.survey.libcs.get(&facts.machine)?;
        let named = |libc: &&Libc| facts.libc.as_ref().is_some_and(|name| libc.is_named(name));
        libcs.iter().find(named).or(libcs.first()).cloned()
    }

    fn interpreter(&self, loader: &Found) -> Result<CString, Fault> {
        let path = rpath::below(self.final_root, &loader.path);
        if path.len() >= MAX_INTERPRETER {
            return Err(Fault::odd("the path of its loader would be too long"));
        }
        CString::new(path).map_err(Fault::odd)
    }

    /// The file's own directories, then the image's; last the loader's, beside which its C
    /// library is.
    fn rpath(
        &mut self,
        dir: &[u8],
        facts: &Facts,
        libc: Libc,
        loader: Option<&Found>,
    ) -> Result<CString, Problem> {
        let mut own = Vec::new();
        let search_path = facts.search_path().unwrap_or_default();
        for candidate in rpath::candidates(search_path, dir, facts.machine) {
            // What an earlier relocation wrote means the same place now.
            let path = rpath::above(self.final_root, &candidate);
            own.extend(self.tree.find_directory(b"/", path)?);
        }
        let key = (libc, facts.machine);
        if !self.directories.contains_key(&key) {
            let found = libraries::directories(self.tree, &key.0, key.1).map_err(Problem::Other)?;
            self.directories.insert(key.clone(), found);
        }
        let shared = self.directories.get(&key).into_iter().flatten();
        let beside = loader.map(|loader| libraries::parent(&loader.path));
        let all = own.iter().chain(shared).map(Vec::as_slice).chain(beside);
        let path = rpath::search_path(self.final_root, all)
            .ok_or_else(|| Fault::odd("its library search path would be too long"))?;
        Ok(CString::new(path).map_err(Fault::odd)?)
    }
}

/// What kind of file it is, by its content.
///
/// Libraries can have an interpreter too (libc.so.6 prints its version), and so can be programs
/// a DT_SONAME: where there is one and no search path, the file is a library that works as it
/// is. A static program or a loader has neither interpreter nor needs, but starts somewhere.
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
