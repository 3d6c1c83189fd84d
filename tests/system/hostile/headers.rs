//! Headers, records and streams that lie.

use std::fs;

use super::{Case, text};
use crate::support::archive::{DIRECTORY, Entry, GNU_LONG_NAME, SYMLINK, aci, docker_archive, tar};
use crate::support::command::run;
use crate::support::host::Host;

#[test]
fn wrong_checksums() {
    let host = Host::new();
    let case = Case::new(&host);
    case.refuse("file", &[Entry::file("file", "content").damaged()]);
    case.refuse("directory", &[Entry::new(DIRECTORY, "directory").damaged()]);
}

#[test]
fn truncated_streams() {
    let host = Host::new();
    let case = Case::new(&host);
    let entries = aci(&[Entry::file("file", vec![b'x'; 100_000])]);
    let whole = tar(&entries);
    let file = whole.len() - 1024 - 100_000;
    for (name, length) in [
        ("in-a-header", file - 700),
        ("in-a-file", file + 50_000),
        ("in-the-manifest", 700),
    ] {
        case.refuse_aci(name, &whole[..length]);
    }
    let path = case.write("whole.aci", &whole);
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let packed = run(
            "sh",
            [
                "-c",
                &format!("{program} --stdout {0} >{0}.packed", path.display()),
            ],
        );
        packed.success();
        let packed = fs::read(path.with_extension("aci.packed")).expect("it was written");
        for length in [packed.len() - 1, packed.len() / 2, 20] {
            case.refuse_aci(&format!("{program}-{length}"), &packed[..length]);
        }
        // In the middle, where the checksum of the stream is what tells.
        let mut flipped = packed.clone();
        let middle = flipped.len() - 6;
        flipped[middle] ^= 0x55;
        case.refuse_aci(&format!("{program}-flipped"), &flipped);
    }
}

#[test]
fn sizes_that_lie() {
    let host = Host::new();
    let case = Case::new(&host);
    let file = |size: &[u8]| [Entry::file("file", "content").size(size)];
    case.refuse("more", &file(b"00000100000\0"));
    case.refuse("most", &file(b"77777777777\0"));
    case.refuse(
        "base-256",
        &file(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
    );
    case.refuse(
        "negative",
        &file(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
    );
    case.refuse("letters", &file(b"sizesizesiz\0"));
    let link = Entry::link(SYMLINK, "link", "target").size(b"77777777777\0");
    // A link has no content, whatever its header says; or it is refused.
    let path = case.write("link.aci", &tar(&aci(&[link])));
    let outcome = case.store.skim(["fetch", "--quiet", text(&path)]);
    assert!(matches!(outcome.code, Some(0 | 254)), "{outcome:#?}");
    assert_eq!(
        outcome.stderr.lines().count(),
        usize::from(outcome.code != Some(0))
    );
}

#[test]
fn sparse_files_that_lie() {
    let host = Host::new();
    let case = Case::new(&host);
    let records = |realsize: &str, map: &str| {
        let record = |text: String| {
            let mut length = text.len() + 3;
            while format!("{length} {text}\n").len() != length {
                length += 1;
            }
            format!("{length} {text}\n")
        };
        [
            record("GNU.sparse.major=1".into()),
            record("GNU.sparse.minor=0".into()),
            record("GNU.sparse.name=file".into()),
            record(format!("GNU.sparse.realsize={realsize}")),
            map.to_owned(),
        ]
        .concat()
    };
    let sparse = |realsize: &str, map: &str, data: &str| {
        let mut content = map.as_bytes().to_vec();
        content.resize(512, 0);
        content.extend(data.as_bytes());
        [
            Entry::pax(records(realsize, "")),
            Entry::file("GNUSparseFile.0/file", content),
        ]
    };
    for (name, realsize, map) in [
        ("beyond", "10", "1\n100\n7\n"),
        ("overlap", "100", "2\n0\n7\n3\n7\n"),
        ("count", "100", "99999999999999999999\n0\n7\n"),
        ("huge", "9223372036854775807", "1\n9223372036854775800\n7\n"),
        ("negative", "-1", "1\n0\n7\n"),
        ("letters", "x", "1\ny\nz\n"),
        ("empty", "100", ""),
    ] {
        case.refuse_aci(name, &tar(&aci(&sparse(realsize, map, "content"))));
    }
}

#[test]
fn names_that_are_no_names() {
    let host = Host::new();
    let case = Case::new(&host);
    let pax = |record: &[u8]| {
        let length = record.len() + 4;
        let record = [format!("{length} ").as_bytes(), record, b"\n"].concat();
        [Entry::pax(record), Entry::file("x", "content")]
    };
    // Of two digits with their blank: what pax() counts on.
    case.refuse_layers("nul", &[tar(&pax(b"path=a\0b-and-more"))]);
    case.refuse_layers("parent", &[tar(&pax(b"path=../../evil-evil"))]);
    case.refuse("newline", &[Entry::file("a\nb", "content")]);
    case.refuse("not-utf-8", &[Entry::file(b"a\xff\xfe", "content")]);
    case.refuse(
        "escape",
        &[Entry::file("\u{1b}[2J\u{1b}[H/../x", "content")],
    );
    let long = "n".repeat(5000);
    let gnu = Entry::new(GNU_LONG_NAME, "././@LongLink").content(&long);
    case.refuse_layers("long", &[tar(&[gnu, Entry::file("x", "content")])]);
    let deep = "d/".repeat(2040) + "file";
    let gnu = Entry::new(GNU_LONG_NAME, "././@LongLink").content(&deep);
    let layers = [tar(&[gnu, Entry::file("x", "content")])];
    // Whether it is refused or not: it takes neither memory nor time, and what it makes can go.
    let path = case.write("deep.docker.tar", &docker_archive(&layers));
    let source = format!("docker-archive:{}", path.display());
    let outcome = case.store.skim(["fetch", "--quiet", &source]);
    assert!(matches!(outcome.code, Some(0 | 254)), "{outcome:#?}");
}

#[test]
fn pax_headers_gone_mad() {
    let host = Host::new();
    let case = Case::new(&host);
    let file = Entry::file("x", "content");
    for (name, records) in [
        ("length-too-large", b"99 path=evil\n".to_vec()),
        ("length-too-small", b"3 path=evil\n".to_vec()),
        (
            "length-huge",
            b"99999999999999999999999 path=evil\n".to_vec(),
        ),
        ("length-negative", b"-13 path=evil\n".to_vec()),
        ("no-length", b"path=evil\n".to_vec()),
        ("no-equals", b"12 pathevil\n".to_vec()),
        ("size-letters", b"13 size=many\n".to_vec()),
        ("size-negative", b"11 size=-1\n".to_vec()),
        ("megabytes", vec![b'9'; 4 << 20]),
    ] {
        case.refuse_layers(name, &[tar(&[Entry::pax(records), file.clone()])]);
    }
    case.refuse_layers("last", &[tar(&[file.clone(), Entry::pax("12 path=evl\n")])]);
    let mut many = vec![Entry::pax("12 path=evl\n"); 100_000];
    many.push(file);
    case.refuse_layers("many", &[tar(&many)]);
}

/// Zeros of more than an image may have, in an archive of a few megabytes.
#[test]
fn a_bomb_is_stopped_in_time_and_leaves_nothing() {
    let host = Host::new();
    let case = Case::new(&host);
    let head = case.write("head.tar", &{
        let size = Entry::file("zeros", "").size(b"\x80\0\0\0\0\0\0\x20\0\0\0\0");
        let bytes = tar(&aci(&[size]));
        bytes[..bytes.len() - 1024].to_vec()
    });
    // 128 GiB, says the header; a tenth of a percent of it is there.
    let bomb = case.scratch.join("bomb.aci");
    let script = format!(
        "{{ cat {}; head -c 128M /dev/zero; }} | gzip -1 >{}",
        head.display(),
        bomb.display()
    );
    run("sh", ["-c", &script]).success();
    case.refuse_file("", &bomb);
}

#[test]
fn the_bounds_on_size_and_entries_can_be_set() {
    let host = Host::new();
    let case = Case::new(&host);
    let mut entries: Vec<_> = (0..100)
        .map(|number| Entry::file(format!("file-{number}"), "x"))
        .collect();
    entries.push(Entry::file("large", vec![b'x'; 2 << 20]));
    let path = case.write("plenty.aci", &tar(&aci(&entries)));
    let archive = case.write("plenty.docker.tar", &docker_archive(&[tar(&entries)]));
    let sources = [
        text(&path).to_owned(),
        format!("docker-archive:{}", archive.display()),
    ];
    for source in &sources {
        for (bound, says) in [
            ("--max-image-size=1M", "bytes"),
            ("--max-image-entries=50", "50"),
        ] {
            case.store.refuse(says, [bound, source]);
        }
        case.store
            .fetch(["--max-image-size=10M", "--max-image-entries=200", source]);
    }
}
