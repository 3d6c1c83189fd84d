//! A directory to unpack into, and beside it what hostile archives aim at.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use stage1_skim::remove::remove_tree;
use tempfile::TempDir;

/// Deeper directories are not looked into: their paths are too long to be named.
const PATH_MAX: usize = 3000;

thread_local! {
    static CELL: RefCell<Cell> = RefCell::new(Cell::new());
}

/// Both.
pub struct Cell {
    dir: TempDir,
    before: Vec<String>,
}

/// Gives `work` an empty directory, and checks what is beside it and in it afterwards.
pub fn inside<T>(work: impl FnOnce(&Path, OwnedFd) -> T) -> T {
    CELL.with_borrow_mut(|cell| {
        let root = cell.dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let result = work(cell.dir.path(), File::open(&root).unwrap().into());
        assert_eq!(state(&cell.dir.path().join("outside")), cell.before);
        assert_eq!(fs::read_dir(cell.dir.path()).unwrap().count(), 2);
        check_tree(root);
        let top = File::open(cell.dir.path()).unwrap();
        remove_tree(top.as_fd(), OsStr::new("root")).unwrap();
        result
    })
}

impl Cell {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir_all(outside.join("a/b")).unwrap();
        for file in ["passwd", "a/a", "a/b/c"] {
            fs::write(outside.join(file), file).unwrap();
        }
        let before = state(&outside);
        Self { dir, before }
    }
}

/// All that is beneath a directory: what it is, and when it was changed last.
fn state(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let changed = (stat.ctime(), stat.ctime_nsec());
        let what = (
            stat.mode(),
            stat.uid(),
            stat.ino(),
            stat.nlink(),
            stat.size(),
        );
        found.push(format!("{} {what:?} {changed:?}", path.display()));
        if stat.is_dir() {
            pending.extend(entries(&path));
        }
    }
    found.sort();
    found
}

/// Nothing that could act on the host by itself was made.
fn check_tree(root: PathBuf) {
    let mut pending = vec![root];
    while let Some(directory) = pending.pop() {
        for path in entries(&directory) {
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let device = kind.is_block_device() || kind.is_char_device() || kind.is_socket();
            assert!(!device, "{}", path.display());
            if kind.is_dir() && path.as_os_str().len() < PATH_MAX {
                pending.push(path);
            }
        }
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}
