//! A small root file system to relocate.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lgetxattr, lsetxattr, utimensat};
use tempfile::TempDir;

use super::super::{Report, cow::CowFile, elf, relocate};

const CAPABILITY: &str = "security.capability";
/// cap_net_raw=ep, as capabilities(7) version 2.
const NET_RAW: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

pub(super) struct Image {
    dir: TempDir,
    /// The loader's and the C library's place in the image.
    pub(super) loader: String,
    pub(super) libc: String,
}

impl Image {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let own = File::open("/proc/self/exe").unwrap();
        let own = elf::Facts::read(&mut CowFile::new(&own, 0).unwrap())
            .unwrap()
            .unwrap();
        let loader = String::from_utf8(own.interpreter.expect("tests are dynamic")).unwrap();
        let libc = format!(
            "lib/{}",
            own.libc
                .map(|name| String::from_utf8(name).unwrap())
                .unwrap()
        );
        let image = Self {
            dir,
            loader: loader[1..].to_owned(),
            libc,
        };
        for path in ["usr/bin", "usr/lib", "opt/bar", "bin", "lib"] {
            fs::create_dir_all(image.at(path)).unwrap();
        }
        image
    }

    pub(super) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub(super) fn path(&self, path: &str) -> String {
        self.at(path).to_str().unwrap().to_owned()
    }

    pub(super) fn relocate(&self) -> Report {
        let root = File::open(self.root()).unwrap();
        relocate(root.as_fd(), self.root()).unwrap()
    }

    pub(super) fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.at(path)).unwrap()
    }

    pub(super) fn write(&self, path: &str, content: &[u8], mode: u32) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
        self.set_mode(path, mode);
    }

    pub(super) fn set_mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// This machine's own, as an image would bring them.
    pub(super) fn add_loader_and_libc(&self) {
        let name = self.libc.rsplit('/').next().unwrap();
        let found = Command::new("cc")
            .arg(format!("-print-file-name={name}"))
            .output()
            .unwrap();
        let libc = fs::read(String::from_utf8(found.stdout).unwrap().trim_end()).unwrap();
        self.write(&self.libc, &libc, 0o755);
        self.write(
            &self.loader,
            &fs::read(format!("/{}", self.loader)).unwrap(),
            0o755,
        );
    }

    pub(super) fn compile(&self, path: &str, source: &str, options: &[&str]) {
        let input = self.dir.path().join("source.c");
        fs::write(&input, source).unwrap();
        let output = Command::new("cc")
            .args(["-fPIC", "-o", &self.path(path)])
            .arg(&input)
            .args(options)
            .output()
            .expect("cc runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::remove_file(input).unwrap();
    }

    /// Runs a program by its path in the tree, from `/`; returns its output.
    pub(super) fn run(&self, path: &str, environment: &[(&str, &str)]) -> String {
        let output = Command::new(self.at(path))
            .current_dir("/")
            .env_clear()
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        assert!(output.status.success(), "{path}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The content of every regular file.
    pub(super) fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut pending = vec![self.root().to_owned()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    pending.push(entry.path());
                } else {
                    let path = entry.path();
                    let name = path
                        .strip_prefix(self.root())
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned();
                    files.insert(name, fs::read(path).unwrap());
                }
            }
        }
        files
    }

    /// Gives a file metadata that writing to it would lose.
    pub(super) fn mark(&self, path: &str) {
        let path = self.at(path);
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_symlink() {
            lchown(&path, Some(12), Some(34)).unwrap();
        } else {
            chown(&path, Some(12), Some(34)).unwrap();
        }
        if metadata.is_file() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
            lsetxattr(&path, CAPABILITY, &NET_RAW, XattrFlags::empty()).unwrap();
        }
        let time = |tv_sec| Timespec {
            tv_sec,
            tv_nsec: 123_456_789,
        };
        let times = Timestamps {
            last_access: time(1_000_000),
            last_modification: time(2_000_000),
        };
        utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// What must survive.
#[derive(Debug, PartialEq)]
pub(super) struct Metadata {
    owner: (u32, u32),
    mode: u32,
    accessed: (i64, i64),
    modified: (i64, i64),
    capability: Option<Vec<u8>>,
}

impl Metadata {
    pub(super) fn of(path: &Path) -> Self {
        let metadata = fs::symlink_metadata(path).unwrap();
        let mut capability = [0; 64];
        let length = lgetxattr(path, CAPABILITY, &mut capability[..]).ok();
        Self {
            owner: (metadata.uid(), metadata.gid()),
            mode: metadata.mode(),
            accessed: (metadata.atime(), metadata.atime_nsec()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            capability: length.map(|length| capability[..length].to_vec()),
        }
    }
}
