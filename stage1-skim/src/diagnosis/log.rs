//! What the journal tells about a failure: pure.

use std::path::Path;

use crate::journal::Entry;

/// Most lines that are shown.
const LINES_MAX: usize = 10;
/// Most characters that are shown of a line.
const LINE_MAX: usize = 300;

/// Of what systemd says with this priority or a lower number (syslog(3)) a user should know.
const WARNING: i32 = 4;

/// systemd's child could not become the program (`SD_MESSAGE_SPAWN_FAILED`).
const SPAWN_FAILED: &str = "641257651c1b4ec9a8624d7a40a9e1e7";
/// What the headline says anyway: `SD_MESSAGE_UNIT_FAILURE_RESULT`, `SD_MESSAGE_UNIT_FAILED`.
const ROUTINE: [&str; 2] = [
    "d9b373ed55a64feb8242e02dbe79a49c",
    "be02cf6855d2428ba40df7e9d022f03d",
];

/// What loaders say (glibc, musl) before the library that they do not find or cannot use.
const LOADER_SAYS: [&str; 3] = [
    "error while loading shared libraries: ",
    "Error loading shared library ",
    "Error relocating ",
];

/// Why systemd's child could not become the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnFailure {
    /// The error that it failed with.
    pub errno: Option<i32>,
    /// What it said.
    pub reason: String,
}

fn text(entry: &Entry, field: &str) -> String {
    String::from_utf8_lossy(entry.get(field).unwrap_or_default()).into_owned()
}

/// systemd names the unit that it speaks of in a field of its own.
fn is_of_systemd(entry: &Entry, service: &str) -> bool {
    entry.get("UNIT") == Some(service.as_bytes())
}

/// What systemd said, without the unit's name before it.
fn said(entry: &Entry, service: &str) -> String {
    let text = text(entry, "MESSAGE");
    let bare = text.strip_prefix(service);
    match bare.and_then(|bare| bare.strip_prefix(": ")) {
        Some(bare) => bare.to_string(),
        None => text,
    }
}

fn has_id(entry: &Entry, id: &str) -> bool {
    entry.get("MESSAGE_ID") == Some(id.as_bytes())
}

/// The last time that systemd could not execute one of the service's programs.
pub fn spawn_failure(service: &str, journal: &[Entry]) -> Option<SpawnFailure> {
    let of_systemd = |entry: &&Entry| is_of_systemd(entry, service);
    let mut last_first = journal.iter().rev().filter(of_systemd);
    let failed = last_first.find(|entry| has_id(entry, SPAWN_FAILED))?;
    // "Failed at step NAMESPACE spawning …" comes after what says more.
    let before = last_first.find(|entry| entry.get("_PID") == failed.get("_PID"));
    Some(SpawnFailure {
        errno: failed.number("ERRNO").filter(|errno| *errno > 0),
        reason: said(before.unwrap_or(failed), service),
    })
}

/// The error with which stage1-skim, as another user, could not execute `program`: the last such
/// line (see [`crate::credentials`]).
pub fn errno_of_stage1(program: &Path, journal: &[Entry]) -> Option<i32> {
    let start = format!("cannot execute {}: ", program.display());
    journal.iter().rev().find_map(|entry| {
        let line = text(entry, "MESSAGE");
        let error = line.strip_prefix(&start)?;
        let number = error.rsplit_once("(os error ").map(|(_, number)| number);
        match number {
            Some(number) => number.strip_suffix(')')?.parse().ok(),
            // `ENOENT: No such file or directory`.
            None => errno_of_name(error.split(':').next()?),
        }
    })
}

fn errno_of_name(name: &str) -> Option<i32> {
    let numbers = 1..=133;
    numbers
        .into_iter()
        .find(|number| format!("{:?}", nix::errno::Errno::from_raw(*number)) == name)
}

/// The last complaint of a loader's about a library.
pub fn loader_complaint(journal: &[Entry]) -> Option<String> {
    journal.iter().rev().find_map(|entry| {
        let line = text(entry, "MESSAGE");
        let at = LOADER_SAYS.iter().find_map(|says| line.find(says))?;
        Some(shortened(&line[at..]))
    })
}

/// The first thing that systemd found wrong, beyond what it says at each failure.
pub fn first_of_systemd(unit: &str, journal: &[Entry]) -> Option<String> {
    let entry = journal.iter().find(|entry| is_notable(entry, unit))?;
    Some(shortened(said(entry, unit).trim_end_matches('.')))
}

/// The last such thing.
pub fn last_of_systemd(service: &str, journal: &[Entry]) -> Option<String> {
    let mut last_first = journal.iter().rev();
    let entry = last_first.find(|entry| is_notable(entry, service))?;
    Some(shortened(said(entry, service).trim_end_matches('.')))
}

fn is_notable(entry: &Entry, service: &str) -> bool {
    is_of_systemd(entry, service)
        && entry
            .number("PRIORITY")
            .is_some_and(|priority| priority <= WARNING)
        && !ROUTINE.iter().any(|id| has_id(entry, id))
}

/// The last lines about the service that are worth showing after the headline, oldest first. Of
/// its own those that went to the standard streams are left out where `is_output_shown`.
pub fn excerpt(service: &str, journal: &[Entry], is_output_shown: bool) -> Vec<String> {
    let failed = journal
        .iter()
        .rev()
        .find(|entry| has_id(entry, SPAWN_FAILED));
    let spawned = failed.and_then(|entry| entry.get("_PID"));
    let is_worth_it = |entry: &&Entry| match is_of_systemd(entry, service) {
        // What systemd's child said is in the headline.
        true => is_notable(entry, service) && (spawned.is_none() || entry.get("_PID") != spawned),
        false => !is_output_shown || entry.get("_TRANSPORT") != Some(b"stdout"),
    };
    let lines = journal.iter().rev().filter(is_worth_it).take(LINES_MAX);
    let mut lines: Vec<_> = lines
        .map(|entry| shortened(&said(entry, service)))
        .collect();
    lines.reverse();
    lines
}

fn shortened(line: &str) -> String {
    let line = line.trim_end().replace('\t', "    ");
    match line.char_indices().nth(LINE_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
