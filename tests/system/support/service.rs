//! A service that an app offers on the loopback, seen from its clients.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use super::journal;

/// How long a service may take over an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A TCP port of the loopback.
pub(crate) struct Port(u16);

impl Port {
    /// One that nobody listens on.
    #[track_caller]
    pub(crate) fn free() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("no port is free");
        Self(listener.local_addr().expect("it is bound").port())
    }

    /// Its number, as programs want it.
    pub(crate) fn number(&self) -> String {
        self.0.to_string()
    }

    /// `127.0.0.1:NUMBER`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.0)
    }

    /// Waits until someone listens.
    #[track_caller]
    pub(crate) fn wait(&self) {
        journal::until("the service accepts connections", || {
            TcpStream::connect(self.address()).is_ok()
        });
    }

    /// Says something, and returns the answer up to the first `end`, or to the end of the
    /// connection.
    #[track_caller]
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>, end: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).expect("nobody listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it is no zero");
        stream
            .write_all(request.as_ref())
            .expect("the service takes the request");
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&answer);
            if !end.is_empty() && text.contains(end) {
                return text.into_owned();
            }
            match stream.read(&mut buffer) {
                Ok(0) => return text.into_owned(),
                Ok(size) => answer.extend_from_slice(&buffer[..size]),
                Err(error) => panic!("no answer: {error}; so far: {text:?}"),
            }
        }
    }

    /// What an HTTP server answers, head and body.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> String {
        let host = self.address();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = self.ask(request, "");
        let status = answer.lines().next().unwrap_or_default();
        assert!(status.contains(" 200 "), "{answer}");
        answer
    }
}
