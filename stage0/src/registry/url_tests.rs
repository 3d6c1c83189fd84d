//! Tests of downloads by address.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use super::super::options::NetworkOptions;
use super::super::testing::{CA, Reply, Request, Server, network, open, options};
use super::*;
use crate::progress::Silent;

const LIMIT: u64 = 1 << 20;

fn content() -> Vec<u8> {
    (0..50_000_u32).flat_map(|i| i.to_le_bytes()).collect()
}

fn partial(directory: &Path) -> PartialUrl {
    PartialUrl {
        file: open(&directory.join("file")),
        note: open(&directory.join("note")),
    }
}

fn fetch(network: &Network, server: &Server, directory: &Path) -> Result<Fetched> {
    let url = format!("http://{}/dir/x.aci?secret", server.address);
    network.fetch_url(&url, None, &partial(directory), LIMIT, &Silent)
}

fn there(directory: &Path) -> Vec<u8> {
    std::fs::read(directory.join("file")).unwrap()
}

/// A server whose file has the `ETag` `"one"` and that knows `If-Range`.
fn versioned(request: &Request) -> Reply {
    let same = request.header("if-range") == "\"one\"";
    let reply = match request.range() {
        Some(_) if same => Reply::ranged(request, &content()),
        _ => Reply::new(200, content()),
    };
    reply.header("etag", "\"one\"")
}

#[test]
fn a_whole_file_comes() {
    let server = Server::http(versioned);
    let directory = tempfile::tempdir().unwrap();
    let fetched = fetch(&network(), &server, directory.path()).unwrap();
    let expected = FetchedFile {
        size: 200_000,
        validators: Validators {
            etag: Some("\"one\"".to_owned()),
            last_modified: None,
        },
        url: format!("http://{}/dir/x.aci", server.address),
    };
    assert_eq!(fetched, Fetched::File(expected));
    assert_eq!(there(directory.path()), content());
}

#[test]
fn a_broken_connection_is_resumed() {
    let breaks = Mutex::new(vec![80_000, 70_000]);
    let server = Server::http(move |request| match breaks.lock().unwrap().pop() {
        Some(after) => versioned(request).cut(after),
        None => versioned(request),
    });
    let directory = tempfile::tempdir().unwrap();
    fetch(&network(), &server, directory.path()).unwrap();
    let starts: Vec<_> = server.seen().iter().map(Request::range).collect();
    assert_eq!(starts, [None, Some(70_000), Some(150_000)]);
    assert_eq!(there(directory.path()), content());
}

#[test]
fn another_process_goes_on_where_this_one_gave_up() {
    let directory = tempfile::tempdir().unwrap();
    {
        let server = Server::http(|request| match request.range() {
            None => versioned(request).cut(70_000),
            Some(_) => Reply::new(403, ""),
        });
        let error = fetch(&network(), &server, directory.path()).unwrap_err();
        assert!(format!("{error:#}").contains("403"), "{error:#}");
    }
    let server = Server::http(versioned);
    fetch(&network(), &server, directory.path()).unwrap();
    assert_eq!(server.seen()[0].range(), Some(70_000));
    assert_eq!(there(directory.path()), content());
}

#[test]
fn bytes_that_may_not_be_on_the_disk_are_fetched_again() {
    let directory = tempfile::tempdir().unwrap();
    let files = partial(directory.path());
    let note = Note {
        validators: Validators {
            etag: Some("\"one\"".to_owned()),
            last_modified: None,
        },
        safe: 1000,
    };
    write_note(&files.note, &note).unwrap();
    files.file.write_all_at(&content()[..1000], 0).unwrap();
    files.file.write_all_at(&[0; 5000], 1000).unwrap();
    drop(files);
    let server = Server::http(versioned);
    fetch(&network(), &server, directory.path()).unwrap();
    assert_eq!(server.seen()[0].range(), Some(1000));
    assert_eq!(there(directory.path()), content());
}

#[test]
fn another_version_or_a_server_without_ranges_starts_anew() {
    for etag in ["\"two\"", "W/\"one\"", ""] {
        let directory = tempfile::tempdir().unwrap();
        let files = partial(directory.path());
        let validators = Validators {
            etag: Some(etag.to_owned()),
            last_modified: None,
        };
        let note = Note {
            validators,
            safe: 5,
        };
        write_note(&files.note, &note).unwrap();
        files.file.write_all_at(b"other", 0).unwrap();
        drop(files);
        let server = Server::http(versioned);
        fetch(&network(), &server, directory.path()).unwrap();
        assert_eq!(there(directory.path()), content(), "{etag}");
    }
}

#[test]
fn a_range_that_was_not_asked_for_is_not_taken() {
    let first = Mutex::new(true);
    let server = Server::http(move |request| match request.range() {
        // The answer claims to go on elsewhere.
        Some(_) => Reply::new(206, "x").header("content-range", "bytes 5-5/200000"),
        None if std::mem::take(&mut *first.lock().unwrap()) => versioned(request).cut(9),
        None => versioned(request),
    });
    let directory = tempfile::tempdir().unwrap();
    fetch(&network(), &server, directory.path()).unwrap();
    assert_eq!(there(directory.path()), content());
}

#[test]
fn a_known_version_is_not_fetched() {
    let server = Server::http(|request| {
        assert_eq!(request.header("if-none-match"), "\"one\"");
        Reply::new(304, "")
    });
    let directory = tempfile::tempdir().unwrap();
    let known = Validators {
        etag: Some("\"one\"".to_owned()),
        last_modified: Some("Wed, 21 Oct 2015 07:28:00 GMT".to_owned()),
    };
    let url = format!("http://{}/x.aci", server.address);
    let files = partial(directory.path());
    let fetched = network().fetch_url(&url, Some(&known), &files, LIMIT, &Silent);
    assert_eq!(fetched.unwrap(), Fetched::Unchanged);
    let date = server.seen()[0].header("if-modified-since").to_owned();
    assert_eq!(Some(date), known.last_modified);
}

#[test]
fn too_much_is_refused() {
    let server = Server::http(|_| Reply::new(200, vec![0; 2 << 20]));
    let directory = tempfile::tempdir().unwrap();
    let error = fetch(&network(), &server, directory.path()).unwrap_err();
    assert!(
        format!("{error:#}").contains("more than the 1048576 bytes"),
        "{error:#}"
    );
    assert_eq!(there(directory.path()), b"");
}

#[test]
fn small_files_are_there_or_not() {
    let server = Server::http(|request| match request.path.as_str() {
        "/x.aci.asc" => Reply::new(200, "signature"),
        "/broken" => Reply::new(500, ""),
        _ => Reply::new(404, ""),
    });
    let get = |path, limit| {
        let url = format!("http://user:hunter2@{}/{path}", server.address);
        network().fetch_small(&url, limit)
    };
    assert_eq!(get("x.aci.asc", 9).unwrap().unwrap(), b"signature");
    assert_eq!(get("y.aci.asc", 9).unwrap(), None);
    for (path, limit, part) in [
        ("x.aci.asc", 8, "more for the file than the 8"),
        ("broken", 8, "500"),
    ] {
        let text = format!("{:#}", get(path, limit).unwrap_err());
        assert!(text.contains(part) && !text.contains("hunter2"), "{text}");
    }
    assert_eq!(server.count("/broken"), 4);
}

#[test]
fn what_is_no_https_address_is_refused() {
    let strict = Network::new(NetworkOptions {
        allow_http: false,
        ..options()
    });
    let strict = strict.unwrap();
    for (url, part) in [
        ("http://host/x.aci", "--insecure-options=http"),
        ("ftp://host/x.aci", "give https://HOST/PATH"),
        ("x.aci", "the address is none"),
        ("https:///", "the address is none"),
    ] {
        let text = format!("{:#}", strict.fetch_small(url, 1).unwrap_err());
        assert!(text.contains(part), "{url}: {text}");
    }
}

#[test]
fn https_is_checked_and_does_not_lead_to_plain_http() {
    let plain = Server::http(|_| Reply::new(200, "forged"));
    let to = format!("http://{}/x.aci", plain.address);
    let server = Server::https(move |request| match request.path.as_str() {
        "/x.aci" => Reply::new(200, "genuine"),
        _ => Reply::new(302, "").header("location", &to),
    });
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join(server.address.to_string());
    std::fs::create_dir(&directory).unwrap();
    let get = |path: &str, tls_verify| {
        let network = Network::new(NetworkOptions {
            tls_verify,
            certificates: vec![root.path().into()],
            ..options()
        });
        network
            .unwrap()
            .fetch_small(&format!("https://{}/{path}", server.address), 100)
    };
    let text = |result: Result<_>| format!("{:#}", result.unwrap_err());
    let unknown = text(get("x.aci", true));
    assert!(
        unknown.contains("is from an unknown CA: put the"),
        "{unknown}"
    );
    assert_eq!(get("x.aci", false).unwrap().unwrap(), b"genuine");
    std::fs::write(directory.join("ca.crt"), CA).unwrap();
    assert_eq!(get("x.aci", true).unwrap().unwrap(), b"genuine");
    let refused = text(get("elsewhere", true));
    assert!(
        refused.contains("redirects from https to http://127.0.0.1"),
        "{refused}"
    );
    assert_eq!(plain.count(""), 0);
}
