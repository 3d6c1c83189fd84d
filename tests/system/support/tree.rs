//! Everything about a tree of files that an archive can say, as lines that can be compared.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr};
use sha2::{Digest, Sha256};

/// A line for each path beneath the top.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<PathBuf, String>);

impl Tree {
    /// Reads the tree at `top`: of each path the kind, mode, owner, time in seconds, extended
    /// attributes and content or target; of a hard link, the first path of the same file.
    #[track_caller]
    pub(crate) fn read(top: &Path) -> Self {
        let mut tree = Self(BTreeMap::new());
        let mut first_links = HashMap::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(path) = waiting.pop() {
            let full = top.join(&path);
            let metadata = fs::symlink_metadata(&full)
                .unwrap_or_else(|error| panic!("{}: {error}", full.display()));
            if metadata.is_dir() {
                waiting.extend(entries(top, &path));
                // Popped from the end: paths come in the order of their bytes.
                waiting.sort_by(|a, b| b.cmp(a));
            }
            let line = describe(&full, &metadata, &path, &mut first_links);
            tree.0.insert(path, line);
        }
        tree
    }

    /// Fails with the lines that differ.
    #[track_caller]
    pub(crate) fn assert_like(&self, other: &Self, what: &str) {
        let mut differences = Vec::new();
        for path in self.0.keys().chain(other.0.keys()) {
            let (here, there) = (self.0.get(path), other.0.get(path));
            if here != there {
                differences.push(format!("{path:?}: {here:?}, not {there:?}"));
            }
        }
        differences.dedup();
        assert!(differences.is_empty(), "{what}: {differences:#?}");
    }
}

#[track_caller]
fn entries(top: &Path, path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(top.join(path)).expect("a directory can be listed");
    entries
        .map(|entry| path.join(entry.expect("a directory can be listed").file_name()))
        .collect()
}

fn describe(
    full: &Path,
    metadata: &Metadata,
    path: &Path,
    first_links: &mut HashMap<u64, PathBuf>,
) -> String {
    let kind = metadata.file_type();
    let content = if kind.is_symlink() {
        let target = fs::read_link(full).expect("a link can be read");
        format!("link to {}", target.as_os_str().as_bytes().escape_ascii())
    } else if kind.is_file() {
        match first_links.get(&metadata.ino()) {
            Some(first) => format!("same file as {first:?}"),
            None => {
                first_links.insert(metadata.ino(), path.to_owned());
                format!("{} bytes, {}", metadata.len(), digest(full))
            }
        }
    } else if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        format!("device {}", metadata.rdev())
    };
    // The top itself is in no layer of some images.
    let time = if path == Path::new("") {
        0
    } else {
        metadata.mtime()
    };
    let (uid, gid) = (metadata.uid(), metadata.gid());
    let (mode, attributes) = (metadata.mode() & 0o7777, attributes(full));
    format!("{content}; mode {mode:o}, owner {uid}:{gid}, time {time}{attributes}")
}

fn digest(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).expect("a file can be read"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(path: &Path) -> String {
    let (mut names, mut value) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let length = llistxattr(path, &mut names[..]).expect("attributes can be listed");
    let mut found: Vec<_> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let length = lgetxattr(path, OsStr::from_bytes(name), &mut value[..])
                .expect("an attribute can be read");
            let value = value[..length].escape_ascii();
            format!(", {} = {value}", name.escape_ascii())
        })
        .collect();
    found.sort();
    found.concat()
}
