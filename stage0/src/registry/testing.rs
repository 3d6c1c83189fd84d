//! A server on loopback that answers as a test tells it, and a directory for blobs.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::client::Network;
use super::options::{NetworkOptions, Retry};
use super::sink::{BlobSink, Claim, PartialBlob};
use crate::image::blob::{Blob, Sha256};

pub const CA: &str = include_str!("testdata/ca.crt");
const CERTIFICATE: &str = include_str!("testdata/server.crt");
const KEY: &str = include_str!("testdata/server.key");

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Their names in lower case.
    headers: BTreeMap<String, String>,
}

impl Request {
    /// A header, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Where the range starts that is asked for.
    pub fn range(&self) -> Option<usize> {
        let range = self.header("range").strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// After so many bytes of the body the connection ends.
    cut: Option<usize>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            cut: None,
        }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }

    /// What a server that knows ranges answers.
    pub fn ranged(request: &Request, body: &[u8]) -> Self {
        match request.range() {
            Some(start) if start < body.len() => {
                let (end, size) = (body.len() - 1, body.len());
                Self::new(206, &body[start..])
                    .header("content-range", format!("bytes {start}-{end}/{size}"))
            }
            Some(_) => Self::new(416, ""),
            None => Self::new(200, body),
        }
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server; it ends when this is dropped.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one that speaks plain http.
    pub fn http(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(handler))
    }

    /// Starts one that speaks https, with a certificate of [`CA`].
    pub fn https(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::start(Some(Arc::new(config)), Arc::new(handler))
    }

    fn start(tls: Option<Arc<rustls::ServerConfig>>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (log, end) = (Arc::clone(&seen), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    break;
                }
                let (tls, handler, log) = (tls.clone(), Arc::clone(&handler), Arc::clone(&log));
                connections.push(std::thread::spawn(move || {
                    serve(stream.unwrap(), tls, &*handler, &log);
                }));
            }
            for connection in connections {
                connection.join().unwrap();
            }
        });
        Self {
            address,
            seen,
            ended,
            thread: Some(thread),
        }
    }

    /// The requests that came so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests came whose path contains `part`.
    pub fn count(&self, part: &str) -> usize {
        let seen = self.seen();
        seen.iter()
            .filter(|request| request.path.contains(part))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).unwrap();
        let ended = self.thread.take().unwrap().join();
        // A panic while the test panics would hide what it says.
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// Answers one request. A client that goes away is none of the server's business.
fn serve(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    handler: &Handler,
    log: &Mutex<Vec<Request>>,
) {
    let _ = match tls {
        None => answer(stream, handler, log),
        Some(config) => {
            let connection = rustls::ServerConnection::new(config).unwrap();
            answer(rustls::StreamOwned::new(connection, stream), handler, log)
        }
    };
}

fn answer(
    stream: impl Read + Write,
    handler: &Handler,
    log: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    // What is no HTTP, such as the beginning of TLS, may hold no line end at all.
    if !stream
        .fill_buf()?
        .first()
        .is_some_and(u8::is_ascii_uppercase)
    {
        return stream
            .get_mut()
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        headers: BTreeMap::new(),
    };
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        request
            .headers
            .insert(name.to_ascii_lowercase(), value.to_owned());
    }
    log.lock().unwrap().push(request.clone());
    let reply = handler(&request);
    let mut head = format!("HTTP/1.1 {} Status\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", reply.body.len());
    let stream = stream.get_mut();
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        let end = reply.cut.unwrap_or(reply.body.len());
        stream.write_all(&reply.body[..end])?;
    }
    stream.flush()
}

/// Options for servers on loopback: plain http goes, and nothing is waited for.
pub fn options() -> NetworkOptions {
    NetworkOptions {
        allow_http: true,
        // Without a check of certificates, the host needs none.
        tls_verify: false,
        certificates: Vec::new(),
        retry: Retry {
            attempts: 3,
            delay: Duration::ZERO,
            longest: Duration::from_secs(1),
        },
        ..NetworkOptions::default()
    }
}

pub fn network() -> Network {
    Network::new(options()).unwrap()
}

/// Blobs in a directory: `partial-HEX` and `HEX`.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn partial(&self, digest: &Sha256) -> PathBuf {
        self.0.join(format!("partial-{}", digest.hex()))
    }

    fn whole(&self, digest: &Sha256) -> PathBuf {
        self.0.join(digest.hex())
    }
}

/// Opens a file to be read and written, and makes it where there is none.
pub fn open(path: &Path) -> File {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.open(path).unwrap()
}

impl BlobSink for Directory {
    fn claim(&self, digest: &Sha256) -> Result<Claim> {
        if let Ok(file) = File::open(self.whole(digest)) {
            let size = file.metadata()?.len();
            return Ok(Claim::Whole(Blob {
                file: Arc::new(file),
                offset: 0,
                size,
            }));
        }
        let file = open(&self.partial(digest));
        file.try_lock()?;
        Ok(Claim::Partial(PartialBlob {
            digest: *digest,
            file,
        }))
    }

    fn complete(&self, partial: PartialBlob) -> Result<Blob> {
        let digest = partial.digest;
        std::fs::rename(self.partial(&digest), self.whole(&digest))?;
        let size = partial.file.metadata()?.len();
        Ok(Blob {
            file: Arc::new(partial.file),
            offset: 0,
            size,
        })
    }
}
