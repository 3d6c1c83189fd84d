//! The semantics of layers once more, as plainly as possible: a map of paths, looked through
//! from end to end for each question.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::EntryType;

use crate::image::testing::Archive;

/// An entry of a layer; paths have no leading slash, and are empty for the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    File(String, u8),
    /// With its mode, and whether it has an extended attribute.
    Directory(String, u32, bool),
    Symlink(String, String),
    HardLink(String, String),
    Fifo(String),
    Device(String),
    /// A directory, and what is hidden in it.
    Whiteout(String, String),
    Opaque(String),
}

impl Item {
    pub fn is_mark(&self) -> bool {
        matches!(self, Self::Whiteout(..) | Self::Opaque(_))
    }
}

/// Entries of few names, so that they meet; every mode and content tells its entry.
pub fn item() -> impl Strategy<Value = Item> {
    let path = || {
        proptest::collection::vec(
            prop_oneof![3 => Just("a"), 2 => Just("b"), 1 => Just("c")],
            1..=3,
        )
        .prop_map(|parts| parts.join("/"))
    };
    let target = prop_oneof![
        Just("a"),
        Just("/a"),
        Just("b"),
        Just("/b"),
        Just("/"),
        Just("../a"),
        Just("../../../b"),
        Just("a/b"),
        Just("/b/a"),
        Just("/c"),
        Just("../../outside"),
        Just("/outside/a"),
    ];
    let mode = prop_oneof![Just(0o700), Just(0o711), Just(0o1777)];
    let directory = prop_oneof![9 => path().boxed(), 1 => Just(String::new()).boxed()];
    prop_oneof![
        5 => (path(), any::<u8>()).prop_map(|(path, content)| Item::File(path, content)),
        5 => (directory.clone(), mode, any::<bool>())
            .prop_map(|(path, mode, xattr)| Item::Directory(path, mode, xattr)),
        3 => (path(), target).prop_map(|(path, to)| Item::Symlink(path, to.to_owned())),
        3 => (path(), path()).prop_map(|(path, target)| Item::HardLink(path, target)),
        1 => path().prop_map(Item::Fifo),
        1 => path().prop_map(Item::Device),
        4 => path().prop_map(|path| {
            let (directory, name) = split(&path);
            Item::Whiteout(directory.to_owned(), name.to_owned())
        }),
        2 => directory.prop_map(Item::Opaque),
    ]
}

/// The archive of a layer.
pub fn archive(items: &[Item]) -> Vec<u8> {
    let empty = Archive::empty();
    let archive = items.iter().fold(empty, |archive, item| match item {
        Item::File(path, content) => archive.file(&format!("./{path}"), &[*content]),
        Item::Directory(path, mode, xattr) => {
            let name = format!("./{path}/");
            let mut header = Archive::header(name.as_bytes(), EntryType::Directory, 0);
            header.set_mode(*mode);
            match xattr {
                true => archive.pax(&[("SCHILY.xattr.user.x", b"1")]),
                false => archive,
            }
            .raw(header, b"")
        }
        Item::Symlink(path, target) => archive.symlink(path, target),
        Item::HardLink(path, target) => archive.hard_link(path, target),
        Item::Fifo(path) => archive.raw(Archive::header(path.as_bytes(), EntryType::Fifo, 0), b""),
        Item::Device(path) => {
            archive.raw(Archive::header(path.as_bytes(), EntryType::Char, 0), b"")
        }
        Item::Whiteout(directory, name) => {
            archive.file(&join(directory, &format!(".wh.{name}")), b"")
        }
        Item::Opaque(directory) => archive.file(&join(directory, ".wh..wh..opq"), b""),
    });
    gzip(&archive.finish())
}

/// An archive without entries can only be told by its compression.
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Files with the same number are one.
    File {
        number: usize,
        content: u8,
    },
    Directory {
        mode: u32,
        time: i64,
        xattr: bool,
    },
    Symlink(String),
    Fifo,
}

const IMPLIED: Kind = Kind::Directory {
    mode: 0o755,
    time: 0,
    xattr: false,
};

#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    /// The layer whose entry made or described it; 0 for a directory that none did.
    layer: usize,
}

/// A tree that layers are put onto.
#[derive(Clone, Debug, Default)]
pub struct Model {
    nodes: BTreeMap<String, Node>,
    layer: usize,
    /// The device nodes and the marks of the present layer.
    devices: BTreeSet<String>,
    marks: BTreeSet<String>,
    pub left_out: u64,
    files: usize,
}

/// The entry must be refused.
#[derive(Debug)]
pub struct Refused;

impl Model {
    pub fn new() -> Self {
        let mut model = Self::default();
        model.put("", IMPLIED, 0);
        model
    }

    pub fn begin_layer(&mut self) {
        self.layer += 1;
        self.devices.clear();
        self.marks.clear();
    }

    /// The tree.
    pub fn tree(&self) -> BTreeMap<String, Kind> {
        let nodes = self.nodes.iter();
        nodes
            .map(|(path, node)| (path.clone(), node.kind.clone()))
            .collect()
    }

    pub fn apply(&mut self, item: &Item) -> Result<(), Refused> {
        match item {
            Item::Whiteout(directory, name) => self.whiteout(directory, name),
            Item::Opaque(directory) => self.opaque(directory),
            Item::Directory(path, mode, xattr) => self.directory(path, *mode, *xattr),
            Item::File(path, content) => {
                let path = self.place(path)?;
                self.vacate(&path)?;
                self.files += 1;
                let kind = Kind::File {
                    number: self.files,
                    content: *content,
                };
                self.put(&path, kind, self.layer);
                Ok(())
            }
            Item::Symlink(path, target) => self.simple(path, Kind::Symlink(target.clone())),
            Item::Fifo(path) => self.simple(path, Kind::Fifo),
            Item::HardLink(path, target) => self.hard_link(path, target),
            Item::Device(path) => {
                let path = self.place(path)?;
                self.vacate(&path)?;
                self.devices.insert(path);
                self.left_out += 1;
                Ok(())
            }
        }
    }

    fn put(&mut self, path: &str, kind: Kind, layer: usize) {
        self.nodes.insert(path.to_owned(), Node { kind, layer });
    }

    fn simple(&mut self, path: &str, kind: Kind) -> Result<(), Refused> {
        let path = self.place(path)?;
        self.vacate(&path)?;
        self.put(&path, kind, self.layer);
        Ok(())
    }

    fn directory(&mut self, path: &str, mode: u32, xattr: bool) -> Result<(), Refused> {
        let path = self.place(path)?;
        let kind = Kind::Directory {
            mode,
            time: 1_600_000_000,
            xattr,
        };
        if self.is_directory(&path) {
            if self.nodes[&path].layer == self.layer {
                return Err(Refused);
            }
        } else {
            self.vacate(&path)?;
        }
        self.put(&path, kind, self.layer);
        Ok(())
    }

    fn hard_link(&mut self, path: &str, target: &str) -> Result<(), Refused> {
        let path = self.place(path)?;
        let (directory, name) = split(target);
        let directory = match self.walk(directory)? {
            Walk::To(directory) if self.is_directory(&directory) => directory,
            _ => return Err(Refused),
        };
        let target = join(&directory, name);
        if target == path {
            return Err(Refused);
        }
        self.vacate(&path)?;
        match self.nodes.get(&target).map(|node| node.kind.clone()) {
            Some(kind @ Kind::File { .. }) => self.put(&path, kind, self.layer),
            _ => return Err(Refused),
        }
        Ok(())
    }

    fn whiteout(&mut self, directory: &str, name: &str) -> Result<(), Refused> {
        let Some(directory) = self.marked(directory, name)? else {
            return Ok(());
        };
        let path = join(&directory, name);
        if self.is_present(&path) {
            self.hide_below(&path);
            if self.is_directory(&path) && self.nodes[&path].layer != self.layer {
                self.put(&path, IMPLIED, 0);
            }
        } else {
            self.remove(&path);
        }
        Ok(())
    }

    fn opaque(&mut self, directory: &str) -> Result<(), Refused> {
        if let Some(directory) = self.marked(directory, "/")? {
            self.hide_below(&directory);
        }
        Ok(())
    }

    /// The real path of a directory that a mark is in, if there is anything to hide.
    fn marked(&mut self, directory: &str, name: &str) -> Result<Option<String>, Refused> {
        if self.layer == 1 {
            return Ok(None);
        }
        match self.walk(directory)? {
            Walk::To(real) if self.is_directory(&real) => {
                let new = self.marks.insert(format!("{real}//{name}"));
                new.then_some(Some(real)).ok_or(Refused)
            }
            _ => Ok(None),
        }
    }

    fn hide_below(&mut self, top: &str) {
        let paths: Vec<String> = self.nodes.keys().cloned().collect();
        for path in paths.iter().filter(|path| is_below(path, top)) {
            if !self.is_present(path) {
                self.remove(path);
            } else if self.is_directory(path) && self.nodes[path].layer != self.layer {
                self.put(path, IMPLIED, 0);
            }
        }
    }

    /// Whether the present layer has an entry at the path or beneath it.
    fn is_present(&self, path: &str) -> bool {
        let here = |other: &str| other == path || is_below(other, path);
        self.devices.iter().any(|device| here(device))
            || (self.nodes.iter()).any(|(other, node)| here(other) && node.layer == self.layer)
    }

    fn is_directory(&self, path: &str) -> bool {
        matches!(
            self.nodes.get(path),
            Some(Node {
                kind: Kind::Directory { .. },
                ..
            })
        )
    }

    fn remove(&mut self, path: &str) {
        self.nodes
            .retain(|other, _| other != path && !is_below(other, path));
    }

    /// Makes room for what is no directory on both sides.
    fn vacate(&mut self, path: &str) -> Result<(), Refused> {
        if path.is_empty() || self.is_present(path) {
            return Err(Refused);
        }
        self.remove(path);
        Ok(())
    }

    /// The real path of an entry, whose directory is there then.
    fn place(&mut self, path: &str) -> Result<String, Refused> {
        if path.is_empty() {
            return Ok(String::new());
        }
        let (directory, name) = split(path);
        let real = match self.walk(directory)? {
            Walk::To(real) => real,
            Walk::Blocked(at, links) => {
                if links > 0 || self.is_present(&at) {
                    return Err(Refused);
                }
                self.remove(&at);
                directory.to_owned()
            }
        };
        let mut at = String::new();
        for part in real.split('/').filter(|part| !part.is_empty()) {
            at = join(&at, part);
            if self.devices.contains(&at) {
                return Err(Refused);
            }
            if !self.nodes.contains_key(&at) {
                self.put(&at, IMPLIED, 0);
            }
        }
        Ok(join(&real, name))
    }

    /// Follows a path through the links of lower layers.
    fn walk(&self, path: &str) -> Result<Walk, Refused> {
        let parts = |path: &str| -> VecDeque<String> {
            let parts = path.split('/').filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        };
        let mut pending = parts(path);
        let mut real = String::new();
        let mut links = 0;
        while let Some(part) = pending.pop_front() {
            if part == ".." {
                real = split(&real).0.to_owned();
                continue;
            }
            let next = join(&real, &part);
            match self.nodes.get(&next) {
                None
                | Some(Node {
                    kind: Kind::Directory { .. },
                    ..
                }) => real = next,
                Some(Node {
                    kind: Kind::Symlink(target),
                    layer,
                }) => {
                    links += 1;
                    if *layer == self.layer || links > 40 {
                        return Err(Refused);
                    }
                    if target.starts_with('/') {
                        real.clear();
                    }
                    let mut rest = parts(target);
                    rest.append(&mut pending);
                    pending = rest;
                }
                Some(_) => return Ok(Walk::Blocked(next, links)),
            }
        }
        Ok(Walk::To(real))
    }
}

enum Walk {
    /// To this path, which may be missing.
    To(String),
    /// Something there is no directory; and how many links led to it.
    Blocked(String, usize),
}

pub fn join(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        _ => format!("{directory}/{name}"),
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn is_below(path: &str, top: &str) -> bool {
    match top {
        "" => !path.is_empty(),
        _ => path
            .strip_prefix(top)
            .is_some_and(|rest| rest.starts_with('/')),
    }
}
