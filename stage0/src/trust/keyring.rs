//! The keys that are trusted, in directories as rkt has them.
//!
//! ```text
//! trustedkeys/                        in the vendor's and in the administrator's directory
//!   root.d/FINGERPRINT                a key that is trusted for all images
//!   prefix.d/example.com/app/FINGERPRINT
//!                                     one that is for images beneath example.com/app
//! ```
//!
//! A prefix is a path of directories, so no two prefixes share one and none needs to be
//! escaped. Each file is one public key, armored or binary; its name is the key's fingerprint in
//! lower case. A file of the administrator's takes the place of the vendor's at the same place,
//! and masks it if it is empty.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail, ensure};
use sequoia_openpgp::{Cert, KeyHandle};

use super::key::{self, Fingerprint, MAX_KEY_FILE};
use super::prefix::{Prefix, Scope};
use crate::config::{self, Directories, Node};

/// Most files and directories beneath one of the two directories.
const MAX_FILES: usize = 10_000;

/// A key in a place.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is trusted for.
    pub scope: Scope,
    /// The key.
    pub key: Cert,
    /// Its file.
    pub path: PathBuf,
    /// The file that masks it: then it is not trusted.
    pub masked_by: Option<PathBuf>,
}

/// All that stands in the directories.
#[derive(Debug, Default)]
pub struct Scan {
    /// The keys, by scope and fingerprint.
    pub entries: Vec<Entry>,
    /// What stands there and cannot be used.
    pub faults: Vec<Error>,
}

/// The path of a scope's directory beneath one of the two directories.
pub fn directory(base: &Path, scope: &Scope) -> PathBuf {
    let keys = base.join("trustedkeys");
    match scope {
        Scope::Root => keys.join("root.d"),
        Scope::Prefix(prefix) => keys.join("prefix.d").join(prefix.as_str()),
    }
}

/// Reads the directories.
pub fn scan(directories: &Directories) -> Scan {
    let mut scan = Scan::default();
    let mut known: BTreeMap<Place, (File, Option<PathBuf>)> = BTreeMap::new();
    for base in directories.lowest_first() {
        for (place, file) in walk(base, &mut scan.faults) {
            match (&file.content, known.get_mut(&place)) {
                (Ok(Node::Mask), None) => (),
                (Ok(Node::Mask), Some((_, masked_by))) => {
                    masked_by.get_or_insert(file.path);
                }
                _ => {
                    known.insert(place, (file, None));
                }
            }
        }
    }
    for (place, (file, masked_by)) in known {
        scan.add(place, file, masked_by);
    }
    scan.entries
        .sort_by_cached_key(|entry| (entry.scope.clone(), Fingerprint::of(&entry.key)));
    scan
}

impl Scan {
    fn add(&mut self, (scope, fingerprint): Place, file: File, masked_by: Option<PathBuf>) {
        let content = match file.content {
            // An empty file of the vendor's masks nothing.
            Ok(Node::Mask | Node::Missing) => return,
            content => content,
        };
        let key = content.and_then(|node| {
            one_key(node, &fingerprint)
                .with_context(|| format!("cannot use the key {}", file.path.display()))
        });
        match key {
            Ok(key) => self.entries.push(Entry {
                scope,
                key,
                path: file.path,
                masked_by,
            }),
            // Nobody asks for it any more.
            Err(error) if masked_by.is_some() => log::debug!("masked: {error:#}"),
            Err(error) => self.faults.push(error),
        }
    }
}

/// The one key that a file must hold.
fn one_key(node: Node, fingerprint: &Fingerprint) -> Result<Cert> {
    let Node::File(content) = node else {
        bail!("it is no file");
    };
    let mut keys = key::parse(&content)?;
    ensure!(
        keys.len() == 1,
        "it holds {} keys, and must hold one",
        keys.len()
    );
    let key = keys.remove(0);
    let found = Fingerprint::of(&key);
    ensure!(
        found == *fingerprint,
        "it holds the key {found}, which its name must say"
    );
    Ok(key)
}

/// Where a key stands.
type Place = (Scope, Fingerprint);

/// A file of a key, not yet made sense of.
struct File {
    path: PathBuf,
    content: Result<Node>,
}

/// Finds the files beneath one of the two directories.
fn walk(base: &Path, faults: &mut Vec<Error>) -> BTreeMap<Place, File> {
    let mut walk = Walk {
        files: BTreeMap::new(),
        count: 0,
        faults,
    };
    let keys = base.join("trustedkeys");
    for dir in [base, &keys] {
        // What others may write to, or cannot be read, is not entered.
        if walk.names(dir).is_none() {
            return walk.files;
        }
    }
    walk.root(&keys.join("root.d"));
    walk.prefixes(&keys.join("prefix.d"));
    walk.files
}

struct Walk<'a> {
    files: BTreeMap<Place, File>,
    count: usize,
    faults: &'a mut Vec<Error>,
}

impl Walk<'_> {
    /// The names in a directory; `None` where there is none, or it cannot be used.
    fn names(&mut self, dir: &Path) -> Option<Vec<OsString>> {
        match config::read(dir, 0) {
            Ok(Node::Directory(names)) => Some(names),
            Ok(Node::Missing) => None,
            Ok(Node::Mask | Node::File(_)) => {
                let dir = dir.display();
                self.faults
                    .push(Error::msg(format!("cannot use {dir}: it is no directory")));
                None
            }
            Err(error) => {
                self.faults.push(error);
                None
            }
        }
    }

    /// Counts a file or directory; false where there are too many.
    fn count(&mut self, path: &Path) -> bool {
        self.count += 1;
        if self.count == MAX_FILES + 1 {
            let path = path.display();
            self.faults.push(Error::msg(format!(
                "cannot use {path}: more than {MAX_FILES} files and directories of keys stand here"
            )));
        }
        self.count <= MAX_FILES
    }

    fn root(&mut self, dir: &Path) {
        for name in self.names(dir).unwrap_or_default() {
            let path = dir.join(&name);
            if !self.count(&path) {
                return;
            }
            let content = config::read(&path, MAX_KEY_FILE);
            self.file(Some(Scope::Root), name, path, content);
        }
    }

    fn prefixes(&mut self, top: &Path) {
        // Links may form a loop: what is too long for a prefix is not entered.
        let mut open = vec![String::new()];
        while let Some(prefix) = open.pop() {
            let dir = top.join(&prefix);
            for name in self.names(&dir).unwrap_or_default() {
                let path = dir.join(&name);
                if !self.count(&path) {
                    return;
                }
                match config::read(&path, MAX_KEY_FILE) {
                    Ok(Node::Directory(_)) => match beneath(&prefix, &name) {
                        Ok(prefix) => open.push(prefix),
                        Err(error) => {
                            let path = path.display();
                            self.faults
                                .push(error.context(format!("cannot use {path}")));
                        }
                    },
                    content => {
                        let scope = Prefix::parse(&prefix).ok().map(Scope::Prefix);
                        self.file(scope, name, path, content);
                    }
                }
            }
        }
    }

    fn file(&mut self, scope: Option<Scope>, name: OsString, path: PathBuf, content: Result<Node>) {
        let place = || -> Result<Place> {
            let fingerprint = Fingerprint::parse(&name.to_string_lossy())
                .context("its name must be the key's fingerprint")?;
            let scope = scope.context("it must be in a directory that is named like a prefix")?;
            Ok((scope, fingerprint))
        };
        match (place(), content) {
            (_, Ok(Node::Missing)) => (),
            (Ok(place), content) => {
                self.files.insert(place, File { path, content });
            }
            (Err(_), Err(error)) => self.faults.push(error),
            (Err(error), Ok(_)) => {
                let context = format!("cannot use the key {}", path.display());
                self.faults.push(error.context(context));
            }
        }
    }
}

/// The prefix of the directory `name` in the directory of `prefix`.
fn beneath(prefix: &str, name: &OsString) -> Result<String> {
    let name = name.to_string_lossy();
    let whole = match prefix {
        "" => name.into_owned(),
        prefix => format!("{prefix}/{name}"),
    };
    Prefix::parse(&whole)?;
    Ok(whole)
}

/// The keys that are trusted for some images, and not masked.
#[derive(Debug, Default)]
pub struct Keyring {
    entries: Vec<Entry>,
    /// The keys, each once. What one copy of a key knows counts for all: that it is revoked.
    keys: BTreeMap<Fingerprint, Cert>,
}

impl Keyring {
    /// Reads the directories.
    ///
    /// # Errors
    /// Where something stands there that cannot be used: somebody must look at it.
    pub fn load(directories: &Directories) -> Result<Self> {
        let scan = scan(directories);
        match scan.faults.into_iter().next() {
            Some(error) => Err(error.context("cannot tell which keys are trusted")),
            None => Self::new(scan.entries),
        }
    }

    /// The keyring with these keys.
    fn new(mut entries: Vec<Entry>) -> Result<Self> {
        entries.retain(|entry| entry.masked_by.is_none());
        let mut keys: BTreeMap<Fingerprint, Cert> = BTreeMap::new();
        for entry in &entries {
            let fingerprint = Fingerprint::of(&entry.key);
            let key = match keys.remove(&fingerprint) {
                Some(key) => key.merge_public(entry.key.clone()).map_err(key::one_line)?,
                None => entry.key.clone(),
            };
            keys.insert(fingerprint, key);
        }
        Ok(Self { entries, keys })
    }

    /// The keyring with these keys, trusted for all.
    #[cfg(test)]
    pub(crate) fn of(keys: &[&Cert]) -> Self {
        let entry = |key: &&Cert| Entry {
            scope: Scope::Root,
            key: (*key).clone(),
            path: PathBuf::new(),
            masked_by: None,
        };
        Self::new(keys.iter().map(entry).collect()).unwrap()
    }

    /// The keys of which one of these is the primary key or a subkey.
    pub fn keys_of(&self, ids: &[KeyHandle]) -> impl Iterator<Item = &Cert> {
        let is_asked_for = |handle: KeyHandle| ids.iter().any(|id| id.aliases(&handle));
        self.keys.values().filter(move |key| {
            let mut handles = key.keys().map(|key| key.key().key_handle());
            handles.any(is_asked_for)
        })
    }

    /// A key.
    pub fn key(&self, fingerprint: &Fingerprint) -> Option<&Cert> {
        self.keys.get(fingerprint)
    }

    /// The places of a key.
    pub fn entries_of(&self, fingerprint: &Fingerprint) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| Fingerprint::of(&entry.key) == *fingerprint)
    }
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
