//! The journal, as the holder uses it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use log::{Level, Record};
use systemd_journal_logger::JournalLog;

/// The `MESSAGE_ID` of the entry that the holder writes when its pod has exited.
pub const POD_EXITED: &str = "a54e2c78505a469898b47526bce31d02";

/// Asks journald to read all that was sent to it so far, and waits until it has
/// (io.systemd.Journal.Synchronize, what `journalctl --sync` calls).
///
/// # Errors
/// Where journald does not run or refuses.
pub fn synchronize() -> Result<()> {
    let socket = "/run/systemd/journal/io.systemd.journal";
    let mut stream = UnixStream::connect(socket).context("cannot reach journald")?;
    stream.write_all(b"{\"method\":\"io.systemd.Journal.Synchronize\"}\0")?;
    let mut reply = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte != [0] && reply.len() < 4096 {
        reply.push(byte[0]);
    }
    let reply = String::from_utf8_lossy(&reply);
    if reply.contains("\"error\"") {
        bail!("journald refuses to synchronize: {reply}");
    }
    Ok(())
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
