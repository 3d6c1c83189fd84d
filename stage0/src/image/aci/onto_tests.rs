//! Images that depend on others, and white lists.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::*;
use crate::image::testing::{Archive, Cell, message};

fn list(paths: &[&str]) -> Whitelist {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    Whitelist::new(&paths).unwrap().unwrap()
}

/// Unpacks images, each with its white list, onto each other; then one list counts for all.
fn unpack_all(
    root: &Path,
    images: Vec<(Archive, Option<Whitelist>)>,
    last: Option<Whitelist>,
) -> Result<()> {
    let limits = Limits::default();
    let root = OwnedFd::from(fs::File::open(root).unwrap());
    let mut unpacker = Unpacker::new(root.try_clone().unwrap(), limits);
    for (archive, list) in images {
        let lists: Vec<&Whitelist> = list.iter().collect();
        let archive = archive.finish();
        let mut archive = ArchiveReader::new(archive.as_slice(), limits);
        unpack_onto(&mut archive, &mut unpacker, limits, &lists)?;
    }
    if let Some(list) = last {
        unpacker.keep_only(&list)?;
    }
    let (directories, _) = unpacker.finish();
    directories.set_times(root.as_fd())
}

fn base() -> Archive {
    Archive::new()
        .directory("rootfs/lib")
        .file("rootfs/lib/a", b"base")
        .file("rootfs/lib/b", b"base")
        .symlink("rootfs/link", "lib")
        .file("rootfs/file", b"base")
}

fn exists(cell: &Cell, path: &str) -> bool {
    cell.root().join(path).symlink_metadata().is_ok()
}

#[test]
fn later_images_override_earlier_ones_by_path() {
    let cell = Cell::new();
    let upper = Archive::new()
        .file("rootfs/lib/a", b"upper")
        .file("rootfs/link/x", b"upper")
        .file("rootfs/file/x", b"upper")
        .file("rootfs/lib/.wh.b", b"no whiteout");
    unpack_all(&cell.root(), vec![(base(), None), (upper, None)], None).unwrap();
    cell.check();
    let read = |path: &str| fs::read_to_string(cell.root().join(path)).unwrap();
    assert_eq!(read("lib/a"), "upper");
    assert_eq!(read("lib/b"), "base");
    assert_eq!(read("lib/.wh.b"), "no whiteout");
    // The link of the earlier image is not followed.
    assert!(!exists(&cell, "lib/x"));
    assert!(!cell.root().join("link").is_symlink());
    assert_eq!(
        (read("link/x"), read("file/x")),
        ("upper".into(), "upper".into())
    );
}

#[test]
fn a_directory_that_becomes_a_link_is_not_written_through() {
    let cell = Cell::new();
    let link = Archive::new().symlink("rootfs/lib", "/etc");
    let through = Archive::new()
        .symlink("rootfs/lib", "/etc")
        .file("rootfs/lib/x", b"");
    let text = message(unpack_all(
        &cell.root(),
        vec![(base(), None), (through, None)],
        None,
    ));
    assert!(text.contains("no directory"), "{text}");
    cell.check();
    let cell = Cell::new();
    let last = Archive::new().file("rootfs/lib/x", b"");
    let images = vec![(base(), None), (link, None), (last, None)];
    unpack_all(&cell.root(), images, None).unwrap();
    cell.check();
    assert!(exists(&cell, "lib/x") && !exists(&cell, "etc") && !exists(&cell, "lib/a"));
}

#[test]
fn each_image_needs_its_manifest_and_rootfs() {
    let cell = Cell::new();
    let json = crate::image::testing::manifest("example.com/app", "1");
    let half = Archive::empty().file("manifest", json.as_bytes());
    let images = vec![(base(), None), (half, None)];
    let text = message(unpack_all(&cell.root(), images, None));
    assert!(text.contains("missing rootfs"), "{text}");
}

#[test]
fn a_white_list_is_complete() {
    let cell = Cell::new();
    let image = base()
        .directory("rootfs/etc")
        .file("rootfs/etc/x", b"")
        .file("rootfs/opt/d/f", b"")
        .hard_link("rootfs/opt/d/g", "rootfs/lib/a")
        .directory("rootfs/empty");
    let list = list(&["/lib/b", "/opt", "/opt/d/g", "/etc", "/missing", "/link/b"]);
    unpack_all(&cell.root(), vec![(image, None)], Some(list)).unwrap();
    for kept in ["lib/b", "opt/d/g", "etc"] {
        assert!(exists(&cell, kept), "{kept}");
    }
    // A link is no directory above a listed path.
    for gone in ["lib/a", "opt/d/f", "etc/x", "link", "file", "empty"] {
        assert!(!exists(&cell, gone), "{gone}");
    }
    assert_eq!(fs::read(cell.root().join("opt/d/g")).unwrap(), b"base");
    for (directory, time) in [("lib", 1_600_000_000), ("etc", 1_600_000_000), ("opt/d", 0)] {
        let stat = fs::metadata(cell.root().join(directory)).unwrap();
        assert_eq!(stat.mtime(), time, "{directory}");
    }
}

#[test]
fn the_list_of_an_image_below_counts_for_it_alone() {
    let cell = Cell::new();
    let first = Archive::new()
        .file("rootfs/first", b"1")
        .file("rootfs/both", b"1");
    let second = Archive::new()
        .file("rootfs/second", b"2")
        .file("rootfs/both", b"2")
        .file("rootfs/d/f", b"2");
    let images = vec![(first, None), (second, Some(list(&["/second"])))];
    unpack_all(&cell.root(), images, None).unwrap();
    assert!(exists(&cell, "first") && exists(&cell, "second") && !exists(&cell, "d"));
    assert_eq!(fs::read(cell.root().join("both")).unwrap(), b"1");
}

/// An image whose manifest has one more field.
fn with_field(field: &str) -> Archive {
    let json = crate::image::testing::manifest("example.com/app", "1");
    let json = format!("{}{field}}}", json.strip_suffix('}').unwrap());
    Archive::empty()
        .directory("rootfs")
        .file("rootfs/a", b"")
        .file("rootfs/b", b"")
        .file("manifest", json.as_bytes())
}

#[test]
fn the_list_in_the_manifest_counts() {
    let cell = Cell::new();
    with_field(r#","pathWhitelist":["/b"]"#)
        .unpack(&cell.root())
        .unwrap();
    assert!(!exists(&cell, "a") && exists(&cell, "b"));
    let text = message(with_field(r#","pathWhitelist":["/../b"]"#).unpack(&Cell::new().root()));
    assert!(text.contains("pathWhitelist"), "{text}");
}

#[test]
fn an_image_alone_is_not_whole_without_what_it_depends_on() {
    let field = r#","dependencies":[{"imageName":"example.com/base"}]"#;
    let text = message(with_field(field).unpack(&Cell::new().root()));
    assert!(text.contains("depends on \"example.com/base\""), "{text}");
}
