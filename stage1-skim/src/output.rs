//! The apps' output in the foreground: read back from the journal, printed line by line.
//!
//! The apps write to the journal and to nothing else, so that `journalctl` and
//! `systemctl status` show everything whether or not somebody looks on.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::journal;

/// No journal field that is asked for is larger, in bytes: journald splits longer lines.
const FIELD_MAX: u64 = 16 * 1024 * 1024;

/// How long a pod runs before its output is followed: for one that ends sooner it is not worth
/// it, as what is left at the end is read anyway.
const PATIENCE: Duration = Duration::from_millis(100);

/// Which entries to show, and how.
#[derive(Clone, Debug)]
pub struct Source {
    /// The apps' services.
    pub services: Vec<String>,
    /// The width of the apps' names before each line; none where there is one app only.
    pub prefix: Option<usize>,
}

impl Source {
    /// journalctl for the entries after `cursor`, or all.
    fn journalctl(&self, cursor: Option<&str>, follow: bool) -> Command {
        let mut journalctl = Command::new("journalctl");
        journalctl
            .args(["--quiet", "--all", "--lines=all", "--output=export"])
            .arg("--output-fields=MESSAGE,SKIM_APP")
            .args(cursor.map(|cursor| format!("--after-cursor={cursor}")))
            .args(follow.then_some("--follow"))
            .arg("_TRANSPORT=stdout")
            .args(
                self.services
                    .iter()
                    .map(|unit| format!("_SYSTEMD_UNIT={unit}")),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C stops the pod, whose last words are still to be shown.
            .process_group(0);
        journalctl
    }
}

/// Prints a pod's output while it runs.
pub struct Follower {
    source: Source,
    /// Dropped to end the following.
    running: Sender<()>,
    journalctl: Arc<Mutex<Option<Child>>>,
    thread: JoinHandle<Result<Printer>>,
}

impl Follower {
    /// Starts to follow, after [`PATIENCE`]; `closed` is called when nobody reads standard
    /// output any more.
    ///
    /// journalctl ends with this process, as it watches its own standard output.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(source: Source, closed: impl Fn() + Send + 'static) -> Result<Self> {
        let (running, ended) = mpsc::channel();
        let journalctl = Arc::new(Mutex::new(None));
        let (own, child) = (source.clone(), Arc::clone(&journalctl));
        let thread = std::thread::Builder::new()
            .name("output".to_string())
            .spawn(move || {
                let printer = follow(&own, &ended, &child)?;
                if printer.is_closed {
                    closed();
                }
                Ok(printer)
            })
            .context("cannot start a thread")?;
        Ok(Self {
            source,
            running,
            journalctl,
            thread,
        })
    }

    /// Prints what is left once all apps have ended.
    ///
    /// A follower hears of new entries up to a quarter of a second late, the interval at which
    /// journald tells of them. So it is ended, and the rest read by another journalctl, which
    /// ends by itself.
    ///
    /// # Errors
    /// Where journald or journalctl do not do their part.
    pub fn finish(self) -> Result<()> {
        drop(self.running);
        let follower = self
            .journalctl
            .lock()
            .map_or(None, |mut child| child.take());
        if let Some(mut follower) = follower {
            follower.kill().context("cannot end journalctl")?;
            follower.wait().context("cannot wait for journalctl")?;
        }
        let Ok(printer) = self.thread.join() else {
            bail!("printing the apps' output failed");
        };
        let mut printer = printer?;
        if printer.is_closed {
            return Ok(());
        }
        journal::synchronize()?;
        let rest = self.source.journalctl(printer.cursor.as_deref(), false);
        let (mut journalctl, entries) = spawn(rest)?;
        printer.print_all(entries);
        journalctl.wait().context("cannot wait for journalctl")?;
        Ok(())
    }
}

/// Prints what journalctl follows until it is ended; nothing where the pod ends sooner than
/// [`PATIENCE`].
fn follow(
    source: &Source,
    ended: &Receiver<()>,
    journalctl: &Mutex<Option<Child>>,
) -> Result<Printer> {
    let mut printer = Printer {
        prefix: source.prefix,
        cursor: None,
        is_closed: false,
    };
    let entries = {
        let Ok(mut journalctl) = journalctl.lock() else {
            bail!("the holder failed");
        };
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected) {
            return Ok(printer);
        }
        let (child, entries) = spawn(source.journalctl(None, true))?;
        *journalctl = Some(child);
        entries
    };
    printer.print_all(entries);
    Ok(printer)
}

fn spawn(mut command: Command) -> Result<(Child, BufReader<ChildStdout>)> {
    let mut child = command
        .spawn()
        .context("cannot run journalctl, which reads the apps' output back")?;
    let stdout = child.stdout.take().context("journalctl has no output")?;
    Ok((child, BufReader::new(stdout)))
}

/// Prints entries, and remembers how far it has come.
struct Printer {
    prefix: Option<usize>,
    cursor: Option<String>,
    is_closed: bool,
}

impl Printer {
    fn print_all(&mut self, mut entries: impl BufRead) {
        let mut stdout = io::stdout().lock();
        loop {
            match read_entry(&mut entries) {
                Ok(Some(entry)) => {
                    let printed = stdout.write_all(&line(&entry, self.prefix));
                    if printed.and_then(|()| stdout.flush()).is_err() {
                        self.is_closed = true;
                        return;
                    }
                    self.cursor = Some(entry.cursor);
                }
                Ok(None) => return,
                Err(error) => {
                    log::warn!("cannot read the apps' output: {error:#}; see skim logs");
                    return;
                }
            }
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    cursor: String,
    app: Vec<u8>,
    message: Vec<u8>,
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
            b"__CURSOR" => entry.cursor = String::from_utf8_lossy(&value).into_owned(),
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
        value.len() as u64 == length + 1 && value.pop() == Some(b'\n'),
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
        let mut input: &[u8] = b"__CURSOR=x=1\nMESSAGE=a=b\nSKIM_APP=web\n\n\
            SKIM_APP=web\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n\n\
            MESSAGE=cut off\n";
        let entry = read_entry(&mut input).unwrap().unwrap();
        assert_eq!(
            (&entry.app[..], &entry.message[..]),
            (&b"web"[..], &b"a=b"[..])
        );
        assert_eq!(entry.cursor, "x=1");
        let entry = read_entry(&mut input).unwrap().unwrap();
        assert_eq!(entry.message, b"a\nb");
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
            ..Entry::default()
        };
        assert_eq!(line(&entry, None), b"hello\n");
        assert_eq!(line(&entry, Some(5)), b"web   | hello\n");
    }
}
