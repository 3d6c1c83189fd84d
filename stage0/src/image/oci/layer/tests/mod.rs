mod hostile;
mod model;
mod random;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tar::EntryType;
use tempfile::TempDir;

use super::*;
use crate::image::limits::Limits;
use crate::image::testing::{Archive, message, unpack_layers};

/// Unpacks layers.
fn unpack<const N: usize>(layers: [Archive; N]) -> TempDir {
    let dir = TempDir::new().unwrap();
    let layers = layers.map(Archive::finish);
    unpack_layers(&layers, dir.path(), Limits::default()).unwrap();
    dir
}

/// All paths below a directory.
fn paths(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![top.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(top).unwrap().display().to_string());
            if path.symlink_metadata().unwrap().is_dir() {
                pending.push(path);
            }
        }
    }
    found.sort();
    found
}

fn base() -> Archive {
    Archive::empty()
        .directory("./")
        .directory("etc/")
        .file("etc/a", b"a")
        .file("etc/b", b"b")
        .directory("usr/")
        .directory("usr/lib/")
        .file("usr/lib/x", b"x")
        .symlink("lib", "usr/lib")
        .symlink("abs", "/usr/lib")
        .symlink("out", "../../../../usr")
}

#[test]
fn names_say_what_is_asked_for() {
    let path = |path: &str| Place::Path(path.into());
    let whiteout = |path: &str| Place::Whiteout(path.into());
    let opaque = |path: &str| Place::Opaque(path.into());
    for (name, expected) in [
        ("a", path("a")),
        ("./a/b/", path("a/b")),
        ("./", path("")),
        (".", path("")),
        ("/", path("")),
        ("a/wh.x", path("a/wh.x")),
        ("a/.wh", path("a/.wh")),
        ("a/.whx.", path("a/.whx.")),
        (".wh.a", whiteout("a")),
        ("./a/.wh.b", whiteout("a/b")),
        ("a/.wh.b/", whiteout("a/b")),
        ("a/.wh....", whiteout("a/...")),
        (".wh..wh..opq", opaque("")),
        ("a/b/.wh..wh..opq", opaque("a/b")),
        (".wh..wh.plnk", Place::Nothing),
        (".wh..wh.plnk/1.2", Place::Nothing),
        ("a/.wh..wh.aufs", Place::Nothing),
        (".wh..wh..opq/x", Place::Nothing),
    ] {
        assert_eq!(place(name.as_bytes()).unwrap(), expected, "{name}");
    }
    for name in [
        ".wh.",
        ".wh..",
        ".wh...",
        "a/.wh.",
        "a/.wh..",
        "a/.wh...",
        ".wh.a/b",
        "a/.wh.b/c",
        "/a",
        "//",
        "/..",
        "..",
        "a/../b",
        "",
        "a\nb",
        "a\0",
        ".wh.a\n",
    ] {
        let text = message(place(name.as_bytes()));
        assert!(!text.is_empty(), "{name}");
    }
    message(place(b"\xff"));
}

#[test]
fn what_an_upper_layer_has_replaces_what_is_below() {
    let mut changed = Archive::header(b"etc", EntryType::Directory, 0);
    changed.set_mode(0o700);
    changed.set_uid(1000);
    changed.set_mtime(1);
    let upper = Archive::empty()
        .raw(changed, b"")
        .file("etc/a", b"new")
        .symlink("usr", "etc")
        .directory("lib")
        .file("abs", b"file");
    let dir = unpack([base(), upper]);
    let look = |name: &str| fs::symlink_metadata(dir.path().join(name)).unwrap();
    assert_eq!(
        paths(dir.path()),
        ["abs", "etc", "etc/a", "etc/b", "lib", "out", "usr"]
    );
    let etc = look("etc");
    assert_eq!(
        (etc.mode() & 0o7777, etc.uid(), etc.mtime()),
        (0o700, 1000, 1)
    );
    assert_eq!(fs::read(dir.path().join("etc/a")).unwrap(), b"new");
    assert!(look("usr").is_symlink() && look("lib").is_dir() && look("abs").is_file());
}

#[test]
fn a_directory_keeps_none_of_its_old_attributes() {
    let records = |names: &[&str]| {
        names.iter().fold(Archive::empty(), |archive, name| {
            archive.pax(&[(&format!("SCHILY.xattr.{name}"), b"1")])
        })
    };
    let dir = unpack([
        records(&["user.old"]).directory("d"),
        records(&["user.new"]).directory("d"),
    ]);
    let mut value = [0; 8];
    let mut get = |name: &str| rustix::fs::getxattr(dir.path().join("d"), name, &mut value);
    assert_eq!(get("user.new"), Ok(1));
    assert_eq!(get("user.old"), Err(rustix::io::Errno::NODATA));
}

#[test]
fn links_of_lower_layers_are_followed_inside_the_tree() {
    let upper = Archive::empty()
        .file("lib/y", b"y")
        .file("abs/deep/z", b"z")
        .file("out/w", b"w")
        .hard_link("lib/h", "abs/x")
        .file("lib/.wh.x", b"");
    let dir = unpack([base(), upper]);
    assert_eq!(
        paths(&dir.path().join("usr")),
        ["lib", "lib/deep", "lib/deep/z", "lib/h", "lib/y", "w"]
    );
    assert!(dir.path().join("lib").is_symlink());
    // Whichever way they were named, the files are the layer's own.
    let upper = Archive::empty()
        .file("lib/m", b"")
        .file("lib/n", b"")
        .file("usr/lib/.wh..wh..opq", b"");
    let dir = unpack([base(), upper]);
    assert_eq!(paths(&dir.path().join("usr/lib")), ["m", "n"]);
    let dangling = Archive::empty().symlink("l", "not/there");
    let dir = unpack([dangling, Archive::empty().file("l/f", b"")]);
    assert_eq!(paths(dir.path()), ["l", "not", "not/there", "not/there/f"]);
}

#[test]
fn links_that_lead_nowhere_are_refused() {
    let refused = |lower: Archive, upper: Archive| {
        let dir = TempDir::new().unwrap();
        let layers = [lower.finish(), upper.finish()];
        message(unpack_layers(&layers, dir.path(), Limits::default()))
    };
    let empty = Archive::empty;
    let text = refused(
        empty().symlink("a", "b").symlink("b", "a"),
        empty().file("a/f", b""),
    );
    assert!(text.contains("more than 40 symbolic links"), "{text}");
    let text = refused(
        empty().symlink("a", "f").file("f", b""),
        empty().file("a/f", b""),
    );
    assert!(text.contains("to what is no directory"), "{text}");
    let target = ["x"; 2040].join("/");
    let lower = empty()
        .pax(&[("linkpath", target.as_bytes())])
        .symlink("a", "x");
    let text = refused(lower, empty().file("a/y/y/y/y/y/y/y/y/y/y/f", b""));
    assert!(text.contains("longer than 4095 bytes"), "{text}");
}

#[test]
fn hard_links_cross_layers_and_survive_the_other_name() {
    let second = Archive::empty()
        .hard_link("etc/c", "etc/a")
        .file("etc/.wh.a", b"");
    let third = Archive::empty()
        .file("etc/a", b"other")
        .hard_link("etc/b", "etc/c");
    let dir = unpack([base(), second, third]);
    let read = |name: &str| fs::read(dir.path().join("etc").join(name)).unwrap();
    assert_eq!(
        (read("a"), read("b"), read("c")),
        (b"other".to_vec(), b"a".to_vec(), b"a".to_vec())
    );
    let inode = |name: &str| {
        fs::metadata(dir.path().join("etc").join(name))
            .unwrap()
            .ino()
    };
    assert_eq!(inode("b"), inode("c"));
    assert_ne!(inode("a"), inode("c"));
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let before = Archive::empty()
        .file("etc/.wh.a", b"")
        .file("etc/a", b"new");
    let after = Archive::empty()
        .file("etc/a", b"new")
        .file("etc/.wh.a", b"");
    for layer in [before, after] {
        let dir = unpack([base(), layer]);
        assert_eq!(fs::read(dir.path().join("etc/a")).unwrap(), b"new");
    }
    // Of any type, and of what is not there; nothing is made for them.
    let layer = Archive::empty()
        .directory("etc/.wh.a")
        .hard_link("etc/.wh.b", ".wh..wh.aufs")
        .symlink(".wh.lib", "x")
        .raw(Archive::header(b".wh.abs", EntryType::Char, 0), b"")
        .file(".wh.nothing", b"")
        .file("no/such/.wh.thing", b"")
        .file("etc/a/.wh.b", b"")
        .file("no/such/.wh..wh..opq", b"")
        .file(".wh.usr", b"");
    let dir = unpack([base(), layer]);
    assert_eq!(paths(dir.path()), ["etc", "out"]);
    // The lowest layer has nothing to hide.
    let layer = Archive::empty()
        .file("a", b"")
        .file(".wh.a", b"")
        .file(".wh..wh..opq", b"");
    assert_eq!(paths(unpack([layer]).path()), ["a"]);
}

#[test]
fn opaque_directories_hide_lower_layers_only() {
    let upper = |first: bool| {
        let archive = Archive::empty().file("usr/new/f", b"");
        let archive = match first {
            true => archive.file("usr/.wh..wh..opq", b"").file("usr/lib/n", b""),
            false => archive.file("usr/lib/n", b"").file("usr/.wh..wh..opq", b""),
        };
        archive.file("usr/z", b"")
    };
    for first in [true, false] {
        let dir = unpack([base(), upper(first)]);
        let kept = ["lib", "lib/n", "new", "new/f", "z"];
        assert_eq!(paths(&dir.path().join("usr")), kept);
        // Nothing of the old directory is left in what is made for the new entries.
        let lib = fs::metadata(dir.path().join("usr/lib")).unwrap();
        assert_eq!((lib.mode() & 0o7777, lib.mtime()), (0o755, 0));
        let usr = fs::metadata(dir.path().join("usr")).unwrap();
        assert_eq!(usr.mtime(), 1_600_000_000);
    }
    let root = Archive::empty().file("new", b"").file(".wh..wh..opq", b"");
    assert_eq!(paths(unpack([base(), root]).path()), ["new"]);
}

#[test]
fn devices_take_the_place_of_what_is_below() {
    let device = Archive::empty().raw(Archive::header(b"etc/a", EntryType::Char, 0), b"");
    let dir = unpack([base(), device]);
    assert_eq!(paths(&dir.path().join("etc")), ["b"]);
}

#[test]
fn a_whole_hidden_tree_goes_however_deep() {
    let deep = PathBuf::from_iter(["d"; 100]).display().to_string();
    let long = |name: &str| {
        let path = format!("{deep}/{name}");
        Archive::empty()
            .pax(&[("path", path.as_bytes())])
            .file("x", b"")
    };
    let dir = unpack([long("f"), Archive::empty().file(".wh.d", b"")]);
    assert!(paths(dir.path()).is_empty());
    let upper = long("g").file(".wh..wh..opq", b"");
    let dir = unpack([long("f"), upper]);
    assert_eq!(paths(dir.path()).len(), 101);
    assert!(dir.path().join(&deep).join("g").exists());
}

#[test]
fn the_same_layer_makes_nothing_twice() {
    let twice = [
        Archive::empty().file("a", b"").file("a", b""),
        Archive::empty().directory("etc").directory("./etc/"),
        Archive::empty().directory(".").directory("/"),
        Archive::empty().file("etc/new", b"").file("etc", b""),
        Archive::empty().file("etc/new", b"").symlink("etc", "x"),
        Archive::empty().file("lib/n", b"").file("usr/lib/n", b""),
        Archive::empty().hard_link("etc/a", "etc/a"),
        Archive::empty().hard_link("lib/x", "usr/lib/x"),
        Archive::empty()
            .file("etc/.wh.a", b"")
            .file("etc/.wh.a", b""),
        Archive::empty()
            .file("usr/.wh..wh..opq", b"")
            .file("usr/.wh..wh..opq", b""),
        Archive::empty()
            .raw(Archive::header(b"etc/a", EntryType::Char, 0), b"")
            .file("etc/a", b""),
    ];
    for (number, upper) in twice.into_iter().enumerate() {
        let dir = TempDir::new().unwrap();
        let layers = [base().finish(), upper.finish()];
        let text = message(unpack_layers(&layers, dir.path(), Limits::default()));
        assert!(text.contains("duplicate entry"), "{number}: {text}");
    }
}

#[test]
fn limits_count_for_all_layers_together() {
    let file = |name: &str| Archive::empty().file(name, &[1; 2000]).finish();
    let layers = [file("a"), file("b"), file("c")];
    let refused = |limits| {
        let dir = TempDir::new().unwrap();
        message(unpack_layers(&layers, dir.path(), limits))
    };
    let limits = Limits::default();
    let text = refused(Limits {
        entries: 2,
        ..limits
    });
    assert!(text.contains("more than 2 entries"), "{text}");
    // More than one archive, less than all files.
    let text = refused(Limits {
        expanded_bytes: 5000,
        ..limits
    });
    assert!(
        text.contains("files of the image have more than 5000 bytes"),
        "{text}"
    );
}
