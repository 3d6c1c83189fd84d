//! Debian's docker-registry on the loopback, open or guarded.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::authority::Authority;
use super::command::{Outcome, limited, run};
use super::host::Host;
use super::server::Server;

/// Who may use a guarded registry; the colon is the password's.
pub(crate) const USER: &str = "tester";
/// The password; it may hold a colon (RFC 7617, section 2).
pub(crate) const PASSWORD: &str = "open:sesame";

/// What the registry and its token service call each other.
const SERVICE: &str = "skim-tests-registry";
const ISSUER: &str = "skim-tests";

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Plain http, for everybody.
    None,
    /// TLS, for everybody.
    Tls,
    /// TLS and a password with every request.
    Basic,
    /// TLS and tokens, which another server gives to those who know the password.
    Bearer,
}

/// A registry that runs until it is dropped.
pub(crate) struct Registry {
    server: Server,
    guard: Guard,
    port: u16,
    directory: PathBuf,
    authority: Authority,
    /// Kept for as long as the registry runs.
    _tokens: Option<Server>,
}

impl Registry {
    /// Starts one whose storage is a new directory, and waits until it listens.
    #[track_caller]
    pub(crate) fn start(host: &Host, guard: Guard) -> Self {
        // Free now, and nobody else in the machine takes one in between.
        Self::listen(host, guard, free_port())
    }

    /// The same at a port that nobody else has.
    #[track_caller]
    pub(crate) fn listen(host: &Host, guard: Guard, port: u16) -> Self {
        let directory = host.directory(&format!("registry-{guard:?}"));
        let authority = Authority::new(host.directory(&format!("registry-{guard:?}-ca")));
        let tokens = (guard == Guard::Bearer).then(|| token_service(&authority));
        let realm = tokens.as_ref().map(Server::port);
        let settings = settings(&directory, guard, &authority, port, realm);
        let server = serve(&directory, &settings);
        Self {
            server,
            guard,
            port,
            directory,
            authority,
            _tokens: tokens,
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// An image in it, as skim and skopeo name it.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address())
    }

    /// Who has signed its certificate.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// `skopeo copy OPTIONS… SOURCE` to the registry's `name`; prints the digest of what arrived.
    #[track_caller]
    pub(crate) fn push(&self, source: &str, name: &str, options: &[&str]) -> String {
        let digest = self.directory.join("pushed-digest");
        let mut args: Vec<OsString> = ["copy", "--quiet"].map(OsString::from).into();
        args.extend(options.iter().map(OsString::from));
        args.push(format!("--digestfile={}", digest.display()).into());
        args.extend(self.access("dest").into_iter().map(OsString::from));
        args.extend([source.into(), self.image(name).into()]);
        run("skopeo", args).success();
        fs::read_to_string(digest).expect("skopeo wrote the digest")
    }

    /// `skopeo inspect` of an image in it, as somebody who may.
    #[track_caller]
    pub(crate) fn inspect(&self, name: &str) -> Outcome {
        let mut args = vec!["inspect".to_owned()];
        args.extend(self.access(""));
        args.push(self.image(name));
        run("skopeo", args)
    }

    /// skopeo's options for access to it.
    fn access(&self, side: &str) -> Vec<String> {
        let option = |name: &str| match side {
            "" => format!("--{name}"),
            side => format!("--{side}-{name}"),
        };
        let mut args = match self.guard {
            Guard::None => vec![format!("{}=false", option("tls-verify"))],
            _ => vec![format!("{}={}", option("cert-dir"), self.certificates())],
        };
        if matches!(self.guard, Guard::Basic | Guard::Bearer) {
            args.push(format!("{}={USER}:{PASSWORD}", option("creds")));
        }
        args
    }

    /// A directory as containers-certs.d(5) wants it.
    fn certificates(&self) -> String {
        let directory = self.directory.join("certs");
        fs::create_dir_all(&directory).expect("cannot make a directory");
        fs::copy(self.authority.root(), directory.join("ca.crt")).expect("cannot copy the CA");
        directory.to_string_lossy().into_owned()
    }

    /// The requests that it has answered so far, as its access log has them.
    pub(crate) fn requests(&self) -> Vec<String> {
        let lines = self.server.log().into_iter();
        lines.filter(|line| line.contains("HTTP/1.1\"")).collect()
    }

    /// The file in which it keeps a blob, such as `sha256:…`.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a SHA-256 digest");
        let path = format!(
            "data/docker/registry/v2/blobs/sha256/{}/{hex}/data",
            &hex[..2]
        );
        self.directory.join(path)
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("cannot find a free port");
    listener.local_addr().expect("it is bound").port()
}

#[track_caller]
fn token_service(authority: &Authority) -> Server {
    let mut command = Command::new("/opt/servers/token");
    command.args([authority.certificate(), authority.key()]);
    Server::start(command.args([USER, PASSWORD]))
}

/// The registry's settings (JSON is YAML).
fn settings(
    directory: &Path,
    guard: Guard,
    authority: &Authority,
    port: u16,
    realm: Option<u16>,
) -> Value {
    let mut settings = json!({
        "version": "0.1",
        "log": { "level": "info" },
        "storage": { "filesystem": { "rootdirectory": directory.join("data") } },
        "http": { "addr": format!("127.0.0.1:{port}") },
    });
    if guard != Guard::None {
        settings["http"]["tls"] =
            json!({ "certificate": authority.certificate(), "key": authority.key() });
    }
    match guard {
        Guard::None | Guard::Tls => {}
        Guard::Basic => {
            settings["auth"]["htpasswd"] =
                json!({ "realm": SERVICE, "path": password_file(directory) });
        }
        Guard::Bearer => {
            settings["auth"]["token"] = json!({
                "realm": format!("https://127.0.0.1:{}/token", realm.expect("tokens are served")),
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": authority.certificate(),
            });
        }
    }
    settings
}

/// htpasswd(1) as the registry wants it: bcrypt.
#[track_caller]
fn password_file(directory: &Path) -> PathBuf {
    // Python's module is gone since 3.13. Any salt of bcrypt's alphabet will do.
    let script = "print crypt($ARGV[0], q($2b$05$saltsaltsaltsaltsaltsa))";
    let hash = run("perl", ["-e", script, PASSWORD]).line();
    let path = directory.join("htpasswd");
    fs::write(&path, format!("{USER}:{hash}\n")).expect("cannot write the passwords");
    path
}

#[track_caller]
fn serve(directory: &Path, settings: &Value) -> Server {
    let file = directory.join("config.yml");
    fs::write(&file, settings.to_string()).expect("cannot write the settings");
    let mut command = Command::new("docker-registry");
    let server = Server::start(command.arg("serve").arg(file));
    server.wait_for(|line| line.contains("listening on").then_some(()));
    server
}

/// A directory for `~/.docker/config.json` or `containers/auth.json` with the password for
/// `address`; returns the file.
#[track_caller]
pub(crate) fn credentials(host: &Host, path: &str, address: &str, password: &str) -> PathBuf {
    let file = host.scratch().join(path);
    fs::create_dir_all(file.parent().expect("a file in a directory")).expect("cannot make it");
    // As `skopeo login` writes it, which would not write a wrong password.
    let encode = limited("sh")
        .args(["-c", "printf %s \"$1\" | base64 --wrap=0", "sh"])
        .arg(format!("{USER}:{password}"))
        .output();
    let encoded = Outcome::from(encode.expect("cannot run base64")).line();
    let auths = json!({ "auths": { address: { "auth": encoded } } });
    fs::write(&file, auths.to_string()).expect("cannot write the credentials");
    file
}
