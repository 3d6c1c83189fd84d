//! A first look at the tree: which loaders the image's programs use. What a shared library
//! needs depends on it, and the loaders themselves are never changed.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result};
use rustix::fs::OFlags;

use super::cow::CowFile;
use super::elf::{Facts, Fault, Machine};
use super::is_executable;
use super::libraries::Libc;
use super::report::show;
use super::tree::{Tree, open_regular};
use super::walk::{Entry, Visitor, walk};

/// More loaders for one machine than this mean nothing.
const MAX_LOADERS: usize = 8;

/// A loader that programs of the image use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loader {
    /// The C library that it belongs to.
    pub(super) libc: Libc,
    /// Its real path.
    pub(super) path: Vec<u8>,
}

/// What the image's programs run on.
#[derive(Default)]
pub(super) struct Survey {
    /// The loaders' inodes, by device and number.
    pub(super) inodes: HashSet<(u64, u64)>,
    /// The loaders for each machine.
    pub(super) loaders: BTreeMap<Machine, Vec<Loader>>,
}

/// Looks at every program of the image.
pub(super) fn survey(tree: Tree<'_>) -> Result<Survey> {
    let mut surveyor = Surveyor {
        tree,
        survey: Survey::default(),
    };
    walk(tree, &mut surveyor)?;
    Ok(surveyor.survey)
}

struct Surveyor<'fd> {
    tree: Tree<'fd>,
    survey: Survey,
}

impl Visitor for Surveyor<'_> {
    fn regular(&mut self, entry: &Entry<'_>) -> Result<()> {
        if entry.stat.st_size < 64 || !is_executable(entry) {
            return Ok(());
        }
        self.look_at(entry)
            .with_context(|| format!("cannot read {} of the image", show(&entry.path())))
    }

    fn symlink(&mut self, _: &Entry<'_>) -> Result<()> {
        Ok(())
    }
}

impl Surveyor<'_> {
    fn look_at(&mut self, entry: &Entry<'_>) -> Result<()> {
        let file = open_regular(entry.dir, entry.name, OFlags::RDONLY)?;
        let facts = match Facts::read(&mut CowFile::new(&file, 0)?) {
            Ok(Some(facts)) => facts,
            Ok(None) | Err(Fault::Odd(_)) => return Ok(()),
            Err(Fault::Io(error)) => return Err(error.into()),
        };
        let Some(path) = facts.interpreter.filter(|path| path.starts_with(b"/")) else {
            return Ok(());
        };
        let Some(found) = self.tree.find_file(&path)? else {
            return Ok(());
        };
        self.survey.inodes.insert(found.id);
        let loaders = self.survey.loaders.entry(facts.machine).or_default();
        let loader = Loader {
            libc: Libc::of_loader(&path),
            path: found.path,
        };
        if loaders.len() < MAX_LOADERS && !loaders.contains(&loader) {
            loaders.push(loader);
        }
        Ok(())
    }
}
