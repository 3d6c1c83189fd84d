//! The journal, as the holder uses it.

mod export;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use log::{Level, Record};
use serde::Deserialize;
use systemd_journal_logger::JournalLog;

use crate::notify;

pub use self::export::Entry;

/// How long journald may take to write out what it has.
const SYNCHRONIZE_TIMEOUT: Duration = Duration::from_secs(30);

/// No reply of journald's is larger, in bytes.
const REPLY_MAX: u64 = 4096;

/// How much is kept of a field in the last entries of a service, in bytes.
const TAIL_FIELD_MAX: usize = 4096;

/// The `MESSAGE_ID` of the entry that the holder writes when its pod has exited.
const POD_EXITED: &str = "a54e2c78505a469898b47526bce31d02";

/// The field by which `journalctl --unit=` and `systemctl status` find what root's processes say
/// of a unit that they are not in (systemd.journal-fields(7)).
pub const OBJECT_UNIT: &str = "OBJECT_SYSTEMD_UNIT";

/// Asks journald to read all that was sent to it so far, and waits until it has
/// (io.systemd.Journal.Synchronize, what `journalctl --sync` calls).
///
/// # Errors
/// Where journald does not run or refuses.
pub fn synchronize() -> Result<()> {
    let socket = "/run/systemd/journal/io.systemd.journal";
    let mut stream = UnixStream::connect(socket).context("cannot reach journald")?;
    stream.set_read_timeout(Some(SYNCHRONIZE_TIMEOUT))?;
    stream.write_all(b"{\"method\":\"io.systemd.Journal.Synchronize\"}\0")?;
    let mut reply = Vec::new();
    BufReader::new(stream)
        .take(REPLY_MAX)
        .read_until(0, &mut reply)
        .context("journald does not answer")?;
    ensure!(reply.pop() == Some(0), "journald's answer breaks off");
    let reply: Reply = serde_json::from_slice(&reply).context("journald's answer is no JSON")?;
    match reply.error {
        Some(error) => bail!("journald refuses to synchronize: {error}"),
        None => Ok(()),
    }
}

/// What matters of a Varlink reply.
#[derive(Deserialize)]
struct Reply {
    error: Option<String>,
}

/// The last entries about a service: what it said, and what systemd said of it.
///
/// What systemd's own child says before it executes the program belongs to no unit where
/// journald was not quick enough to see it. It names the unit that it speaks of.
///
/// # Errors
/// Where journald or journalctl do not do their part.
pub fn tail(service: &str, entries: usize) -> Result<Vec<Entry>> {
    synchronize()?;
    let mut journalctl = notify::withhold(&mut Command::new("journalctl"))
        .args(["--quiet", "--all", "--output=export"])
        .arg(format!("--lines={entries}"))
        .arg("--output-fields=MESSAGE,MESSAGE_ID,PRIORITY,ERRNO,UNIT,_PID,_TRANSPORT")
        .arg(format!("_SYSTEMD_UNIT={service}"))
        .args(["+", &format!("UNIT={service}"), "_UID=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot run journalctl")?;
    let mut tail = Vec::new();
    if let Some(stdout) = journalctl.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        while let Some(mut entry) = Entry::read(&mut stdout)? {
            entry.truncate(TAIL_FIELD_MAX);
            tail.push(entry);
        }
    }
    journalctl.wait().context("cannot wait for journalctl")?;
    Ok(tail)
}

/// Writes the entry [`POD_EXITED`], of a pod that runs as the service `unit` where there is one.
///
/// # Errors
/// Where journald does not take it.
pub fn mark_exit(uuid: &str, code: u8, unit: Option<&str>) -> Result<()> {
    let code = code.to_string();
    let journal = JournalLog::empty()
        .context("cannot reach journald")?
        .with_syslog_identifier("skim".to_string())
        .with_extra_fields([
            ("MESSAGE_ID", POD_EXITED),
            ("SKIM_POD_UUID", uuid),
            ("SKIM_EXIT_CODE", code.as_str()),
        ])
        .with_extra_fields(unit.map(|unit| (OBJECT_UNIT, unit)));
    let message = format_args!("pod {uuid} exited with code {code}");
    let record = Record::builder().level(Level::Info).args(message).build();
    journal
        .journal_send(&record)
        .context("cannot write to the journal")
}
