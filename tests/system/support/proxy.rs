//! A proxy that lets so much through and no more, and remembers what was asked for.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// How long to wait for what is expected.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a proxy does with a large answer once it has let so many bytes of it through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Says nothing more, and keeps the connection.
    Stall,
    /// Closes the connection.
    Cut,
}

/// Stands between skim and a registry that speaks plain http.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The next answer of more than so many bytes meets the fault.
    fault: Option<(u64, Fault)>,
    faults: usize,
    requests: Vec<String>,
}

impl Proxy {
    /// Starts one that lets everything through to `upstream`, `HOST:PORT`.
    #[track_caller]
    pub(crate) fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("cannot listen");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let state = Arc::clone(&shared);
        // It ends with the test program; what it holds up is connected no longer by then.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&state);
                thread::spawn(move || shared.serve(client));
            }
        });
        Self { port, shared }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The next connection that carries more than `bytes` to the client meets the fault there.
    pub(crate) fn fail_after(&self, bytes: u64, fault: Fault) {
        self.shared.lock().fault = Some((bytes, fault));
    }

    /// Waits until that many connections have met a fault.
    #[track_caller]
    pub(crate) fn wait_for_faults(&self, count: usize) {
        let waited =
            self.shared
                .changed
                .wait_timeout_while(self.shared.lock(), PATIENCE, |state| state.faults < count);
        let (state, timeout) = waited.expect("no connection panics");
        assert!(
            !timeout.timed_out(),
            "no fault was met; {:#?}",
            state.requests
        );
    }

    /// The requests so far: their first line and, where there is one, the header `Range`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.lock().requests.clone()
    }

    /// The first byte that each request for a part asked for.
    pub(crate) fn offsets(&self) -> Vec<u64> {
        let offset = |request: &String| {
            let (_, range) = request.rsplit_once("bytes=")?;
            range.split('-').next()?.parse().ok()
        };
        self.requests().iter().filter_map(offset).collect()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no connection panics")
    }

    /// A connection that breaks is what this is for; whoever called sees it.
    fn serve(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.upstream) else {
            return;
        };
        let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        let shared = Arc::clone(&self);
        let requests = thread::spawn(move || shared.forward_requests(from_client, to_server));
        let _result = self.forward_answers(server, &client);
        let _closed = client.shutdown(Shutdown::Both);
        let _ended = requests.join();
    }

    fn forward_requests(&self, mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
        let (mut head, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let length = client.read(&mut buffer)?;
            if length == 0 {
                return server.shutdown(Shutdown::Write);
            }
            // Requests for what is there have no body.
            head.extend_from_slice(&buffer[..length]);
            while let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&head[..end]).into_owned();
                head.drain(..end + 4);
                self.lock().requests.push(summary(&text));
            }
            server.write_all(&buffer[..length])?;
        }
    }

    fn forward_answers(&self, mut server: TcpStream, mut client: &TcpStream) -> io::Result<()> {
        let (mut done, mut buffer) = (0, vec![0; 1 << 16]);
        loop {
            let length = server.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            done += length as u64;
            let fault = {
                let mut state = self.lock();
                let met = state.fault.filter(|(bytes, _)| done > *bytes);
                if met.is_some() {
                    state.fault = None;
                    state.faults += 1;
                }
                met
            };
            match fault {
                Some((_, Fault::Cut)) => {
                    self.changed.notify_all();
                    return server.shutdown(Shutdown::Both);
                }
                Some((_, Fault::Stall)) => {
                    self.changed.notify_all();
                    // Until the client goes away.
                    let _gone = client.read(&mut [0]);
                    return server.shutdown(Shutdown::Both);
                }
                None => client.write_all(&buffer[..length])?,
            }
        }
    }
}

/// The first line of a request, and what part it asks for.
fn summary(head: &str) -> String {
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let range = lines.find(|line| line.to_ascii_lowercase().starts_with("range:"));
    match range {
        Some(range) => format!("{first} {}", range.trim()),
        None => first,
    }
}
