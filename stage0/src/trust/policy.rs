//! What an image must have to be imported and run: files `policy.d/*.json`.
//!
//! ```json
//! {
//!   "skimKind": "policy",
//!   "skimVersion": "v1",
//!   "rules": [
//!     { "prefix": "*",           "accept": [] },
//!     { "prefix": "example.com", "accept": ["signature"] },
//!     { "prefix": "docker.io",   "accept": ["pinned"] },
//!     { "prefix": "docker.io/library/postgres",
//!       "digests": ["sha256:6ae87c1ce3…"] }
//!   ]
//! }
//! ```
//!
//! A rule is about the images whose names its `prefix` covers, by path component, or about all
//! (`*`). The rule with the longest prefix decides, alone. It accepts an image that has at
//! least one of what it names:
//!
//! - `any`: nothing is asked for
//! - `signature`: a good signature by a key that is trusted for the image's name
//! - `pinned`: the user named it by a whole digest or image ID (`docker://…@sha256:…`)
//! - `digests`: the image is one of these, by digest (`sha256:…`) or image ID (`sha512-…`)
//!
//! An image that no rule is about is accepted. A name is what an image says of itself: a policy
//! that is to keep others out has a rule for `*`.
//!
//! The files of both directories of the configuration are taken together, in the order of
//! their names; a later rule for the same prefix replaces an earlier one. A file that cannot be
//! used is an error for whoever asks, so that nothing runs by half a policy.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};
use serde::Deserialize;

use super::key::printable;
use super::prefix::Prefix;
use crate::config::{self, Directories, Node};
use crate::image::blob::Sha256;
use crate::image::id::ImageId;

/// The directory of the files.
const DIRECTORY: &str = "policy.d";
/// Most bytes of a file.
const MAX_FILE: u64 = 1 << 20;

/// The rules of all files.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: BTreeMap<Pattern, Demand>,
}

/// What is asked of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Nothing is.
    pub any: bool,
    /// A good signature will do.
    pub signature: bool,
    /// That the user named it by its digest will do.
    pub pinned: bool,
    /// To be one of these will do.
    pub digests: Vec<ImageId>,
    /// The rule that says so; none where no rule is about the image.
    pub rule: Option<Origin>,
}

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The images that it is about.
    pub pattern: Pattern,
    /// The file.
    pub file: PathBuf,
}

/// The images that a rule is about. All come before any prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Pattern {
    /// All.
    All,
    /// Those with names that start so.
    Prefix(Prefix),
}

/// A file, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    #[serde(rename = "skimKind")]
    _kind: Kind,
    #[serde(rename = "skimVersion")]
    _version: Version,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
enum Kind {
    #[serde(rename = "policy")]
    Policy,
}

#[derive(Deserialize)]
enum Version {
    #[serde(rename = "v1")]
    V1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    prefix: Pattern,
    accept: Option<Vec<Accept>>,
    digests: Option<Vec<Listed>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Accept {
    Any,
    Signature,
    Pinned,
}

/// A digest or image ID in a list.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Listed(ImageId);

impl TryFrom<String> for Pattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        match text.as_str() {
            "*" => Ok(Self::All),
            text => Prefix::parse(text).map(Self::Prefix),
        }
    }
}

impl TryFrom<String> for Listed {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        if text.starts_with("sha256:") {
            return Ok(Self(ImageId::of_oci(&Sha256::parse(&text)?)));
        }
        Ok(Self(ImageId::parse(&text)?))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("*"),
            Self::Prefix(prefix) => prefix.fmt(formatter),
        }
    }
}

impl fmt::Display for Demand {
    /// What would do, for people.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ways = Vec::new();
        let mut way = |is: bool, text| ways.extend(is.then_some(text));
        way(self.any, "anything");
        way(self.signature, "a good signature");
        way(self.pinned, "to be named by its digest");
        way(!self.digests.is_empty(), "to be in its list of digests");
        match ways.as_slice() {
            [] => formatter.write_str("nothing"),
            ways => formatter.write_str(&ways.join(" or ")),
        }
    }
}

impl Policy {
    /// Reads all files of both directories.
    ///
    /// # Errors
    /// Where one cannot be used; it names the file and the line.
    pub fn load(directories: &Directories) -> Result<Self> {
        let mut policy = Self::default();
        for (path, content) in files(directories)? {
            let more = Self::parse(&content, &path)
                .with_context(|| format!("cannot use the policy {}", path.display()))?;
            policy.rules.extend(more.rules);
        }
        Ok(policy)
    }

    /// Parses the content of the file at `path`.
    ///
    /// # Errors
    /// Where it is no policy; it names the line.
    pub fn parse(content: &[u8], path: &Path) -> Result<Self> {
        let file: File = serde_json::from_slice(content)
            .map_err(|error| Error::msg(printable(&error.to_string())))?;
        let mut rules = BTreeMap::new();
        for rule in file.rules {
            let pattern = rule.prefix.clone();
            let demand = rule.demand(path)?;
            ensure!(
                rules.insert(pattern.clone(), demand).is_none(),
                "it has two rules for the prefix {pattern}"
            );
        }
        Ok(Self { rules })
    }

    /// What is asked of an image of this name.
    pub fn demands(&self, name: &str) -> Demand {
        let covers = |pattern: &Pattern| match pattern {
            Pattern::All => true,
            Pattern::Prefix(prefix) => prefix.covers(name),
        };
        // Prefixes of one name are each the beginning of the next, and sorted so.
        let rule = self.rules.iter().rev().find(|(pattern, _)| covers(pattern));
        rule.map_or_else(Demand::default, |(_, demand)| demand.clone())
    }
}

impl Default for Demand {
    /// Where no rule is about an image.
    fn default() -> Self {
        Self {
            any: true,
            signature: false,
            pinned: false,
            digests: Vec::new(),
            rule: None,
        }
    }
}

impl Rule {
    fn demand(self, file: &Path) -> Result<Demand> {
        let pattern = self.prefix;
        ensure!(
            self.accept.is_some() || self.digests.is_some(),
            "the rule for the prefix {pattern} says neither \"accept\" nor \"digests\"; to refuse all of these images, write \"accept\": []"
        );
        let accept = self.accept.unwrap_or_default();
        let digests = self.digests.unwrap_or_default();
        Ok(Demand {
            any: accept.contains(&Accept::Any),
            signature: accept.contains(&Accept::Signature),
            pinned: accept.contains(&Accept::Pinned),
            digests: digests.into_iter().map(|listed| listed.0).collect(),
            rule: Some(Origin {
                pattern,
                file: file.to_owned(),
            }),
        })
    }
}

/// The files of both directories that count, by their names.
///
/// # Errors
/// Where one cannot be read.
pub fn paths(directories: &Directories) -> Result<Vec<PathBuf>> {
    let files = files(directories)?;
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// The files that count, and what they hold.
fn files(directories: &Directories) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files: BTreeMap<OsString, (PathBuf, Vec<u8>)> = BTreeMap::new();
    for base in directories.lowest_first() {
        // What others may write to is not used, from the top.
        config::read(base, 0)?;
        for (name, path, node) in files_in(&base.join(DIRECTORY))? {
            match node {
                Node::File(content) => {
                    files.insert(name, (path, content));
                }
                Node::Mask => {
                    files.remove(&name);
                }
                // Removed since the directory was read.
                Node::Missing => (),
                Node::Directory(_) => {
                    anyhow::bail!(
                        "cannot use the policy {}: it is a directory",
                        path.display()
                    )
                }
            }
        }
    }
    Ok(files.into_values().collect())
}

/// The files of policies in a directory: those with names that end in `.json`.
fn files_in(dir: &Path) -> Result<Vec<(OsString, PathBuf, Node)>> {
    let names = match config::read(dir, 0)? {
        Node::Directory(names) => names,
        Node::Missing => Vec::new(),
        _ => anyhow::bail!("cannot use {}: it is no directory", dir.display()),
    };
    let mut files = Vec::new();
    for name in names {
        let path = dir.join(&name);
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let node = config::read(&path, MAX_FILE)?;
            files.push((name, path, node));
        } else {
            log::debug!(
                "not read, as its name does not end in .json: {}",
                path.display()
            );
        }
    }
    Ok(files)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
