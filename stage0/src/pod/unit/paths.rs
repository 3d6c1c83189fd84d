//! Which paths of an image's unit mean the image, and which the host.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use stage1_skim::escape;

use super::specifiers::UnitName;
use crate::pod::programs;
use crate::pod::tree::Tree;

/// What belongs to a distribution's packages, and not to the operator of a host.
const OF_PACKAGES: [&str; 8] = [
    "usr", "lib", "lib32", "lib64", "libx32", "bin", "sbin", "opt",
];

/// Where programs without a path are looked for (systemd.exec(5), `ExecSearchPath=`).
const SEARCH_PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Looks paths up.
pub struct Paths<'a> {
    /// The image's tree.
    pub tree: &'a Tree,
    /// Where the app has its image.
    pub root: &'a Path,
    /// The host's root directory.
    pub host: &'a Path,
}

impl Paths<'_> {
    /// The program of a command: the image's, where the image has it, else the host's.
    ///
    /// # Errors
    /// Where it is no absolute path, and in no directory of programs.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        if name.starts_with('/') {
            let path = Path::new(name);
            return Ok(match self.tree.is_executable(path)? {
                true => programs::beneath(self.root, &self.tree.plain(path)?),
                false => path.to_path_buf(),
            });
        }
        if !name.contains('/') && !name.is_empty() {
            for directory in SEARCH_PATH {
                let path = Path::new(directory).join(name);
                if self.tree.is_executable(&path)? {
                    return Ok(programs::beneath(self.root, &self.tree.plain(&path)?));
                }
            }
            for directory in SEARCH_PATH {
                if self.on_host(&format!("{directory}/{name}")) {
                    return Ok(Path::new(directory).join(name));
                }
            }
        }
        bail!(
            "the program `{}` is neither an absolute path nor in {}",
            name.escape_debug(),
            SEARCH_PATH.join(":")
        )
    }

    /// The path of the image that a path of the unit means; `None` where it means the host.
    ///
    /// # Errors
    /// Where the tree cannot be read.
    pub fn of_image(&self, path: &str) -> Result<Option<PathBuf>> {
        let path = Path::new(path);
        let mut parts = path.components();
        let is_plain = path.components().all(|part| part != Component::ParentDir);
        let first = match (parts.next(), parts.next()) {
            (Some(Component::RootDir), Some(Component::Normal(first))) => first.to_str(),
            _ => None,
        };
        let is_packaged = first.is_some_and(|first| OF_PACKAGES.contains(&first));
        if !is_plain || !is_packaged || self.tree.stat(path)?.is_none() {
            return Ok(None);
        }
        Ok(Some(programs::beneath(self.root, path)))
    }

    /// An argument that is unit text: a path of the image's, or `--option=PATH` with one, is
    /// where the app has it; everything else stays.
    ///
    /// # Errors
    /// Where the tree cannot be read, or the path is not UTF-8.
    pub fn argument(&self, word: &str, keeps_variables: bool) -> Result<String> {
        let (head, path) = match word.split_once('=') {
            Some((option, path)) if option.starts_with('-') => (&word[..=option.len()], path),
            _ => ("", word),
        };
        if path.contains(['%', '$']) {
            return Ok(word.to_string());
        }
        match self.of_image(path)? {
            Some(path) => {
                let path = path.to_str().context("the path of the pod is not UTF-8")?;
                Ok(format!("{head}{}", escape::literal(path, keeps_variables)))
            }
            None => Ok(word.to_string()),
        }
    }

    /// A value that is data: as [`Self::argument`], for a whole path.
    ///
    /// # Errors
    /// As there.
    pub fn value(&self, value: String) -> Result<String> {
        match self.of_image(&value)? {
            Some(path) => {
                let path = path.to_str().context("the path of the pod is not UTF-8")?;
                Ok(path.to_string())
            }
            None => Ok(value),
        }
    }

    /// A setting's value that is a path, `|`, `!` or `-` before it, as [`Self::argument`].
    ///
    /// # Errors
    /// As there.
    pub fn setting(&self, value: &str, name: &UnitName) -> Result<String> {
        let value = name.expand_value(value)?;
        let path = value.trim_start_matches(['|', '!', '-']);
        let prefix = &value[..value.len() - path.len()];
        if path.contains('%') {
            return Ok(value);
        }
        match self.of_image(path)? {
            Some(path) => Ok(format!("{prefix}{}", escape::path(&path)?)),
            None => Ok(value),
        }
    }

    /// Whether the host has a file there.
    pub fn on_host(&self, path: &str) -> bool {
        self.host.join(path.trim_start_matches('/')).exists()
    }
}
