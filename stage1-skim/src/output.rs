//! The apps' output in the foreground: read back from the journal, printed line by line.
//!
//! The apps write to the journal and to nothing else, so that `journalctl` and
//! `systemctl status` show everything whether or not somebody looks on.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use async_channel::Sender;

use crate::journal::POD_EXITED;

/// No journal field that is asked for is larger, in bytes: journald splits longer lines.
const FIELD_MAX: u64 = 16 * 1024 * 1024;

/// What the follower tells the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputEvent {
    /// All output up to the mark is printed, or the follower has ended.
    Done,
    /// Nobody reads standard output any more.
    Closed,
}

/// Which entries to follow.
pub struct Source {
    /// The pod's UUID.
    pub uuid: String,
    /// The apps' services.
    pub services: Vec<String>,
    /// The width of the apps' names before each line; none where there is one app only.
    pub prefix: Option<usize>,
}

/// Prints a pod's output until its mark of exit comes by.
pub struct Follower {
    journalctl: Child,
    printer: JoinHandle<()>,
}

impl Follower {
    /// Starts to follow. `journalctl` ends with this process: it watches its standard output.
    ///
    /// # Errors
    /// Where journalctl cannot be run.
    pub fn start(source: Source, notify: impl Fn(OutputEvent) + Send + 'static) -> Result<Self> {
        let mut journalctl = Command::new("journalctl")
            .args(["--quiet", "--follow", "--lines=all", "--output=export"])
            .arg("--output-fields=MESSAGE,MESSAGE_ID,SKIM_APP")
            .args(
                source
                    .services
                    .iter()
                    .map(|unit| format!("_SYSTEMD_UNIT={unit}")),
            )
            .args(["_TRANSPORT=stdout", "+"])
            .args([
                format!("MESSAGE_ID={POD_EXITED}"),
                format!("SKIM_POD_UUID={}", source.uuid),
                format!("_PID={}", std::process::id()),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run journalctl, which reads the apps' output back")?;
        let stdout = journalctl
            .stdout
            .take()
            .context("journalctl has no output")?;
        let printer = std::thread::Builder::new()
            .name("output".to_string())
            .spawn(move || print_all(stdout, source.prefix, notify))
            .context("cannot start a thread")?;
        Ok(Self {
            journalctl,
            printer,
        })
    }

    /// Ends journalctl, which would follow for ever.
    ///
    /// # Errors
    /// Where it cannot be ended.
    pub fn finish(mut self) -> Result<()> {
        self.journalctl.kill().context("cannot end journalctl")?;
        self.journalctl
            .wait()
            .context("cannot wait for journalctl")?;
        self.printer
            .join()
            .map_err(|_| anyhow::anyhow!("printing the apps' output failed"))
    }
}

/// Sends what the follower says into the holder's channel.
pub fn into_channel<T: From<OutputEvent> + Send + 'static>(
    channel: Sender<T>,
) -> impl Fn(OutputEvent) + Send + 'static {
    move |event| {
        // The holder is gone only when the process ends.
        let _ = channel.send_blocking(event.into());
    }
}

fn print_all(journal: ChildStdout, prefix: Option<usize>, notify: impl Fn(OutputEvent)) {
    let mut entries = BufReader::new(journal);
    let mut open = true;
    loop {
        match read_entry(&mut entries) {
            Ok(Some(entry)) if entry.is_mark => break,
            Ok(Some(entry)) if open => {
                let line = line(&entry, prefix);
                let mut stdout = io::stdout().lock();
                if stdout
                    .write_all(&line)
                    .and_then(|()| stdout.flush())
                    .is_err()
                {
                    open = false;
                    notify(OutputEvent::Closed);
                }
            }
            Ok(Some(_)) => (),
            Ok(None) => break,
            Err(error) => {
                log::warn!("cannot read the apps' output: {error:#}; see skim logs");
                break;
            }
        }
    }
    notify(OutputEvent::Done);
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    app: Vec<u8>,
    message: Vec<u8>,
    is_mark: bool,
}

/// Reads one entry of the journal export format: `NAME=value` lines, or for values with line
/// ends `NAME`, a 64-bit little-endian length and the bytes; an empty line ends the entry.
fn read_entry(input: &mut impl BufRead) -> Result<Option<Entry>> {
    let mut entry = Entry::default();
    let mut any = false;
    loop {
        let mut line = Vec::new();
        input.take(FIELD_MAX).read_until(b'\n', &mut line)?;
        match line.pop() {
            None => return Ok(None),
            Some(b'\n') => (),
            Some(_) => return Ok(None),
        }
        if line.is_empty() {
            if any {
                return Ok(Some(entry));
            }
            continue;
        }
        any = true;
        let (name, value) = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => (line[..at].to_vec(), line[at + 1..].to_vec()),
            None => (line, read_binary(input)?),
        };
        match name.as_slice() {
            b"MESSAGE" => entry.message = value,
            b"MESSAGE_ID" => entry.is_mark = value == POD_EXITED.as_bytes(),
            b"SKIM_APP" => entry.app = value,
            _ => (),
        }
    }
}

fn read_binary(input: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    ensure!(
        length <= FIELD_MAX,
        "a field of {length} bytes in the journal"
    );
    let mut value = Vec::new();
    input.take(length + 1).read_to_end(&mut value)?;
    ensure!(
        value.pop() == Some(b'\n'),
        "the journal's export breaks off"
    );
    Ok(value)
}

fn line(entry: &Entry, prefix: Option<usize>) -> Vec<u8> {
    let mut line = Vec::with_capacity(entry.message.len() + 32);
    if let Some(width) = prefix {
        line.extend_from_slice(&entry.app);
        line.resize(width.max(entry.app.len()), b' ');
        line.extend_from_slice(b" | ");
    }
    line.extend_from_slice(&entry.message);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_text_and_binary_fields() {
        let mut input: &[u8] = b"__CURSOR=x\nMESSAGE=a=b\nSKIM_APP=web\n\n\
            SKIM_APP=web\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n\n\
            MESSAGE_ID=a54e2c78505a469898b47526bce31d02\nMESSAGE=over\n\n";
        let entry = read_entry(&mut input).unwrap().unwrap();
        assert_eq!(
            (&entry.app[..], &entry.message[..]),
            (&b"web"[..], &b"a=b"[..])
        );
        let entry = read_entry(&mut input).unwrap().unwrap();
        assert_eq!(entry.message, b"a\nb");
        assert!(read_entry(&mut input).unwrap().unwrap().is_mark);
        assert_eq!(read_entry(&mut input).unwrap(), None);
    }

    #[test]
    fn a_length_that_lies_is_an_error() {
        let mut input: &[u8] = b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffa\n\n";
        assert!(read_entry(&mut input).is_err());
        let mut input: &[u8] = b"MESSAGE\n\x09\0\0\0\0\0\0\0a\n";
        assert!(read_entry(&mut input).is_err());
    }

    #[test]
    fn prefixes_line_up() {
        let entry = Entry {
            app: b"web".to_vec(),
            message: b"hello".to_vec(),
            is_mark: false,
        };
        assert_eq!(line(&entry, None), b"hello\n");
        assert_eq!(line(&entry, Some(5)), b"web   | hello\n");
    }
}
