//! The apps' output in the foreground: read back from the journal, printed line by line.
//!
//! The apps write to the journal and to nothing else, so that `journalctl` and
//! `systemctl status` show everything whether or not somebody looks on.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::journal::{self, Entry};
use crate::notify;

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
        notify::withhold(&mut journalctl)
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
            match Entry::read(&mut entries) {
                Ok(Some(entry)) => {
                    let printed = stdout.write_all(&line(&entry, self.prefix));
                    if printed.and_then(|()| stdout.flush()).is_err() {
                        self.is_closed = true;
                        return;
                    }
                    let cursor = entry.get("__CURSOR").map(String::from_utf8_lossy);
                    self.cursor = cursor.map(Cow::into_owned);
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

fn line(entry: &Entry, prefix: Option<usize>) -> Vec<u8> {
    let message = entry.get("MESSAGE").unwrap_or_default();
    let app = entry.get("SKIM_APP").unwrap_or_default();
    prefixed(app, message, prefix)
}

/// A line of an app's, with its name before it, `prefix` columns wide, where that is wanted.
pub fn prefixed(app: &[u8], message: &[u8], prefix: Option<usize>) -> Vec<u8> {
    let mut line = Vec::with_capacity(message.len() + 32);
    if let Some(width) = prefix {
        line.extend_from_slice(app);
        line.resize(width.max(app.len()), b' ');
        line.extend_from_slice(b" | ");
    }
    line.extend_from_slice(message);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_line_up() {
        let fields = [("SKIM_APP", "web"), ("MESSAGE", "hello")];
        let entry = Entry::new(fields.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(line(&entry, None), b"hello\n");
        assert_eq!(line(&entry, Some(5)), b"web   | hello\n");
    }
}
