//! The apps' output where a user runs the pod: from a pipe of each app to the journal, and in the
//! foreground to standard output, too.
//!
//! The system's services write to the journal, and it is read back. For a user that will not do:
//! journald learns which of a user's services a line is from by a look at the process, which may
//! be gone by then; it gives such services no fields of their own (`LogExtraFields=`,
//! systemd.exec(5)); and not every user may read it, or have it synchronized. So the holder takes
//! the lines, and tells journald the rest.
//!
//! A pipe is held open for reading and writing: apps come and go, and what a process has written
//! is there when it has ended.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use async_channel::Sender;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, OFlags};
use rustix::io::Errno;

use crate::holder::{Local, Mode};
use crate::journal::Entry;
use crate::output::prefixed;
use crate::pod::AppPlan;
use crate::pod_dir::PodDir;

/// Where journald takes entries (systemd.io/JOURNAL_NATIVE_PROTOCOL).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// No longer line is passed on in one piece, in bytes (`LineMax=`, journald.conf(5)).
const LINE_MAX: usize = 48 * 1024;

/// How many of the last lines of an app are kept to explain its failure.
const TAIL: usize = 100;
/// How much of each.
const TAIL_LINE: usize = 4096;

/// How much of one app is read before another's turn.
const READ: usize = 64 * 1024;

/// How often a source is read at the end, which is 1 MiB. What has outlived its app may go on
/// writing for ever, and the pod is not to wait for it.
const READS_LAST: usize = 1024 * 1024 / READ;

/// What is said with this priority where a line does not begin with another (sd-daemon(3)).
const PRIORITY: u8 = b'6';

/// The last lines of each app, as entries of the journal.
pub struct Tails(BTreeMap<String, VecDeque<Entry>>);

impl Tails {
    /// Those of the app `name`, the oldest first.
    pub fn take(&mut self, name: &str) -> Vec<Entry> {
        self.0.remove(name).unwrap_or_default().into()
    }
}

/// Takes the output of a pod's apps.
pub struct Relay {
    /// Closed to end the thread, which reads the other end.
    _running: OwnedFd,
    thread: JoinHandle<Tails>,
}

impl Relay {
    /// Makes the pipes, and starts to take what comes; in the foreground it is printed, and
    /// `sender` told when nobody reads that any more.
    ///
    /// # Errors
    /// Where a pipe cannot be made, or no thread started.
    pub fn start(pod: &PodDir, mode: Mode, sender: Sender<Local>) -> Result<Self> {
        let apps = &pod.plan.apps;
        let widths = apps.iter().map(|app| app.name.len());
        let printing = (mode == Mode::Foreground).then(|| Printing {
            prefix: widths.max().filter(|_| apps.len() > 1),
            sender,
        });
        let sources = apps.iter().filter_map(|app| {
            let pipe = open_pipe(app.output.as_deref()?);
            Some(pipe.map(|pipe| Source::new(pod, app, pipe)))
        });
        let sources = sources.collect::<Result<Vec<_>>>()?;
        let (ended, running) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .context("cannot make a pipe")?;
        let mut pump = Pump {
            sources,
            ended,
            journal: Journal::open(),
            printing,
        };
        let thread = std::thread::Builder::new().name("output".to_string());
        let thread = thread.spawn(move || {
            if let Err(error) = pump.run() {
                log::error!("cannot take the apps' output: {error}");
            }
            pump.finish()
        });
        Ok(Self {
            _running: running,
            thread: thread.context("cannot start a thread")?,
        })
    }

    /// Passes on what is left once all apps have ended, and returns the last of it.
    pub fn finish(self) -> Tails {
        drop(self._running);
        self.thread.join().unwrap_or_else(|_| {
            log::error!("the end of the apps' output is missing: its thread failed");
            Tails(BTreeMap::new())
        })
    }
}

/// Makes the pipe anew: one that is left of a start that failed may hold something.
fn open_pipe(path: &Path) -> Result<File> {
    let make = || -> io::Result<File> {
        if let Some(directory) = path.parent() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(directory)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        rustix::fs::mknodat(
            CWD,
            path,
            FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )?;
        let mut options = File::options();
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let flags = flags.bits().cast_signed();
        options
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)
    };
    make().with_context(|| format!("cannot make the pipe {}", path.display()))
}

/// An app's output.
struct Source {
    app: String,
    pipe: File,
    /// What journald is told of every line, in its own form.
    fields: Vec<u8>,
    /// The beginning of a line.
    rest: Vec<u8>,
    tail: VecDeque<Entry>,
}

impl Source {
    fn new(pod: &PodDir, app: &AppPlan, pipe: File) -> Self {
        let service = pod.units.service(&app.name);
        let mut fields = Vec::new();
        for (name, value) in [
            ("SYSLOG_IDENTIFIER", &app.name),
            // By which journalctl --user-unit= finds it.
            ("USER_UNIT", &service),
            ("SKIM_POD_UUID", &pod.plan.uuid),
            ("SKIM_APP", &app.name),
            ("SKIM_IMAGE", &app.image.id),
        ] {
            field(&mut fields, name, value.as_bytes());
        }
        Self {
            app: app.name.clone(),
            pipe,
            fields,
            rest: Vec::new(),
            tail: VecDeque::new(),
        }
    }

    /// Reads what is there, at most [`READ`]; the lines that are whole now. `None` where there is
    /// nothing.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
        let length = match self.pipe.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Some(vec![])),
            length => length?,
        };
        self.rest.extend_from_slice(&buffer[..length]);
        Ok(Some(whole_lines(&mut self.rest)))
    }

    fn keep(&mut self, line: &[u8]) {
        if self.tail.len() >= TAIL {
            self.tail.pop_front();
        }
        let line = &line[..line.len().min(TAIL_LINE)];
        let fields = [("MESSAGE", line), ("_TRANSPORT", b"stdout")];
        let fields = fields.map(|(name, value)| (name.into(), value.to_vec()));
        self.tail.push_back(Entry::new(fields));
    }
}

/// Takes the whole lines off the beginning of `text`, and what is too long to be one.
fn whole_lines(text: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut start = 0;
    loop {
        let left = &text[start..];
        match left.iter().position(|byte| *byte == b'\n') {
            Some(end) if end <= LINE_MAX => {
                lines.push(left[..end].to_vec());
                start += end + 1;
            }
            _ if left.len() > LINE_MAX => {
                lines.push(left[..LINE_MAX].to_vec());
                start += LINE_MAX;
            }
            _ => break,
        }
    }
    text.drain(..start);
    lines
}

/// Where lines are printed.
struct Printing {
    prefix: Option<usize>,
    sender: Sender<Local>,
}

/// What the thread works with.
struct Pump {
    sources: Vec<Source>,
    /// Says by its end that no more will come.
    ended: OwnedFd,
    journal: Journal,
    printing: Option<Printing>,
}

impl Pump {
    fn run(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ];
        loop {
            let ready = self.wait()?;
            let is_last = ready.last().copied().unwrap_or(true);
            for (index, _) in ready[..ready.len() - 1]
                .iter()
                .enumerate()
                .filter(|(_, is_ready)| **is_ready || is_last)
            {
                self.pass_on(index, &mut buffer, is_last)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Which of the sources have something, and whether no more will come.
    fn wait(&self) -> io::Result<Vec<bool>> {
        let pipes = self.sources.iter().map(|source| &source.pipe);
        let mut polled: Vec<_> = pipes
            .map(|pipe| PollFd::new(pipe, PollFlags::IN))
            .chain([PollFd::new(&self.ended, PollFlags::IN)])
            .collect();
        match poll(&mut polled, None) {
            Err(Errno::INTR) => return Ok(vec![false; polled.len()]),
            polled => polled?,
        };
        Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect())
    }

    /// Passes on what a source has, all of it where it is the last, up to a bound.
    fn pass_on(&mut self, index: usize, buffer: &mut [u8], is_last: bool) -> io::Result<()> {
        for _ in 0..if is_last { READS_LAST } else { 1 } {
            let Some(lines) = self.sources[index].read(buffer)? else {
                break;
            };
            for line in lines {
                self.line(index, &line);
            }
        }
        Ok(())
    }

    fn line(&mut self, index: usize, line: &[u8]) {
        let source = &mut self.sources[index];
        let (priority, line) = with_priority(line);
        self.journal.write(&source.fields, priority, line);
        source.keep(line);
        let Some(printing) = &self.printing else {
            return;
        };
        let text = prefixed(source.app.as_bytes(), line, printing.prefix);
        let mut stdout = io::stdout().lock();
        if stdout
            .write_all(&text)
            .and_then(|()| stdout.flush())
            .is_err()
        {
            // The holder is gone only when the process ends.
            let _ = printing.sender.send_blocking(Local::OutputClosed);
            self.printing = None;
        }
    }

    fn finish(mut self) -> Tails {
        for index in 0..self.sources.len() {
            let rest = std::mem::take(&mut self.sources[index].rest);
            if !rest.is_empty() {
                self.line(index, &rest);
            }
        }
        let sources = self.sources.into_iter();
        Tails(sources.map(|source| (source.app, source.tail)).collect())
    }
}

/// A line's priority, and the line without it: `<3>it broke` (sd-daemon(3)).
fn with_priority(line: &[u8]) -> (u8, &[u8]) {
    match line {
        [b'<', priority @ b'0'..=b'7', b'>', line @ ..] => (*priority, line),
        line => (PRIORITY, line),
    }
}

/// journald; what it does not take is lost to it, and printed all the same.
struct Journal(Option<UnixDatagram>);

impl Journal {
    fn open() -> Self {
        let connected = UnixDatagram::unbound().and_then(|socket| {
            socket.connect(JOURNAL)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                log::warn!("the apps' output does not come to the journal: {JOURNAL}: {error}");
                Self(None)
            }
        }
    }

    fn write(&mut self, fields: &[u8], priority: u8, line: &[u8]) {
        // It has no entries without a message.
        let Some(socket) = self.0.as_ref().filter(|_| !line.is_empty()) else {
            return;
        };
        let mut entry = fields.to_vec();
        field(&mut entry, "PRIORITY", &[priority]);
        field(&mut entry, "MESSAGE", line);
        if socket.send(&entry).is_err() {
            // It may have been restarted.
            *self = Self::open();
            if let Some(Err(error)) = self.0.as_ref().map(|socket| socket.send(&entry)) {
                log::debug!("a line is missing in the journal: {error}");
            }
        }
    }
}

/// A field in journald's own form, which takes any bytes.
fn field(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_or_too_long() {
        let mut text = b"one\n\ntwo\nrest".to_vec();
        assert_eq!(whole_lines(&mut text), [&b"one"[..], b"", b"two"]);
        assert_eq!(text, b"rest");
        let mut text = vec![b'x'; 2 * LINE_MAX + 1];
        text.push(b'\n');
        let lengths: Vec<_> = whole_lines(&mut text).iter().map(Vec::len).collect();
        assert_eq!((lengths, text.len()), (vec![LINE_MAX, LINE_MAX, 1], 0));
    }

    #[test]
    fn a_priority_is_no_part_of_the_line() {
        for (line, expected) in [
            (&b"<3>x"[..], (b'3', &b"x"[..])),
            (b"<8>x", (PRIORITY, b"<8>x")),
            (b"<3x", (PRIORITY, b"<3x")),
            (b"", (PRIORITY, b"")),
        ] {
            assert_eq!(with_priority(line), expected);
        }
    }

    fn pump(pipe: File) -> Pump {
        let (ended, running) = rustix::pipe::pipe().unwrap();
        drop(running);
        Pump {
            sources: vec![Source {
                app: "app".to_string(),
                pipe,
                fields: Vec::new(),
                rest: Vec::new(),
                tail: VecDeque::new(),
            }],
            ended,
            journal: Journal(None),
            printing: None,
        }
    }

    #[test]
    fn who_goes_on_writing_is_not_waited_for() {
        let mut pump = pump(File::open("/dev/zero").unwrap());
        pump.run().unwrap();
        let tail = pump.finish().take("app");
        assert_eq!(tail.len(), (1024 * 1024_usize).div_ceil(LINE_MAX));
    }

    #[test]
    fn what_was_written_is_there_when_the_writer_has_gone() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("output/app");
        let pipe = open_pipe(&path).unwrap();
        std::fs::write(&path, "<4>one\ntwo").unwrap();
        std::fs::write(&path, " more").unwrap();
        let mut pump = pump(pipe);
        pump.run().unwrap();
        let tail = pump.finish().take("app");
        let lines: Vec<_> = tail.iter().map(|entry| entry.get("MESSAGE")).collect();
        assert_eq!(lines, [Some(&b"one"[..]), Some(b"two more")]);
    }
}
