//! The journal, as the holder uses it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use log::{Level, Record};
use serde::Deserialize;
use systemd_journal_logger::JournalLog;

/// How long journald may take to write out what it has.
const SYNCHRONIZE_TIMEOUT: Duration = Duration::from_secs(30);

/// No reply of journald's is larger, in bytes.
const REPLY_MAX: u64 = 4096;

/// The `MESSAGE_ID` of the entry that the holder writes when its pod has exited.
const POD_EXITED: &str = "a54e2c78505a469898b47526bce31d02";

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

/// Writes the entry [`POD_EXITED`].
///
/// # Errors
/// Where journald does not take it.
pub fn mark_exit(uuid: &str, code: u8) -> Result<()> {
    let code = code.to_string();
    let journal = JournalLog::empty()
        .context("cannot reach journald")?
        .with_syslog_identifier("skim".to_string())
        .with_extra_fields([
            ("MESSAGE_ID", POD_EXITED),
            ("SKIM_POD_UUID", uuid),
            ("SKIM_EXIT_CODE", code.as_str()),
        ]);
    let message = format_args!("pod {uuid} exited with code {code}");
    let record = Record::builder().level(Level::Info).args(message).build();
    journal
        .journal_send(&record)
        .context("cannot write to the journal")
}
