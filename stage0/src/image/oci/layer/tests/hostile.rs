//! Layers that mean harm: nothing is written outside of the tree.

use tar::EntryType;

use super::paths;
use crate::image::limits::Limits;
use crate::image::testing::{Archive, Cell, message, unpack_layers};

/// Unpacks layers that must be refused.
fn refused<const N: usize>(layers: [Archive; N]) -> String {
    let cell = Cell::new();
    let layers = layers.map(Archive::finish);
    let text = message(unpack_layers(&layers, &cell.root(), Limits::default()));
    cell.check();
    text
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [
        "../outside/new",
        "a/../../outside/new",
        "/etc/passwd",
        "//a",
        "..",
        "a/..",
        "../.wh.outside",
        ".wh.../outside",
        "../outside/.wh..wh..opq",
        "a\nb",
    ] {
        let text = refused([Archive::empty().file(name, b"x")]);
        assert!(text.contains(&name.escape_default().to_string()), "{text}");
        refused([
            Archive::empty().directory("a"),
            Archive::empty().file(name, b"x"),
        ]);
    }
}

#[test]
fn links_out_of_the_tree_are_kept_and_never_followed() {
    let outside = Cell::new().outside();
    for target in [
        "../outside",
        "/../outside",
        "../../../../../..",
        outside.to_str().unwrap(),
    ] {
        let link = || Archive::empty().symlink("l", target);
        // In one layer.
        refused([link().file("l/a/new", b"x")]);
        refused([link().directory("l/new")]);
        refused([link().hard_link("h", "l/passwd")]);
        // In a lower one: it leads to a place in the tree.
        let cell = Cell::new();
        let upper = Archive::empty()
            .file("l/new", b"x")
            .file("l/.wh.passwd", b"")
            .file("l/.wh..wh..opq", b"");
        let layers = [link().finish(), upper.finish()];
        unpack_layers(&layers, &cell.root(), Limits::default()).unwrap();
        cell.check();
        assert!(paths(&cell.root()).iter().any(|path| path.ends_with("new")));
        assert!(
            refused([link(), Archive::empty().hard_link("h", "l/passwd")]).contains("its target")
        );
    }
}

#[test]
fn directories_that_become_links_are_not_written_through() {
    let directory = || Archive::empty().directory("d").file("d/f", b"x");
    let link = || Archive::empty().symlink("d", "/etc");
    // The layer that makes the link, or the same archive.
    refused([directory(), link().file("d/new", b"x")]);
    refused([directory(), link().file("d/sub/new", b"x")]);
    refused([directory().symlink("d", "/etc").file("d/new", b"x")]);
    refused([directory(), link().hard_link("h", "d/f")]);
    refused([directory(), link().file("d/.wh.f", b"")]);
    refused([
        directory(),
        Archive::empty().file("d/g", b"").symlink("d", "/etc"),
    ]);
    // Later layers write into the tree's own /etc.
    let cell = Cell::new();
    let layers = [
        directory().finish(),
        link().finish(),
        Archive::empty().file("d/new", b"x").finish(),
    ];
    unpack_layers(&layers, &cell.root(), Limits::default()).unwrap();
    cell.check();
    assert_eq!(paths(&cell.root()), ["d", "etc", "etc/new"]);
}

#[test]
fn hard_links_to_anything_else_are_refused() {
    let base = || {
        Archive::empty()
            .directory("d")
            .symlink("s", "/outside/passwd")
            .raw(Archive::header(b"p", EntryType::Fifo, 0), b"")
            .raw(Archive::header(b"n", EntryType::Char, 0), b"")
    };
    for target in [
        "/etc/passwd",
        "../outside/passwd",
        "d/../../x",
        "d",
        "s",
        "p",
        "n",
        "missing",
        "later",
        ".",
        "d/missing/x",
    ] {
        let link = |archive: Archive| archive.hard_link("new", target).file("later", b"");
        assert!(refused([link(base())]).contains("new"));
        assert!(refused([base(), link(Archive::empty())]).contains("new"));
    }
    let text = refused([Archive::empty()
        .hard_link("new", "later")
        .file("later", b"")]);
    assert!(text.contains("must come before the link"), "{text}");
    refused([base(), Archive::empty().hard_link("d", "d/f")]);
}

#[test]
fn files_of_lower_layers_are_not_opened_to_be_written() {
    let cell = Cell::new();
    let lower = Archive::empty().file("a", b"old").hard_link("b", "a");
    let upper = Archive::empty().file("a", b"new and longer");
    let layers = [lower.finish(), upper.finish()];
    unpack_layers(&layers, &cell.root(), Limits::default()).unwrap();
    assert_eq!(std::fs::read(cell.root().join("b")).unwrap(), b"old");
}

#[test]
fn the_root_stays_a_directory() {
    for kind in [EntryType::Regular, EntryType::Fifo, EntryType::Char] {
        let text = refused([Archive::empty().raw(Archive::header(b".", kind, 0), b"")]);
        assert!(text.contains("must be a directory"), "{text}");
    }
    let text = refused([Archive::empty().symlink(".", "/etc")]);
    assert!(text.contains("must be a directory"), "{text}");
}

#[test]
fn a_layer_that_is_cut_is_refused() {
    let layer = Archive::empty()
        .directory("d")
        .pax(&[("mtime", b"1.5")])
        .file("d/f", &[7; 1300])
        .hard_link("d/h", "d/f")
        .file(".wh.x", b"")
        .finish();
    let lower = Archive::empty().file("x", b"").finish();
    let whole = layer.len();
    // The end mark is two blocks; one is enough.
    for cut in (0..whole).step_by(512) {
        let cell = Cell::new();
        let layers = [lower.clone(), layer[..cut].to_vec()];
        let result = unpack_layers(&layers, &cell.root(), Limits::default());
        cell.check();
        if cut >= whole - 512 {
            result.unwrap();
            assert_eq!(paths(&cell.root()), ["d", "d/f", "d/h"]);
        } else {
            message(result);
        }
    }
}
