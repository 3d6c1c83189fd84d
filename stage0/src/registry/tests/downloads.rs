//! Blobs over connections that break and from servers that lie.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use oci_client::secrets::RegistryAuth;

use super::super::testing::{Reply, Request, Server, network};
use super::{Fixture, Pull, amd64, reference};
use crate::image::blob::Sha256;
use crate::progress::{Bar, Progress};

#[test]
fn broken_connections_are_resumed() {
    let (fixture, breaks) = (Fixture::new(), Mutex::new(vec![20_000, 7]));
    let path = fixture.path(0);
    let broken = path.clone();
    let server = Server::http(move |request| {
        let reply = fixture.reply(request);
        match breaks.lock().unwrap() {
            mut breaks if request.path.ends_with(&broken) => match breaks.pop() {
                Some(after) => reply.cut(after),
                None => reply,
            },
            _ => reply,
        }
    });
    Pull::new(&server).succeeds();
    let seen = server.seen();
    let starts = seen.iter().filter(|request| request.path.ends_with(&path));
    let starts: Vec<_> = starts.map(Request::range).collect();
    assert_eq!(starts, [None, Some(7), Some(20_007)]);
}

#[test]
fn servers_without_ranges_start_anew() {
    for wrong in [
        Reply::new(416, ""),
        Reply::new(206, "x").header("content-range", "bytes 1-1/2"),
        Reply::new(200, Fixture::new().layers[0].clone()),
    ] {
        let (fixture, first) = (Fixture::new(), Mutex::new(true));
        let path = fixture.path(0);
        let server = Server::http(move |request| {
            let reply = fixture.reply(request);
            match request.range() {
                Some(_) => wrong.clone(),
                None if request.path.ends_with(&path)
                    && std::mem::take(&mut *first.lock().unwrap()) =>
                {
                    reply.cut(9)
                }
                None => reply,
            }
        });
        Pull::new(&server).succeeds();
    }
}

#[test]
fn what_is_there_from_another_time_is_checked_and_used() {
    let fixture = Fixture::new();
    let layer = &fixture.layers[0];
    let mut damaged = layer[..1000].to_vec();
    damaged[10] ^= 1;
    let too_long = [&layer[..], b"more"].concat();
    let whole_but_damaged = [&damaged[..], &layer[1000..]].concat();
    for (there, starts) in [
        (layer[..1000].to_vec(), vec![Some(1000)]),
        (layer.clone(), vec![]),
        (damaged, vec![Some(1000), None]),
        (too_long, vec![None]),
        (whole_but_damaged, vec![None]),
    ] {
        let server = Server::http(|request| Fixture::new().reply(request));
        let pull = Pull::new(&server);
        std::fs::write(pull.sink().partial(&Sha256::of(layer)), there).unwrap();
        pull.succeeds();
        let seen = server.seen().into_iter();
        let seen = seen.filter(|request| request.path.ends_with(&fixture.path(0)));
        assert_eq!(
            seen.map(|request| request.range()).collect::<Vec<_>>(),
            starts
        );
    }
}

#[test]
fn wrong_bytes_are_thrown_away() {
    let size = Fixture::new().layers[0].len();
    for (body, part) in [
        (vec![b'x'; size], "it is damaged, and thrown away"),
        (
            vec![b'x'; size + 1],
            "has 50001 bytes of it, and the manifest announces 50000",
        ),
        (
            vec![b'x'; size - 1],
            "has 49999 bytes of it, and the manifest announces 50000",
        ),
    ] {
        let fixture = Fixture::new();
        let path = fixture.path(0);
        let digest = Sha256::of(&fixture.layers[0]);
        let server = Server::http(move |request| match request.path.ends_with(&path) {
            true => Reply::new(200, body.clone()),
            false => fixture.reply(request),
        });
        let pull = Pull::new(&server);
        let text = pull.fails();
        assert!(
            text.contains(part) && text.contains(&digest.short()),
            "{text}"
        );
        let left = std::fs::metadata(pull.sink().partial(&digest)).unwrap();
        assert_eq!(left.len(), 0);
    }
}

#[test]
fn passing_failures_are_outlasted_and_lasting_ones_given_up() {
    for (status, retry_after, failures, requests, succeeds) in [
        (503, "0", 3, 4, true),
        (429, "0", 2, 3, true),
        (503, "0", 4, 4, false),
        (429, "600", 1, 1, false),
        (403, "0", 1, 1, false),
    ] {
        let (fixture, count) = (Fixture::new(), AtomicUsize::new(0));
        let path = fixture.path(0);
        let failing = path.clone();
        let server = Server::http(move |request| {
            let fails =
                request.path.ends_with(&failing) && count.fetch_add(1, Ordering::SeqCst) < failures;
            match fails {
                true => Reply::new(status, "").header("retry-after", retry_after),
                false => fixture.reply(request),
            }
        });
        let pull = Pull::new(&server);
        match succeeds {
            true => pull.succeeds(),
            false => {
                let text = pull.fails();
                assert!(text.contains(&status.to_string()), "{text}");
            }
        }
        assert_eq!(server.count(&path), requests, "{status} {failures}");
    }
}

/// What was told: of each blob its name, its size, and the bytes that were done; a mark when it
/// had finished.
#[derive(Default)]
struct Told(Mutex<Vec<Line>>);

impl Progress for Told {
    fn start(&self, what: &str, bytes: Option<u64>) -> Box<dyn Bar> {
        let line = Arc::new(Mutex::new((what.to_owned(), bytes.unwrap(), 0, false)));
        self.0.lock().unwrap().push(Line(Arc::clone(&line)));
        Box::new(Line(line))
    }
}

struct Line(Arc<Mutex<(String, u64, u64, bool)>>);

impl Bar for Line {
    fn advance(&self, bytes: u64) {
        self.0.lock().unwrap().2 += bytes;
    }

    fn finish(&self) {
        self.0.lock().unwrap().3 = true;
    }
}

#[test]
fn progress_is_told_of_each_byte_once() {
    let (fixture, first) = (Fixture::new(), Mutex::new(true));
    let path = fixture.path(0);
    // A download that starts anew does not count its beginning twice.
    let server = Server::http(move |request| match request.path.ends_with(&path) {
        true if std::mem::take(&mut *first.lock().unwrap()) => fixture.reply(request).cut(5000),
        true => Reply::new(200, fixture.layers[0].clone()),
        false => fixture.reply(request),
    });
    let (pull, told, network) = (Pull::new(&server), Told::default(), network());
    let registry = network.registry(&reference(&server, ":1"), RegistryAuth::Anonymous);
    let registry = registry.unwrap();
    let resolved = registry.resolve(&amd64()).unwrap();
    registry.fetch(&resolved, &pull.sink(), &told).unwrap();
    let lines = told.0.lock().unwrap();
    let mut found: Vec<_> = lines
        .iter()
        .map(|line| line.0.lock().unwrap().clone())
        .collect();
    found.sort();
    let mut expected = Fixture::new().layers.map(|layer| {
        let size = layer.len() as u64;
        (Sha256::of(&layer).short(), size, size, true)
    });
    expected.sort();
    assert_eq!(found, expected);
}
