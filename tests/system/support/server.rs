//! A server that a test starts, and what it says.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::authority::Authority;

/// How long to wait for a line.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; killed and reaped when dropped.
pub(crate) struct Server {
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    news: Condvar,
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().expect("no reader of the log panics")
    }

    fn follow(self: Arc<Self>, pipe: impl Read + Send + 'static) {
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                self.lines()
                    .push(String::from_utf8_lossy(&line).into_owned());
                self.news.notify_all();
            }
        });
    }
}

impl Server {
    /// Starts it; what it prints on stdout and stderr becomes its log.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let log = Arc::new(Log::default());
        Arc::clone(&log).follow(child.stdout.take().expect("stdout is a pipe"));
        Arc::clone(&log).follow(child.stderr.take().expect("stderr is a pipe"));
        Self { child, log }
    }

    /// Waits for a line in which `what` finds something, and returns that.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines();
        loop {
            if let Some(found) = lines.iter().find_map(|line| what(line)) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the server never said it: {lines:#?}");
            let waited = self.log.news.wait_timeout(lines, left);
            lines = waited.expect("no reader of the log panics").0;
        }
    }

    /// The port, of a server that prints `port NUMBER` when it is ready.
    #[track_caller]
    pub(crate) fn port(&self) -> u16 {
        self.wait_for(|line| line.strip_prefix("port ")?.parse().ok())
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lines().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Serves a directory's files by https. Its log has a line for each request, such as
/// `GET /x.aci bytes=4-`.
#[track_caller]
pub(crate) fn https(directory: &Path, authority: &Authority) -> Server {
    https_at("127.0.0.1:0", directory, authority)
}

/// The same at an address, such as `127.0.0.2:443`.
#[track_caller]
pub(crate) fn https_at(address: &str, directory: &Path, authority: &Authority) -> Server {
    let mut command = Command::new("/opt/servers/files");
    command.args([directory, &authority.certificate(), &authority.key()]);
    command.arg(address);
    let server = Server::start(&mut command);
    server.port();
    server
}
