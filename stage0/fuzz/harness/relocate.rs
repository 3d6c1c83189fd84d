//! The relocation of one file in a small tree. Its first bytes say what it is: an ELF file, which
//! is there as a program and as a library; a script; a symbolic link, after `@`; or else the
//! loader's configuration.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use skim::image::relocate::{Change, Report, What, relocate};
use tempfile::TempDir;

use super::check_line;

/// Where the tree will stand.
const FINAL_ROOT: &str = "/var/lib/skim/images/trees/sha512-0123456789abcdef/rootfs";
/// Most bytes of a symbolic link.
const LINK_MAX: usize = 4095;
/// Bytes of a value that a report shows whole.
const SHOWN_MAX: usize = 2048;
/// Most bytes that a small file gets longer by.
const GROWTH_MAX: usize = 512 << 10;

/// A program that can be relocated, and whose loader the libraries are for.
const PROGRAM: &[u8] = include_bytes!("../seeds/relocate/glibc-pie");

const APP: &str = "bin/app";
const LIBRARY: &str = "usr/lib/libapp.so";
const LINK: &str = "usr/bin/link";
const CONFIG: &str = "etc/ld.so.conf";
const MUSL_CONFIG: &str = "etc/ld-musl-x86_64.path";
const OTHER: &str = "bin/other";
const OTHER_PATH: &str = "/bin/other";
/// What is made anew for each input.
const CHANGING: [&str; 6] = [APP, LIBRARY, LINK, CONFIG, MUSL_CONFIG, OTHER];

const DIRECTORIES: [&str; 9] = [
    "bin",
    "etc/ld.so.conf.d",
    "lib/x86_64-linux-gnu",
    "lib64",
    "opt/app/lib",
    "proc",
    "usr/bin",
    "usr/lib/x86_64-linux-gnu",
    "usr/local/lib",
];
/// Loaders, interpreters and configuration; the former two are too short to be looked into.
const FILES: [(&str, &str); 9] = [
    ("lib64/ld-linux-x86-64.so.2", "ld"),
    ("lib/ld-linux.so.2", "ld"),
    ("lib/ld-linux-aarch64.so.1", "ld"),
    ("lib/ld64.so.1", "ld"),
    ("lib/ld-musl-x86_64.so.1", "ld"),
    ("bin/sh", "sh"),
    ("usr/bin/env", "ev"),
    ("etc/ld.so.conf.d/a.conf", "/opt/app/lib\ninclude b.conf\n"),
    (
        "etc/ld.so.conf.d/b.conf",
        "include /etc/ld.so.conf\n/usr/local/lib\n",
    ),
];

thread_local! {
    static TREE: Tree = Tree::new();
}

/// Relocates the file, twice.
pub fn run(input: &[u8]) -> Result<()> {
    TREE.with(|tree| {
        tree.write(OTHER, PROGRAM, 0o755);
        match input {
            [0x7f, b'E', b'L', b'F', ..] => {
                tree.write(APP, input, 0o755);
                tree.write(LIBRARY, input, 0o644);
            }
            [b'#', b'!', ..] => tree.write(APP, input, 0o755),
            [b'@', target @ ..] => {
                let possible =
                    !target.is_empty() && target.len() <= LINK_MAX && !target.contains(&0);
                ensure!(possible, "there can be no such link");
                symlink(OsStr::from_bytes(target), tree.at(LINK)).unwrap();
            }
            _ => {
                tree.write(CONFIG, input, 0o644);
                tree.write(MUSL_CONFIG, input, 0o644);
            }
        }
        tree.check()
    })
}

struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for directory in DIRECTORIES {
            fs::create_dir_all(tree.at(directory)).unwrap();
        }
        for (path, content) in FILES {
            tree.write(path, content.as_bytes(), 0o755);
        }
        symlink("usr/lib", tree.at("lib32")).unwrap();
        symlink("/lib/../lib64", tree.at("usr/lib64")).unwrap();
        // So that the link is not found anew in each input.
        tree.relocate();
        tree
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, content: &[u8], mode: u32) {
        fs::write(self.at(path), content).unwrap();
        fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
    }

    fn relocate(&self) -> Report {
        let root = File::open(self.0.path()).unwrap();
        // Whatever a file holds, an error would mean that the file system failed.
        let report = relocate(root.as_fd(), Path::new(FINAL_ROOT)).unwrap();
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        report
    }

    /// Relocates the tree, and checks what became of it; takes away what was made for it.
    fn check(&self) -> Result<()> {
        let before = self.state();
        let report = self.relocate();
        let after = self.state();
        for (path, old) in &before {
            let name = format!("/{path}");
            let change = report.changes.iter().find(|change| change.path == name);
            assert_eq!(change.is_some(), old != &after[path], "{name}");
            if let Some(change) = change {
                check_change(change, old, &after[path]);
            }
        }
        assert_eq!(before.len(), after.len());
        for left in &report.left {
            check_line(&left.reason);
            let changed = report.changes.iter().any(|change| change.path == left.path);
            assert!(!changed, "{} is changed and left", left.path);
        }
        // There is nothing more to do, whatever had to be left, but for the program that tells
        // which loader the libraries are for.
        self.write(OTHER, PROGRAM, 0o755);
        let again = self.relocate();
        let changed = again.changes.iter().map(|change| change.path.as_str());
        assert_eq!(changed.collect::<Vec<_>>(), [OTHER_PATH], "a second time");
        assert_eq!(again.left, report.left, "a second time");
        assert!(self.state() == after, "a second time");
        for path in CHANGING {
            match fs::remove_file(self.at(path)) {
                Err(error) if error.kind() != ErrorKind::NotFound => panic!("{path}: {error}"),
                _ => (),
            }
        }
        match report.left.first() {
            Some(left) => bail!("{}: {}", left.path, left.reason),
            None => Ok(()),
        }
    }

    /// The files that were made for an input: their modes and content.
    fn state(&self) -> BTreeMap<&'static str, (u32, Vec<u8>)> {
        let state = |path| {
            let stat = fs::symlink_metadata(self.at(path)).ok()?;
            let content = match stat.is_symlink() {
                true => fs::read_link(self.at(path))
                    .ok()?
                    .into_os_string()
                    .into_encoded_bytes(),
                false => fs::read(self.at(path)).ok()?,
            };
            Some((path, (stat.mode(), content)))
        };
        CHANGING.into_iter().filter_map(state).collect()
    }
}

/// A file was changed: it is what the report says.
fn check_change(change: &Change, before: &(u32, Vec<u8>), after: &(u32, Vec<u8>)) {
    assert_eq!(before.0, after.0, "its mode");
    let (before, after) = (&before.1, &after.1);
    let holds = |text: &str| {
        let text = [text.as_bytes(), b"\0"].concat();
        let starts = |window: &&[u8]| window[0] == b'/';
        let mut windows = after.windows(text.len()).filter(starts);
        windows.any(|window| window == text)
    };
    match &change.what {
        What::Elf { interpreter, rpath } => {
            assert!(after.starts_with(b"\x7fELF"));
            assert!(after.len() <= before.len() + GROWTH_MAX, "{}", after.len());
            // A longer one is cut short.
            assert!(rpath.to.len() > SHOWN_MAX || holds(&rpath.to), "{rpath:?}");
            for path in rpath.to.split(':') {
                assert!(path.starts_with(FINAL_ROOT), "{path:?}");
            }
            if let Some(interpreter) = interpreter {
                assert!(interpreter.to.starts_with(FINAL_ROOT), "{interpreter:?}");
                assert!(holds(&interpreter.to), "{interpreter:?}");
            }
        }
        What::Shebang { from, to } => {
            check_line(from);
            check_line(to);
            let start = format!("#!{FINAL_ROOT}/");
            let line: Vec<_> = after
                .iter()
                .filter(|byte| !b" \t".contains(byte))
                .copied()
                .collect();
            assert!(line.starts_with(start.as_bytes()), "{to:?}");
        }
        What::Symlink { .. } => assert!(!after.starts_with(b"/")),
    }
}
