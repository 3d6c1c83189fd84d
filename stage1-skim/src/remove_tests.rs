use std::fs::{self, File};
use std::os::unix::fs::symlink;

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use tempfile::TempDir;

use super::*;

fn remove(dir: &TempDir, name: &str) -> Result<()> {
    let parent = File::open(dir.path()).unwrap();
    remove_tree(parent.as_fd(), OsStr::new(name))
}

#[test]
fn missing_tree_is_no_error() {
    remove(&TempDir::new().unwrap(), "nothing").unwrap();
}

#[test]
fn single_file_and_wide_tree_are_removed() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    remove(&dir, "file").unwrap();
    fs::create_dir_all(dir.path().join("wide/a/b/c")).unwrap();
    for number in 0..MAX_LISTED + 10 {
        File::create(dir.path().join(format!("wide/a/{number}"))).unwrap();
    }
    remove(&dir, "wide").unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn names_with_a_path_in_them_are_refused() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    for name in ["a/b", "..", ".", "", "/etc"] {
        assert!(remove(&dir, name).is_err(), "{name:?}");
    }
    assert!(dir.path().join("a/b").is_dir());
}

#[test]
fn tree_of_5000_levels_is_removed() {
    let dir = TempDir::new().unwrap();
    let mut at = OwnedFd::from(File::open(dir.path()).unwrap());
    for level in 0..5000 {
        let name = if level == 0 { "top" } else { "d" };
        rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
        // What move_up would take: it must choose another name.
        if level == 1 {
            rustix::fs::mkdirat(&at, ".removed-0", Mode::RWXU).unwrap();
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        at = rustix::fs::openat(&at, name, flags, Mode::empty()).unwrap();
    }
    remove(&dir, "top").unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn symlinks_are_removed_and_their_targets_stay() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("kept"), "x").unwrap();
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("tree")).unwrap();
    symlink(outside.path(), dir.path().join("tree/link")).unwrap();
    symlink(outside.path(), dir.path().join("top-link")).unwrap();
    remove(&dir, "tree").unwrap();
    remove(&dir, "top-link").unwrap();
    assert!(!dir.path().join("tree").exists());
    assert!(dir.path().join("top-link").symlink_metadata().is_err());
    assert!(outside.path().join("kept").exists());
}

/// Needs root, as removal does; without it the mount fails and so does the test.
#[test]
fn bind_mounts_are_refused_and_what_is_behind_them_stays() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("kept"), "x").unwrap();
    let dir = TempDir::new().unwrap();
    let point = dir.path().join("tree/a/mount");
    fs::create_dir_all(&point).unwrap();
    mount_bind(outside.path(), &point).expect("tests of removal need root");
    let inner = remove(&dir, "tree");
    let top = {
        let parent = File::open(dir.path().join("tree/a")).unwrap();
        remove_tree(parent.as_fd(), OsStr::new("mount"))
    };
    let kept = outside.path().join("kept").exists();
    unmount(&point, UnmountFlags::empty()).unwrap();
    assert!(kept);
    for result in [inner, top] {
        let text = format!("{:#}", result.unwrap_err());
        assert!(text.contains("mounted there"), "{text}");
    }
    remove(&dir, "tree").unwrap();
    assert!(!dir.path().join("tree").exists());
}
