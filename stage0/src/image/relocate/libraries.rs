//! Where the programs of an image find their libraries: the directories that the image's own
//! loader would search.

use std::io::Read;

use anyhow::{Context, Result};
use rustix::fs::Dir;

use super::elf::Machine;
use super::report::show;
use super::tree::{Tree, components};

/// Bounds for the loader's configuration, far above any in use.
const MAX_CONFIG_SIZE: u64 = 64 * 1024;
const MAX_CONFIG_FILES: usize = 256;
const MAX_CONFIG_DEPTH: usize = 8;
const MAX_DIRECTORIES: usize = 64;

/// A C library, which brings the loader.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Libc {
    /// The GNU C library, and others that search as it does.
    Glibc,
    /// musl, with its name of the architecture.
    Musl(Vec<u8>),
}

impl Libc {
    /// The C library to which a loader belongs, by the loader's path.
    pub(super) fn of_loader(path: &[u8]) -> Self {
        let name = components(path).last().unwrap_or_default();
        let musl = name.strip_prefix(b"ld-musl-");
        match musl.and_then(|name| name.split(|&byte| byte == b'.').next()) {
            Some(architecture) => Self::Musl(architecture.to_vec()),
            None => Self::Glibc,
        }
    }

    /// Whether `library`, a DT_NEEDED entry, is this C library.
    pub(super) fn is_named(&self, library: &[u8]) -> bool {
        (*self == Self::Glibc) == library.starts_with(b"libc.so.6")
    }
}

/// The image's library directories for one C library and machine: real paths of directories
/// that are there, best first, without repeats.
pub(super) fn directories(tree: Tree<'_>, libc: &Libc, machine: Machine) -> Result<Vec<Vec<u8>>> {
    let paths = match libc {
        Libc::Glibc => {
            let mut reader = ConfigReader {
                tree,
                files: 0,
                directories: Vec::new(),
            };
            reader.read(b"/etc/ld.so.conf", 0)?;
            reader.directories.truncate(MAX_DIRECTORIES);
            reader.directories.extend(standard(machine));
            reader.directories
        }
        Libc::Musl(architecture) => {
            let name = [b"/etc/ld-musl-", &architecture[..], b".path"].concat();
            match read_config(tree, &name)? {
                Some(text) => musl_path(&text),
                None => musl_path(b"/lib:/usr/local/lib:/usr/lib"),
            }
        }
    };
    let mut directories = Vec::new();
    for path in paths {
        let found = tree.find_directory(b"/", &path).with_context(|| {
            format!(
                "cannot look up the library directory {} in the image",
                show(&path)
            )
        })?;
        directories.extend(found.filter(|found| !directories.contains(found)));
    }
    Ok(directories)
}

/// The directories that loaders search unasked, the more specific ones first: a library for
/// another machine in one of them is passed over.
fn standard(machine: Machine) -> Vec<Vec<u8>> {
    let multiarch = triplets(machine)
        .iter()
        .map(|triplet| format!("lib/{triplet}"));
    let biarch = match (machine.number, machine.wide) {
        (_, true) => "lib64",
        (62, false) => "libx32",
        (_, false) => "lib32",
    };
    let plain = [biarch, "lib"].map(str::to_owned);
    let mut directories = Vec::new();
    for lib in multiarch.chain(plain) {
        directories.push(format!("/{lib}").into_bytes());
        directories.push(format!("/usr/{lib}").into_bytes());
    }
    directories.push(b"/usr/local/lib".to_vec());
    directories
}

/// Debian's multiarch names for a machine.
pub(super) fn triplets(machine: Machine) -> &'static [&'static str] {
    match (machine.number, machine.wide) {
        (3, false) => &["i386-linux-gnu"],
        (8, true) => &["mips64el-linux-gnuabi64"],
        (8, false) => &["mipsel-linux-gnu"],
        (21, true) => &["powerpc64le-linux-gnu"],
        (22, true) => &["s390x-linux-gnu"],
        (40, false) => &["arm-linux-gnueabihf", "arm-linux-gnueabi"],
        (62, true) => &["x86_64-linux-gnu"],
        (62, false) => &["x86_64-linux-gnux32"],
        (183, true) => &["aarch64-linux-gnu"],
        (243, true) => &["riscv64-linux-gnu"],
        (258, true) => &["loongarch64-linux-gnu"],
        _ => &[],
    }
}

/// The machine's plain name (AT_PLATFORM, without the levels some loaders add).
pub(super) fn platform(machine: Machine) -> &'static str {
    match machine.number {
        3 => "i686",
        22 => "z900",
        40 => "v7l",
        62 => "x86_64",
        183 => "aarch64",
        258 => "loongarch64",
        _ => "unknown",
    }
}

/// A line of ld.so.conf that means something.
#[derive(Debug, PartialEq, Eq)]
enum Directive<'a> {
    Directory(&'a [u8]),
    Include(&'a [u8]),
}

/// Reads the text of ld.so.conf as ldconfig(8) does.
fn directives(text: &[u8]) -> Vec<Directive<'_>> {
    let mut directives = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
        let line = line.trim_ascii();
        let mut words = line
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|w| !w.is_empty());
        match words.next() {
            Some(b"include") => directives.extend(words.map(Directive::Include)),
            Some(b"hwcap") | None => {}
            Some(_) => {
                // `=libc6` and the like once told which C library a directory was for.
                let directory = line.split(|&byte| byte == b'=').next().unwrap_or_default();
                directives.push(Directive::Directory(directory.trim_ascii_end()));
            }
        }
    }
    directives
}

/// The directories in the text of ld-musl-ARCH.path.
fn musl_path(text: &[u8]) -> Vec<Vec<u8>> {
    text.split(|byte| matches!(byte, b':' | b'\n'))
        .filter(|directory| directory.starts_with(b"/"))
        .take(MAX_DIRECTORIES)
        .map(<[u8]>::to_vec)
        .collect()
}

struct ConfigReader<'fd> {
    tree: Tree<'fd>,
    files: usize,
    directories: Vec<Vec<u8>>,
}

impl ConfigReader<'_> {
    fn read(&mut self, path: &[u8], depth: usize) -> Result<()> {
        self.files += 1;
        if self.files > MAX_CONFIG_FILES || depth > MAX_CONFIG_DEPTH {
            return Ok(());
        }
        let Some(text) = read_config(self.tree, path)? else {
            return Ok(());
        };
        for directive in directives(&text) {
            match directive {
                Directive::Directory(directory) if self.directories.len() < MAX_DIRECTORIES => {
                    self.directories.push(directory.to_vec());
                }
                Directive::Directory(_) => {}
                Directive::Include(pattern) => {
                    for included in self.glob(parent(path), pattern)? {
                        self.read(&included, depth + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The files that a pattern means, sorted; only its last component may have wildcards. A
    /// relative one starts in the directory of the file that includes it.
    fn glob(&self, base: &[u8], pattern: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (directory, last) = match pattern.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&pattern[..=slash], &pattern[slash + 1..]),
            None => (&b"."[..], pattern),
        };
        let context = || format!("cannot list {} in the image", show(directory));
        let Some(real) = self
            .tree
            .find_directory(base, directory)
            .with_context(context)?
        else {
            return Ok(Vec::new());
        };
        let listing = self.tree.open_directory(&real).with_context(context)?;
        let mut found = Vec::new();
        for entry in Dir::new(listing).with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = entry.file_name().to_bytes();
            if is_match(last, name) && found.len() < MAX_CONFIG_FILES {
                found.push([&real[..], b"/", name].concat());
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// The text of a configuration file, if there is one of sensible size.
fn read_config(tree: Tree<'_>, path: &[u8]) -> Result<Option<Vec<u8>>> {
    let context = || format!("cannot read {} of the image", show(path));
    let Some(found) = tree.find_file(path).with_context(context)? else {
        return Ok(None);
    };
    let file = tree.open_file(&found.path).with_context(context)?;
    let mut text = Vec::new();
    file.take(MAX_CONFIG_SIZE + 1)
        .read_to_end(&mut text)
        .with_context(context)?;
    Ok((text.len() as u64 <= MAX_CONFIG_SIZE).then_some(text))
}

/// The directory part of a path of the image.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&byte| byte == b'/') {
        None | Some(0) => b"/",
        Some(slash) => &path[..slash],
    }
}

/// Matches a name against a pattern with `*` and `?`, as glob(7): no wildcard matches a leading
/// dot.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    // Where the last `*` was, and how much of the name it covers.
    let mut star: Option<(usize, usize)> = None;
    let (mut at, mut done) = (0, 0);
    while done < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, done));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[done] => {
                at += 1;
                done += 1;
            }
            _ => {
                let Some((star_at, covered)) = star else {
                    return false;
                };
                star = Some((star_at, covered + 1));
                (at, done) = (star_at + 1, covered + 1);
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
#[path = "libraries_tests.rs"]
mod tests;
