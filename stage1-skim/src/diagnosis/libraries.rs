//! Which library a program lacks: its DT_NEEDED, and theirs, looked for as ld.so(8) does.
//!
//! It is asked only where the loader has given up. So in doubt a library counts as found: what
//! stands in the loader's cache, or in any of its usual directories.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::elf::Elf;
use super::look::Tree;

/// No more files are looked into.
const FILES_MAX: usize = 512;
/// No more directories of one search path are looked into.
const DIRECTORIES_MAX: usize = 64;
/// The largest cache of the loader that is read, in bytes.
const CACHE_MAX: u64 = 16 * 1024 * 1024;

/// Where loaders look unasked, of glibc and musl.
const USUAL: [&str; 5] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"];

/// What musl's loader is itself, under whatever of these names a program needs it.
const OF_MUSL: [&str; 9] = [
    "libc.",
    "libpthread.",
    "librt.",
    "libm.",
    "libdl.",
    "libutil.",
    "libxnet.",
    "ld-musl-",
    "libcrypt.",
];

/// The first library that is not there, and the file that needs it.
///
/// `search` is the `LD_LIBRARY_PATH` of the program at `path`.
pub fn missing(
    tree: &Tree,
    path: &Path,
    program: Elf,
    search: Option<&str>,
) -> Option<(OsString, PathBuf)> {
    let loader = PathBuf::from(program.interpreter.clone()?);
    let mut walk = Walk {
        tree,
        is_musl: loader
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(b"ld-musl-")),
        fixed: fixed_directories(&loader, search),
        rpaths: Vec::new(),
        cache: None,
        seen: BTreeSet::from_iter(loader.file_name().map(OsStr::to_owned)),
        machine: program.machine,
    };
    let mut queue = VecDeque::from([(path.to_path_buf(), program)]);
    while let Some((path, elf)) = queue.pop_front() {
        let own = walk.own_directories(&path, &elf);
        for name in &elf.needed {
            if walk.seen.len() > FILES_MAX || !walk.seen.insert(name.clone()) {
                continue;
            }
            match walk.find(name, &own) {
                Found::Nowhere => return Some((name.clone(), path)),
                Found::Somewhere => (),
                Found::Library(library, elf) => queue.push_back((library, elf)),
            }
        }
    }
    None
}

enum Found {
    Library(PathBuf, Elf),
    /// It is there, and need not be looked into, or cannot.
    Somewhere,
    Nowhere,
}

struct Walk<'a> {
    tree: &'a Tree,
    is_musl: bool,
    fixed: Vec<PathBuf>,
    /// The directories of every DT_RPATH met: it holds for what its file needs, too.
    rpaths: Vec<PathBuf>,
    cache: Option<Vec<u8>>,
    seen: BTreeSet<OsString>,
    machine: super::elf::Machine,
}

impl Walk<'_> {
    fn own_directories(&mut self, path: &Path, elf: &Elf) -> Vec<PathBuf> {
        let origin = path.parent().unwrap_or(Path::new("/"));
        let expand = |list: &Option<OsString>| match list {
            Some(list) => expand(list, origin),
            None => Vec::new(),
        };
        if elf.runpath.is_none() || self.is_musl {
            let rpath = expand(&elf.rpath);
            let new = rpath.into_iter().filter(|own| !self.rpaths.contains(own));
            let new: Vec<_> = new.collect();
            self.rpaths.extend(new);
        }
        expand(&elf.runpath)
    }

    fn find(&mut self, name: &OsStr, own: &[PathBuf]) -> Found {
        let bytes = name.as_bytes();
        if self.is_musl && OF_MUSL.iter().any(|of| bytes.starts_with(of.as_bytes())) {
            return Found::Somewhere;
        }
        if bytes.contains(&b'/') {
            return self.open(Path::new(name)).unwrap_or(Found::Nowhere);
        }
        let directories = self.rpaths.iter().chain(own).chain(&self.fixed);
        let found = directories
            .map(|directory| directory.join(name))
            .find_map(|path| self.open(&path));
        match found {
            Some(found) => found,
            None if self.is_in_cache(bytes) => Found::Somewhere,
            None => Found::Nowhere,
        }
    }

    /// `None` where there is no such file, or one for another machine, which the loader passes
    /// over.
    fn open(&self, path: &Path) -> Option<Found> {
        let file = self.tree.open_file(path).ok()?;
        match Elf::read(&file) {
            Ok(elf) if elf.machine != self.machine => None,
            Ok(elf) => Some(Found::Library(path.to_path_buf(), elf)),
            Err(_) => Some(Found::Somewhere),
        }
    }

    /// Whether the name stands in ld.so.cache, which holds each with a NUL after it.
    fn is_in_cache(&mut self, name: &[u8]) -> bool {
        if self.is_musl {
            return false;
        }
        let read = |file: File| {
            let mut bytes = Vec::new();
            // Without a cache, or the end of it, there is less to find.
            let _ = file.take(CACHE_MAX).read_to_end(&mut bytes);
            bytes
        };
        let cache = self.cache.get_or_insert_with(|| {
            let file = self.tree.open_file(Path::new("/etc/ld.so.cache"));
            file.map(read).unwrap_or_default()
        });
        let name = [name, b"\0"].concat();
        cache.windows(name.len()).any(|window| window == name)
    }
}

/// Those that do not depend on the file: LD_LIBRARY_PATH, the loader's own directory, and the
/// usual ones.
fn fixed_directories(loader: &Path, search: Option<&str>) -> Vec<PathBuf> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let search = search.unwrap_or_default().split([':', ';']);
    let mut directories: Vec<_> = search
        .filter(|directory| directory.starts_with('/'))
        .take(DIRECTORIES_MAX)
        .map(PathBuf::from)
        .collect();
    directories.extend(loader.parent().map(Path::to_path_buf));
    for usual in USUAL {
        directories.push(Path::new(usual).join(&triplet));
        directories.push(usual.into());
    }
    directories
}

/// The directories of a search path. `$LIB` means what the loader was built with, so that each
/// usual value is tried; an entry with another token is passed over.
fn expand(list: &OsStr, origin: &Path) -> Vec<PathBuf> {
    let list = list.to_string_lossy();
    let origin = origin.to_string_lossy();
    let triplet = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut directories = Vec::new();
    for entry in list.split(':').take(DIRECTORIES_MAX) {
        let entry = entry.replace("${", "$").replace('}', "");
        let entry = entry.replace("$ORIGIN", &origin);
        for lib in ["lib", "lib64", &triplet] {
            let directory = PathBuf::from(entry.replace("$LIB", lib));
            if directory.is_absolute() && !directories.contains(&directory) {
                directories.push(directory);
            }
        }
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_paths_are_expanded() {
        let expanded = expand(
            OsStr::new("$ORIGIN/../x:${ORIGIN}:rel::/a/$LIB"),
            Path::new("/o"),
        );
        let triplet = format!("/a/lib/{}-linux-gnu", std::env::consts::ARCH);
        let expected = ["/o/../x", "/o", "/a/lib", "/a/lib64", &triplet];
        assert_eq!(expanded, expected.map(PathBuf::from));
    }

    #[test]
    fn a_library_that_is_nowhere_is_told_with_who_needs_it() {
        let tree = Tree::open(Path::new("/")).unwrap();
        let path = Path::new("/bin/sh");
        let program = Elf::read(&tree.open_file(path).unwrap()).unwrap();
        assert_eq!(missing(&tree, path, program.clone(), None), None);
        let mut lacking = program;
        lacking.needed.push("libno-such.so.1".into());
        assert_eq!(
            missing(&tree, path, lacking, Some("/nowhere")),
            Some(("libno-such.so.1".into(), path.to_path_buf()))
        );
    }
}
