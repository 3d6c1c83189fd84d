//! The journal: what was said since a point in time, and waiting until something has happened.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::command::run;

/// How long a test waits for what it expects.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait for the journal's next line before looking again: not every change of state
/// has a line of its own, and none comes after the last one.
const GLANCE: Duration = Duration::from_millis(100);

/// A point in the journal.
pub(crate) struct Cursor(String);

/// One entry.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) text: String,
    /// The unit that the service manager speaks of, where it is the one who speaks.
    pub(crate) unit: String,
    /// Microseconds since boot.
    pub(crate) time: u64,
    cursor: String,
}

impl Cursor {
    /// The journal's end, now.
    #[track_caller]
    pub(crate) fn now() -> Self {
        run("journalctl", ["--sync"]).success();
        let args = ["--quiet", "--lines=1", "--show-cursor", "--output=cat"];
        let outcome = run("journalctl", args).success();
        let cursor = outcome
            .stdout
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("-- cursor: "));
        Self(cursor.expect("the journal is empty").to_owned())
    }

    /// The entries since then that match, as journalctl(1) defines matches.
    #[track_caller]
    pub(crate) fn messages(&self, matches: &[&str]) -> Vec<Message> {
        run("journalctl", ["--sync"]).success();
        // Not --after-cursor: it passes over one entry too many where the cursor's own does not
        // match.
        let from = format!("--cursor={}", self.0);
        let args = ["--quiet", "--all", "--output=json", &from];
        let outcome = run("journalctl", args.iter().chain(matches)).success();
        let messages = outcome.stdout.lines().map(message);
        messages
            .filter(|message| message.cursor != self.0)
            .collect()
    }
}

#[track_caller]
fn message(line: &str) -> Message {
    let entry: Value = serde_json::from_str(line).expect("journalctl printed no JSON");
    let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let time = field("__MONOTONIC_TIMESTAMP")
        .parse()
        .expect("an entry has a time");
    Message {
        text: field("MESSAGE"),
        unit: field("UNIT"),
        time,
        cursor: field("__CURSOR"),
    }
}

/// Waits until `condition` holds; it is looked at again whenever the journal has a new line.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut follower = Follower::new();
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        follower.next_line();
    }
}

/// `journalctl --follow`, ended when dropped.
struct Follower {
    journalctl: Child,
    lines: Receiver<()>,
}

impl Follower {
    #[track_caller]
    fn new() -> Self {
        let mut journalctl = Command::new("journalctl")
            .args(["--follow", "--lines=0", "--output=cat"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("cannot run journalctl");
        let stdout = journalctl.stdout.take().expect("stdout is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for _ in BufReader::new(stdout).split(b'\n') {
                if sender.send(()).is_err() {
                    break;
                }
            }
        });
        Self { journalctl, lines }
    }

    fn next_line(&mut self) {
        // Out of time or out of lines: the caller looks again either way.
        let _line = self.lines.recv_timeout(GLANCE);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _killed = self.journalctl.kill();
        let _reaped = self.journalctl.wait();
    }
}
