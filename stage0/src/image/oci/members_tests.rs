use proptest::prelude::*;

use super::*;
use crate::image::oci::fixture;
use crate::image::testing::{Archive, message};

fn members(archive: Archive) -> Result<Members> {
    Members::of(&fixture::blob(&archive.finish()))
}

fn text(members: &Members, path: &str) -> Option<Vec<u8>> {
    let blob = members.find(path).unwrap();
    blob.map(|blob| blob.read(1000).unwrap())
}

#[test]
fn files_and_links_are_found() {
    let long = format!("d/{}", "n".repeat(200));
    let archive = Archive::empty()
        .directory("d/")
        .directory("d/")
        .file("./d/one", b"1")
        .symlink("d/e/relative", "../one")
        .symlink("chain", "d/e/relative")
        .hard_link("hard", "d/one")
        .pax(&[("path", long.as_bytes())])
        .file("short", b"long")
        .symlink("dangling", "nowhere")
        .file("last", &[7; 513]);
    let members = members(archive).unwrap();
    for path in ["d/one", "./d/one", "d/e/relative", "chain", "hard"] {
        assert_eq!(text(&members, path).unwrap(), b"1", "{path}");
    }
    assert_eq!(text(&members, &long).unwrap(), b"long");
    assert_eq!(text(&members, "last").unwrap(), [7; 513]);
    for none in ["short", "d", "dangling", "none", ""] {
        assert_eq!(text(&members, none), None, "{none}");
    }
}

#[test]
fn an_archive_may_be_a_part_of_a_file() {
    let archive = Archive::empty().file("a", b"text").finish();
    let blob = fixture::blob(&[&[1; 100][..], &archive, &[2; 100]].concat());
    let part = Blob {
        offset: 100,
        size: archive.len() as u64,
        ..blob
    };
    assert_eq!(text(&Members::of(&part).unwrap(), "a").unwrap(), b"text");
}

#[test]
fn links_are_bounded() {
    let mut archive = Archive::empty()
        .symlink("a", "b")
        .symlink("b", "a")
        .hard_link("self", "self")
        .file("l0", b"x");
    for n in 0..20 {
        archive = archive.symlink(&format!("l{}", n + 1), &format!("l{n}"));
    }
    let members = members(archive).unwrap();
    assert_eq!(text(&members, "l8").unwrap(), b"x");
    for path in ["a", "self", "l9"] {
        assert!(message(members.find(path)).contains("more than 8 times"));
    }
    for path in ["../a", "/a"] {
        assert!(message(members.find(path)).contains("leads out"));
    }
}

#[test]
fn hostile_archives_are_refused() {
    let big = Archive::header(b"big", EntryType::Regular, 1 << 40);
    let fifo = Archive::header(b"fifo", EntryType::Fifo, 0);
    let not_utf8 = Archive::header(b"\xff", EntryType::Regular, 0);
    let sparse = Archive::header(b"sparse", EntryType::GNUSparse, 0);
    let long = "n".repeat(5000);
    let much = "v".repeat(70_000);
    for (archive, expected) in [
        (
            Archive::empty().file("a", b"").file("./a", b""),
            "\"a\" is in the archive twice",
        ),
        (
            Archive::empty().file("a", b"").symlink("a", "b"),
            "\"a\" is in the archive twice",
        ),
        (
            Archive::empty().file("../a", b""),
            "leads out of the archive",
        ),
        (Archive::empty().file("/a", b""), "leads out of the archive"),
        (
            Archive::empty().symlink("a", "../b"),
            "leads out of the archive",
        ),
        (
            Archive::empty().symlink("a", "/b"),
            "leads out of the archive",
        ),
        (
            Archive::empty().hard_link("d/a", "../b"),
            "leads out of the archive",
        ),
        (
            Archive::empty().raw(big, b""),
            "cut short in the middle of a file",
        ),
        (
            Archive::empty().raw(fifo, b""),
            "neither file, directory nor link",
        ),
        (Archive::empty().raw(not_utf8, b""), "is not UTF-8"),
        (Archive::empty().raw(sparse, b""), "sparse"),
        (
            Archive::empty()
                .pax(&[("path", long.as_bytes())])
                .file("a", b""),
            "at most 4095",
        ),
        (
            Archive::empty()
                .pax(&[("comment", much.as_bytes())])
                .file("a", b""),
            "at most 65536",
        ),
        (
            Archive::empty()
                .pax(&[("size", b"99999999")])
                .file("a", b""),
            "cut short",
        ),
        (
            Archive::empty().pax(&[("path", b"a")]),
            "ends in the middle of an entry",
        ),
    ] {
        let text = message(members(archive).map(|_| ()));
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn damaged_archives_are_refused() {
    let whole = Archive::empty().file("a", &[b'x'; 600]).finish();
    for length in [0, 1, 511, 512, 1000, 1111, 1535, 1536] {
        let text = message(Members::of(&fixture::blob(&whole[..length])).map(|_| ()));
        assert!(text.contains("cut short"), "{length}: {text}");
    }
    Members::of(&fixture::blob(&whole[..2048])).unwrap();
    let mut damaged = whole;
    damaged[0] = b'b';
    let text = message(Members::of(&fixture::blob(&damaged)).map(|_| ()));
    assert!(text.contains("checksum"), "{text}");
}

#[test]
fn members_are_bounded() {
    let mut archive = Archive::empty();
    for n in 0..=MEMBERS_MAX {
        archive = archive.file(&n.to_string(), b"");
    }
    assert!(message(members(archive).map(|_| ())).contains("more than 20000 members"));
    let mut archive = Archive::empty();
    for n in 0..1100 {
        let name = format!("{n}/{}", "n".repeat(4000));
        archive = archive.pax(&[("path", name.as_bytes())]).file("a", b"");
    }
    assert!(message(members(archive).map(|_| ())).contains("more than 4194304 bytes"));
}

proptest! {
    #[test]
    fn no_bytes_panic(at in 0usize..2048, byte in any::<u8>(), length in 0usize..2560) {
        let mut archive = Archive::empty().file("a", b"x").symlink("b", "a").finish();
        archive[at] = byte;
        archive.truncate(length);
        if let Ok(members) = Members::of(&fixture::blob(&archive)) {
            let _ = members.find("b");
        }
    }
}
