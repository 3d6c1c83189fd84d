//! Where pod files are, and the drop-ins that go with one (systemd.unit(5)): reads files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use stage1_skim::unit_file::TEXT_MAX;

use super::fault::{Fault, Faults};
use super::{PodFile, name};
use crate::config::{self, Directories, Node};
use crate::pod::manifest::PodManifest;

/// Where pod files are that do not outlive a boot.
const RUNTIME: &str = "/run/skim";

/// What the names of pod files end in.
const EXTENSION: &str = ".skim";

/// What the names of pod manifests end in.
const MANIFEST_EXTENSION: &str = ".json";

/// Most drop-ins of one pod file.
const DROPINS_MAX: usize = 256;

/// No pod manifest is larger, in bytes.
const MANIFEST_MAX: u64 = 4 * 1024 * 1024;

/// Names of pod files, in order, with the path of each.
pub type Names = Vec<(String, PathBuf)>;

/// The directories in which pod files are looked for; the first that has one wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath {
    /// Absolute paths.
    pub directories: Vec<PathBuf>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

/// What could be read where not all could; and what could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial<T> {
    /// What could be read.
    pub read: T,
    /// Why that is not all.
    pub faults: Faults,
}

impl<T> Partial<T> {
    /// `read`, which is all of it where there is no fault.
    fn result(read: T, faults: Vec<Fault>) -> Result<T, Self> {
        match Faults::new(faults) {
            Some(faults) => Err(Self { read, faults }),
            None => Ok(read),
        }
    }
}

impl<T> From<Partial<T>> for Faults {
    fn from(partial: Partial<T>) -> Self {
        partial.faults
    }
}

/// What a name stands for.
#[derive(Debug)]
pub enum Described {
    /// A pod file.
    File(Box<PodFile>),
    /// An appc pod manifest.
    Manifest {
        /// Where it is.
        path: PathBuf,
        /// What it holds.
        manifest: Box<PodManifest>,
    },
}

impl SearchPath {
    /// Those of this configuration: the administrator's, the one for this boot, the vendor's.
    pub fn new(config: &Directories) -> Self {
        Self {
            directories: vec![config.local.clone(), RUNTIME.into(), config.system.clone()],
        }
    }

    /// The names of all pod files that are not masked, in order, with the path of each. One that
    /// cannot be read is among them.
    ///
    /// # Errors
    /// Which directories cannot be read, with the names in the others.
    pub fn names(&self) -> Result<Names, Partial<Names>> {
        let mut found = BTreeMap::new();
        let mut faults = Vec::new();
        for directory in &self.directories {
            for file in files(directory, &mut faults) {
                let Some(name) = file.strip_suffix(EXTENSION) else {
                    continue;
                };
                let path = directory.join(&file);
                found.entry(name.to_string()).or_insert(path);
            }
        }
        let is_masked = |path: &Path| matches!(config::read(path, TEXT_MAX as u64), Ok(Node::Mask));
        let names = found.into_iter().filter(|(_, path)| !is_masked(path));
        Partial::result(names.collect(), faults)
    }

    /// Those of the directories that have none of these faults.
    pub fn without(&self, faults: &Faults) -> Self {
        let is_good = |directory: &&PathBuf| {
            let mut faults = faults.list().iter();
            !faults.any(|fault| fault.path == **directory)
        };
        let directories = self.directories.iter().filter(is_good).cloned();
        Self {
            directories: directories.collect(),
        }
    }

    /// The texts of the pod file `name` and of its drop-ins; `None` where there is none, or it is
    /// masked.
    ///
    /// # Errors
    /// What of it cannot be read, with the texts that can.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<Text>>, Partial<Vec<Text>>> {
        match self.first(&format!("{name}{EXTENSION}")) {
            Some(path) => self.texts_at(&path, name),
            None => Ok(None),
        }
    }

    /// The texts of the pod file at `path`, whose name is `name`, and of its drop-ins; `None` where
    /// it is masked.
    fn texts_at(&self, path: &Path, name: &str) -> Result<Option<Vec<Text>>, Partial<Vec<Text>>> {
        let mut faults = Vec::new();
        let main = read(path, &mut faults);
        if main.is_none() && faults.is_empty() {
            return Ok(None);
        }
        let mut texts: Vec<_> = main.into_iter().collect();
        for path in self.dropins(name, &mut faults) {
            texts.extend(read(&path, &mut faults));
        }
        Partial::result(texts, faults).map(Some)
    }

    /// Reads the pod file at `path`, wherever it is. Its drop-ins are those of its name, where it
    /// is in one of the directories; else those beside it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load_file(&self, path: &Path) -> Result<PodFile, Faults> {
        let fault = |what: String| Faults::of_file(path, what);
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.and_then(|name| name.strip_suffix(EXTENSION));
        let name = name.ok_or_else(|| fault(format!("it is not called NAME{EXTENSION}")))?;
        name::check(name).map_err(|error| fault(format!("{error:#}")))?;
        let absolute = std::path::absolute(path).map_err(|error| fault(error.to_string()))?;
        let parent = absolute.parent().unwrap_or(Path::new("/")).to_path_buf();
        let texts = match self.directories.contains(&parent) {
            true => self.texts_at(&absolute, name)?,
            false => {
                let directories = vec![parent];
                Self { directories }.texts_at(&absolute, name)?
            }
        };
        match texts {
            Some(texts) => PodFile::parse(name, &texts),
            None if absolute.exists() => Err(fault("it is empty, which masks the pod".to_string())),
            None => Err(fault("there is no such file".to_string())),
        }
    }

    /// Reads the pod file `name` and its drop-ins; `None` where there is none, or it is masked.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(&self, name: &str) -> Result<Option<PodFile>, Faults> {
        if let Err(error) = name::check(name) {
            let path = self.first(&format!("{name}{EXTENSION}"));
            let path = path.unwrap_or_else(|| format!("{name}{EXTENSION}").into());
            return Err(Faults::one(Fault::of_file(&path, format!("{error:#}"))));
        }
        match self.texts(name)? {
            Some(texts) => PodFile::parse(name, &texts).map(Some),
            None => Ok(None),
        }
    }

    /// What `name` stands for: the pod file, else the pod manifest of this name.
    ///
    /// # Errors
    /// Where there is neither, or it is faulty.
    pub fn describe(&self, name: &str) -> Result<Described> {
        if let Some(file) = self.load(name)? {
            return Ok(Described::File(Box::new(file)));
        }
        let manifest = format!("{name}{MANIFEST_EXTENSION}");
        if let Some(path) = self.first(&manifest)
            && let Node::File(json) = config::read(&path, MANIFEST_MAX)?
        {
            let manifest = PodManifest::parse(&json);
            let manifest = manifest.with_context(|| format!("pod manifest {}", path.display()))?;
            let manifest = Box::new(manifest);
            return Ok(Described::Manifest { path, manifest });
        }
        let places: Vec<_> = self
            .directories
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let state = match self.first(&format!("{name}{EXTENSION}")) {
            Some(path) => format!("{} is masked: it is empty", path.display()),
            None => format!(
                "there is no pod file {name}{EXTENSION} and no pod manifest {manifest} in {}",
                places.join(", ")
            ),
        };
        bail!(state)
    }

    /// Whether there may be a pod file `name`, be it masked or faulty.
    pub fn may_have(&self, name: &str) -> bool {
        let mut directories = self.directories.iter();
        directories.any(|directory| {
            let path = directory.join(format!("{name}{EXTENSION}"));
            match path.symlink_metadata() {
                Ok(_) => true,
                // What cannot be looked for may be there.
                Err(error) => error.kind() != std::io::ErrorKind::NotFound,
            }
        })
    }

    /// The first directory's file of this name.
    fn first(&self, file: &str) -> Option<PathBuf> {
        let paths = self
            .directories
            .iter()
            .map(|directory| directory.join(file));
        paths
            .into_iter()
            .find(|path| path.symlink_metadata().is_ok())
    }

    /// The drop-ins of the pod file `name` in the order in which they hold; of several of one name
    /// the first directory's. What is wrong is added to `faults`.
    fn dropins(&self, name: &str, faults: &mut Vec<Fault>) -> Vec<PathBuf> {
        let mut found = BTreeMap::new();
        let directories = dropin_directories(name).into_iter();
        let directories = directories
            .flat_map(|below| self.directories.iter().map(move |above| above.join(&below)));
        for directory in directories {
            for file in files(&directory, faults) {
                if file.ends_with(".conf") {
                    let path = directory.join(&file);
                    found.entry(file).or_insert(path);
                }
            }
            if found.len() > DROPINS_MAX {
                let what = format!("the pod file has over {DROPINS_MAX} drop-ins");
                faults.push(Fault::of_file(&directory, what));
                break;
            }
        }
        found.into_values().take(DROPINS_MAX).collect()
    }
}

/// The directories of drop-ins for the pod file `name`, the most specific first: its own, those of
/// the beginnings of its name up to a dash, that of all pod files (systemd.unit(5)). Pure.
fn dropin_directories(name: &str) -> Vec<String> {
    let dashes = name.rmatch_indices('-').map(|(at, dash)| at + dash.len());
    let beginnings = dashes.filter(|end| *end < name.len());
    let beginnings = beginnings.map(|end| format!("{}{EXTENSION}.d", &name[..end]));
    let own = format!("{name}{EXTENSION}.d");
    // `.skim` without its dot.
    let all = format!("{}.d", &EXTENSION[1..]);
    [own].into_iter().chain(beginnings).chain([all]).collect()
}

/// The names of files in a directory, which may be missing. A name that is not UTF-8 is none of
/// ours. What is wrong is added to `faults`.
fn files(directory: &Path, faults: &mut Vec<Fault>) -> Vec<String> {
    let what = match config::read(directory, 0) {
        Ok(Node::Directory(names)) => {
            let names = names.into_iter();
            return names.filter_map(|name| name.into_string().ok()).collect();
        }
        Ok(Node::Missing | Node::Mask) => return Vec::new(),
        Ok(Node::File(_)) => "it is no directory".to_string(),
        Err(error) => format!("{:#}", plain(error)),
    };
    faults.push(Fault::of_file(directory, what));
    Vec::new()
}

/// The text of a file; `None` where it is empty, or gone. What is wrong is added to `faults`.
fn read(path: &Path, faults: &mut Vec<Fault>) -> Option<Text> {
    let what = match config::read(path, TEXT_MAX as u64) {
        Ok(Node::Missing | Node::Mask) => return None,
        Ok(Node::File(bytes)) => return Some(text(path, bytes, faults)),
        Ok(Node::Directory(_)) => "it is a directory".to_string(),
        Err(error) => format!("{:#}", plain(error)),
    };
    faults.push(Fault::of_file(path, what));
    None
}

/// What is not UTF-8 is a fault, but the lines around it can be read.
fn text(path: &Path, bytes: Vec<u8>, faults: &mut Vec<Fault>) -> Text {
    let text = String::from_utf8(bytes).unwrap_or_else(|error| {
        let what = format!("it is not UTF-8: {}", error.utf8_error());
        faults.push(Fault::of_file(path, what));
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    });
    let path = path.to_path_buf();
    Text { path, text }
}

/// An error without the path at its head, which the fault has.
fn plain(error: anyhow::Error) -> anyhow::Error {
    let is_path = error.to_string().starts_with("cannot use /");
    match (is_path, error.chain().nth(1).map(ToString::to_string)) {
        (true, Some(_)) => {
            let causes: Vec<_> = error.chain().skip(1).map(ToString::to_string).collect();
            anyhow::anyhow!(causes.join(": "))
        }
        _ => error,
    }
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
