//! How the network is used: what is trusted, how long is waited, how often is tried.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Bytes of a file with certificates; a bundle of all public CAs has some 200 KiB.
const CERTIFICATES: u64 = 4 << 20;

/// How the network is used.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Whether certificates are checked; `--insecure-options=tls` clears it.
    pub tls_verify: bool,
    /// Whether plain http is spoken where it is asked for, or where a registry speaks nothing
    /// else; `--insecure-options=http` sets it.
    pub allow_http: bool,
    /// Directories with more CAs, in PEM: `HOST[:PORT]/*.crt` beneath them (containers-certs.d(5)).
    /// The system's own, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name instead of them, are
    /// found by the TLS library.
    pub certificates: Vec<PathBuf>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a server may send nothing. There is no bound on a whole download.
    pub idle_timeout: Duration,
    /// What follows on a failure that may pass.
    pub retry: Retry,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            tls_verify: true,
            allow_http: false,
            certificates: vec![
                "/etc/containers/certs.d".into(),
                "/etc/docker/certs.d".into(),
            ],
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            retry: Retry::default(),
        }
    }
}

impl NetworkOptions {
    /// The certificates of the CAs that are trusted for `host`, `HOST[:PORT]`: one PEM file each.
    ///
    /// # Errors
    /// Where a file or directory cannot be read.
    pub(super) fn certificates_for(&self, host: &str) -> Result<Vec<Vec<u8>>> {
        if host.starts_with('.') || host.contains('/') {
            return Ok(Vec::new());
        }
        let mut files = Vec::new();
        for directory in &self.certificates {
            files.extend(certificate_files(&directory.join(host))?);
        }
        files.iter().map(|path| read_certificates(path)).collect()
    }
}

/// The files `*.crt` of a directory, sorted.
fn certificate_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read the certificates in {}", directory.display());
    let entries = match directory.read_dir() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.with_context(context)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(context)?.path();
        if path.extension().is_some_and(|extension| extension == "crt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_certificates(path: &Path) -> Result<Vec<u8>> {
    let context = || format!("cannot read the certificates in {}", path.display());
    let size = path.metadata().with_context(context)?.len();
    ensure!(
        size <= CERTIFICATES,
        "{} has {size} bytes, too many for a file with certificates",
        path.display()
    );
    let content = std::fs::read(path).with_context(context)?;
    ensure!(
        content.windows(11).any(|window| window == b"-----BEGIN "),
        "{} holds no certificate in PEM: convert it with `openssl x509 -inform der`",
        path.display()
    );
    Ok(content)
}

/// How often and how soon something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often something is tried again that made no headway.
    pub attempts: u32,
    /// The wait before the first of them; each further one is twice as long.
    pub delay: Duration,
    /// The longest wait, also where a server asks for a longer one: then it is not tried again.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            delay: Duration::from_secs(1),
            longest: Duration::from_secs(60),
        }
    }
}

impl Retry {
    /// How long to wait after `failures` failures in a row, of which the last came with the
    /// server's wish for a wait; none where it is to be given up.
    pub(super) fn wait(&self, failures: u32, asked: Option<Duration>) -> Option<Duration> {
        if failures > self.attempts {
            return None;
        }
        let doubled = 1_u32
            .checked_shl(failures.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let own = self.delay.saturating_mul(doubled).min(self.longest);
        match asked {
            Some(asked) if asked > self.longest => None,
            Some(asked) => Some(asked.max(own)),
            None => Some(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_bounded() {
        let retry = Retry {
            attempts: 8,
            ..Retry::default()
        };
        let seconds = |failures, asked: Option<u64>| {
            let wait = retry.wait(failures, asked.map(Duration::from_secs));
            wait.map(|wait| wait.as_secs())
        };
        assert_eq!(seconds(1, None), Some(1));
        assert_eq!(seconds(3, None), Some(4));
        assert_eq!(seconds(8, None), Some(60));
        assert_eq!(seconds(9, None), None);
        assert_eq!(seconds(1, Some(7)), Some(7));
        assert_eq!(seconds(4, Some(7)), Some(8));
        assert_eq!(seconds(1, Some(61)), None);
    }

    #[test]
    fn certificates_are_those_of_the_host() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("example.com:5000");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("ca.crt"), "-----BEGIN CERTIFICATE-----").unwrap();
        std::fs::write(directory.join("client.cert"), "no CA").unwrap();
        std::fs::write(root.path().join("ca.crt"), "-----BEGIN nobody's").unwrap();
        let options = NetworkOptions {
            certificates: vec![root.path().into(), root.path().join("missing")],
            ..NetworkOptions::default()
        };
        let count = |host| options.certificates_for(host).unwrap().len();
        assert_eq!(count("example.com:5000"), 1);
        assert_eq!(count("example.com"), 0);
        assert_eq!(count("."), 0);
        std::fs::write(directory.join("der.crt"), [0x30, 0x82]).unwrap();
        let error = options.certificates_for("example.com:5000").unwrap_err();
        assert!(error.to_string().contains("der.crt holds no"), "{error}");
    }
}
