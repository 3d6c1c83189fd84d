//! A certificate authority of the test's own, made by openssl.

use std::fs;
use std::path::{Path, PathBuf};

use super::command::run;

/// Where update-ca-certificates(8) looks for what the host trusts besides Debian's.
const TRUSTED: &str = "/usr/local/share/ca-certificates/skim-tests.crt";

/// What the servers' certificate says: they all are on the loopback, whatever the examples call
/// them.
const EXTENSIONS: &str = "subjectAltName = IP:127.0.0.1, DNS:localhost, DNS:example.com, \
    DNS:registry.example.com\nextendedKeyUsage = serverAuth\nauthorityKeyIdentifier = keyid\n";

/// An authority and the one certificate that it has given out.
pub(crate) struct Authority {
    directory: PathBuf,
}

/// That the host trusts the authority; until it is dropped.
pub(crate) struct Trusted;

impl Authority {
    /// Makes both in `directory`.
    #[track_caller]
    pub(crate) fn new(directory: PathBuf) -> Self {
        fs::write(directory.join("extensions"), EXTENSIONS).expect("cannot write the extensions");
        let script = r#"
            set -e
            cd "$1"
            openssl req -x509 -newkey rsa:2048 -noenc -days 2 -subj /CN=skim-tests \
                -addext 'keyUsage = critical, keyCertSign' -keyout ca.key -out ca.pem
            openssl req -newkey rsa:2048 -noenc -subj /CN=127.0.0.1 -keyout key.pem -out request.pem
            openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                -extfile extensions -out certificate.pem
        "#;
        run(
            "sh",
            ["-c", script, "sh", &directory.to_string_lossy()].map(str::to_owned),
        )
        .success();
        Self { directory }
    }

    /// The authority's own certificate.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The servers' certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// The servers' key.
    pub(crate) fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// Makes the host trust it.
    #[track_caller]
    pub(crate) fn trusted(&self) -> Trusted {
        fs::create_dir_all(Path::new(TRUSTED).parent().expect("it has a parent"))
            .expect("cannot make the directory of certificates");
        fs::copy(self.root(), TRUSTED).expect("cannot add the certificate");
        run("update-ca-certificates", ["--fresh"]).success();
        Trusted
    }
}

impl Drop for Trusted {
    fn drop(&mut self) {
        // A failure here shows as a test that does not fail as it should.
        let _removed = fs::remove_file(TRUSTED);
        let _updated = run("update-ca-certificates", ["--fresh"]);
    }
}
