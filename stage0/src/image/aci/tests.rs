use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::image::testing::{self, Archive, manifest, message};

fn unpack(archive: Archive) -> Result<Unpacked> {
    archive.unpack(TempDir::new().unwrap().path())
}

fn limited(archive: Archive, limits: Limits) -> String {
    let dir = TempDir::new().unwrap();
    message(testing::unpack(&archive.finish(), dir.path(), limits))
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn id_is_that_of_the_uncompressed_archive_with_its_padding() {
    let dir = TempDir::new().unwrap();
    let plain = Archive::new().file("rootfs/a", b"x").finish();
    let ids = [plain.clone(), gzip(&plain)].map(|archive| {
        let dir = TempDir::new().unwrap();
        let limits = Limits::default();
        let (_, measured) = testing::unpack_measured(&archive, dir.path(), limits).unwrap();
        (measured.content, measured.bytes)
    });
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[0].1, plain.len() as u64);
    let padded = [plain.as_slice(), &[0; 10240]].concat();
    let (_, padded) = testing::unpack_measured(&padded, dir.path(), Limits::default()).unwrap();
    assert_ne!(padded.content, ids[0].0);
}

#[test]
fn gzip_of_several_members_is_one_archive() {
    let dir = TempDir::new().unwrap();
    let plain = Archive::new().file("rootfs/a", b"x").finish();
    let (first, second) = plain.split_at(700);
    let archive = [gzip(first), gzip(second)].concat();
    let (_, measured) = testing::unpack_measured(&archive, dir.path(), Limits::default()).unwrap();
    assert_eq!(measured.bytes, plain.len() as u64);
    assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"x");
}

#[test]
fn manifest_may_come_last_and_names_may_start_with_a_dot() {
    let archive = Archive::empty()
        .directory("./")
        .directory("./rootfs/")
        .file("./rootfs/a", b"x")
        .file("./manifest", manifest("example.com/late", "1").as_bytes());
    let unpacked = unpack(archive).unwrap();
    assert_eq!(unpacked.manifest.name, "example.com/late");
    assert_eq!(
        unpacked.manifest_json,
        manifest("example.com/late", "1").as_bytes()
    );
}

#[test]
fn what_an_image_needs_must_be_there_once() {
    let json = manifest("example.com/app", "1");
    let only = |name: &str| Archive::empty().file(name, json.as_bytes());
    assert!(message(unpack(Archive::empty().directory("rootfs"))).contains("missing manifest"));
    assert!(message(unpack(only("manifest"))).contains("missing rootfs"));
    let implied = only("manifest").file("rootfs/a", b"");
    assert!(message(unpack(implied)).contains("missing rootfs"));
    let text = message(unpack(Archive::new().file("manifest", json.as_bytes())));
    assert!(text.contains("two manifests"), "{text}");
    let text = message(unpack(Archive::empty().file("rootfs", b"")));
    assert!(text.contains("must be a directory"), "{text}");
    let text = message(unpack(Archive::empty().symlink("rootfs", "/etc")));
    assert!(text.contains("must be a directory"), "{text}");
    let text = message(unpack(Archive::empty().symlink("manifest", "/etc/passwd")));
    assert!(text.contains("no regular file"), "{text}");
    let text = message(unpack(Archive::empty().file("manifest", b"{}")));
    assert!(text.contains("acKind"), "{text}");
}

#[test]
fn names_elsewhere_are_refused() {
    let cases: [&[u8]; 9] = [
        b"etc/passwd",
        b"rootfs-evil/a",
        b"/rootfs/a",
        b"rootfs/../a",
        b"rootfs/a/../../../b",
        b"../rootfs/a",
        b"rootfs/a/",
        b"rootfs/a\nb",
        b"rootfs/\xff",
    ];
    for name in cases {
        let header = Archive::header(name, EntryType::Regular, 0);
        let text = message(unpack(Archive::new().raw(header, b"")));
        assert!(text.contains(&name.escape_ascii().to_string()), "{text}");
    }
}

#[test]
fn cut_archives_are_refused() {
    let whole = Archive::new().file("rootfs/a", &[7; 2000]).finish();
    let packed = gzip(&whole);
    let mark = whole.len() - 1024;
    let cuts = [
        &whole[..mark],
        &whole[..mark - 512],
        &whole[..mark - 2000],
        &whole[..600],
        &whole[..mark + 100],
        &packed[..packed.len() - 1],
        &packed[..packed.len() / 2],
    ];
    for cut in cuts {
        let dir = TempDir::new().unwrap();
        message(testing::unpack(cut, dir.path(), Limits::default()));
    }
    let mut damaged = whole.clone();
    damaged[1024 + 512] ^= 1;
    let dir = TempDir::new().unwrap();
    let text = message(testing::unpack(&damaged, dir.path(), Limits::default()));
    assert!(text.contains("checksum"), "{text}");
    let mut damaged = packed;
    let crc = damaged.len() - 6;
    damaged[crc] ^= 1;
    let dir = TempDir::new().unwrap();
    message(testing::unpack(&damaged, dir.path(), Limits::default()));
}

#[test]
fn sizes_that_lie_are_refused() {
    let file = |size: u64| {
        let mut header = Archive::header(b"rootfs/a", EntryType::Regular, 0);
        header.set_size(size);
        header
    };
    message(unpack(Archive::new().raw(file(1 << 20), b"short")));
    message(unpack(Archive::new().raw(file(u64::MAX), b"short")));
    let pax = Archive::new().pax(&[("size", b"18446744073709551615")]);
    message(unpack(pax.raw(file(1), b"x")));
    let directory = Archive::header(b"rootfs/d", EntryType::Directory, 512);
    let text = message(unpack(Archive::new().raw(directory, &[0; 512])));
    assert!(text.contains("has data, but is no file"), "{text}");
    let mut manifest = Archive::header(b"manifest", EntryType::Regular, 0);
    manifest.set_size(5 << 20);
    let text = message(unpack(Archive::empty().raw(manifest, &[b' '; 512])));
    assert!(text.contains("at most 4194304"), "{text}");
}

#[test]
fn extensions_are_bounded_and_not_doubled() {
    let long = |size| Archive::header(b"././@LongLink", EntryType::GNULongName, size);
    let text = message(unpack(
        Archive::new().raw(long(2 << 20), &vec![b'a'; 2 << 20]),
    ));
    assert!(text.contains("at most 1048576"), "{text}");
    let mut lie = long(0);
    lie.set_size(u64::MAX);
    message(unpack(Archive::new().raw(lie, b"")));
    let twice = Archive::new()
        .raw(long(9), b"rootfs/a\0")
        .raw(long(9), b"rootfs/b\0");
    assert!(message(unpack(twice)).contains("two long names"));
    let both = Archive::new()
        .raw(long(9), b"rootfs/a\0")
        .pax(&[("path", b"rootfs/b")]);
    assert!(message(unpack(both.file("rootfs/c", b""))).contains("two long names"));
    let zero = Archive::new().raw(long(10), b"rootfs/\0a\0");
    assert!(message(unpack(zero.file("rootfs/c", b""))).contains("zero byte"));
    let alone = Archive::new().raw(long(9), b"rootfs/a\0");
    assert!(message(unpack(alone)).contains("ends in the middle"));
    let name = [b"rootfs/", vec![b'a'; 5000].as_slice()].concat();
    let text = message(unpack(
        Archive::new()
            .raw(long(name.len()), &name)
            .file("rootfs/c", b""),
    ));
    assert!(text.contains("at most 4095"), "{text}");
    let global = Archive::header(b"g", EntryType::XGlobalHeader, 17);
    let text = message(unpack(Archive::new().raw(global, b"17 path=rootfs/x\n")));
    assert!(text.contains("global PAX header"), "{text}");
}

#[test]
fn limits_are_kept() {
    let limits = Limits::default();
    let files = || {
        Archive::new()
            .file("rootfs/a", &[0; 100])
            .file("rootfs/b", &[0; 100])
    };
    let text = limited(
        files(),
        Limits {
            entries: 3,
            ..limits
        },
    );
    assert!(text.contains("more than 3 entries"), "{text}");
    let text = limited(
        files(),
        Limits {
            expanded_bytes: 2000,
            ..limits
        },
    );
    assert!(text.contains("larger than 2000 bytes"), "{text}");
    let deep = Archive::new().file("rootfs/a/b/c/d/e/f/g", b"");
    let text = limited(
        deep,
        Limits {
            directory_memory: 500,
            ..limits
        },
    );
    assert!(text.contains("more than 500 bytes"), "{text}");
    let bomb = gzip(&[Archive::new().finish(), vec![0; 1 << 20]].concat());
    let dir = TempDir::new().unwrap();
    let limits = Limits {
        expanded_bytes: 1 << 20,
        ..limits
    };
    let text = message(testing::unpack(&bomb, dir.path(), limits));
    assert!(text.contains("larger than"), "{text}");
}

/// A sparse file in GNU's format: size and data as in the header, and its map.
fn sparse(real: u64, map: &[(u64, u64)], stored: usize) -> Header {
    let mut header = Archive::header(b"rootfs/s", EntryType::GNUSparse, stored);
    let gnu = header.as_gnu_mut().unwrap();
    let octal = |field: &mut [u8], value: u64| {
        field.copy_from_slice(format!("{value:011o}\0").as_bytes());
    };
    octal(&mut gnu.realsize, real);
    for (block, (offset, length)) in gnu.sparse.iter_mut().zip(map) {
        octal(&mut block.offset, *offset);
        octal(&mut block.numbytes, *length);
    }
    header
}

#[test]
fn sparse_files_get_their_holes() {
    let dir = TempDir::new().unwrap();
    let data = [[1; 512], [2; 512]].concat();
    let header = sparse(1 << 20, &[(4096, 512), (65536, 512), (1 << 20, 0)], 1024);
    Archive::new()
        .raw(header, &data)
        .unpack(dir.path())
        .unwrap();
    let content = std::fs::read(dir.path().join("s")).unwrap();
    let mut expected = vec![0; 1 << 20];
    expected[4096..4608].fill(1);
    expected[65536..66048].fill(2);
    assert!(content == expected);
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    let cases = [
        sparse(100, &[(0, 512)], 512),
        sparse(4096, &[(512, 512), (0, 512)], 1024),
        sparse(4096, &[(0, 512)], 1024),
        sparse(4096, &[(0, 512), (1024, 512)], 512),
        sparse(4096, &[(0, 100), (1024, 412)], 512),
        sparse(0o77777777777, &[(0, 512)], 512),
    ];
    let limits = Limits {
        expanded_bytes: 1 << 30,
        ..Limits::default()
    };
    for header in cases {
        limited(Archive::new().raw(header, &[0; 1024]), limits);
    }
    let mut endless = sparse(4096, &[(0, 512)], 512);
    endless.as_gnu_mut().unwrap().isextended[0] = 1;
    let mut more = [0; 512];
    more[504] = 1;
    let archive = Archive::new().raw(endless, &more.repeat(20));
    let text = limited(
        archive,
        Limits {
            sparse_segments: 100,
            ..limits
        },
    );
    assert!(text.contains("more than 100 segments"), "{text}");
    let pax = Archive::new()
        .pax(&[("GNU.sparse.major", b"1")])
        .file("rootfs/s", b"");
    assert!(message(unpack(pax)).contains("sparse file in PAX format"));
}

proptest! {
    #[test]
    fn no_bytes_panic(data in proptest::collection::vec(any::<u8>(), 0..2000), at in 0usize..3000) {
        let mut archive = Archive::new().file("rootfs/a", &[1; 600]).finish();
        let end = (at + data.len()).min(archive.len());
        if let Some(part) = archive.get_mut(at..end) {
            part.copy_from_slice(&data[..part.len()]);
        }
        let dir = TempDir::new().unwrap();
        let _ = testing::unpack(&archive, dir.path(), Limits::default());
    }
}
