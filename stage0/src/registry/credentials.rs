//! Who a registry is asked as: what `podman login` and `docker login` have left
//! (containers-auth.json(5), docker's config.json).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Bytes of a file with credentials.
const FILE: u64 = 1 << 20;
/// What Docker Hub is called in names of images.
const HUB: &str = "docker.io";
/// What `docker login` and credential helpers call Docker Hub.
const HUB_SERVER: &str = "https://index.docker.io/v1/";

/// The files that credentials are looked up in, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    files: Vec<PathBuf>,
    /// Whether the user named the file, which then must be there.
    named: bool,
}

/// What of the environment says where the files are.
#[derive(Clone, Debug, Default)]
pub struct CredentialEnvironment {
    /// `REGISTRY_AUTH_FILE`: this file and no other.
    pub registry_auth_file: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<PathBuf>,
    /// `DOCKER_CONFIG`: the directory of docker's `config.json`.
    pub docker_config: Option<PathBuf>,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// The user's ID.
    pub uid: u32,
}

/// As much of a file as tells which entry to ask for. The secrets are not taken in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entries {
    #[serde(default)]
    auths: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(default)]
    creds_store: Option<String>,
}

impl CredentialFiles {
    /// The files, in the order of podman: `REGISTRY_AUTH_FILE` alone where it is set; else
    /// `auth.json` of the runtime directory, that of the configuration, docker's `config.json`.
    pub fn new(environment: &CredentialEnvironment) -> Self {
        if let Some(file) = &environment.registry_auth_file {
            return Self {
                files: vec![file.clone()],
                named: true,
            };
        }
        let home = |name| Some(environment.home.as_ref()?.join(name));
        let auth = |directory: PathBuf| directory.join("containers/auth.json");
        let first = match &environment.xdg_runtime_dir {
            Some(directory) => auth(directory.clone()),
            None => format!("/run/containers/{}/auth.json", environment.uid).into(),
        };
        let config = environment
            .xdg_config_home
            .clone()
            .or_else(|| home(".config"));
        let docker = environment
            .docker_config
            .clone()
            .or_else(|| home(".docker"));
        let files = [
            Some(first),
            config.map(auth),
            docker.map(|directory| directory.join("config.json")),
        ];
        Self {
            files: files.into_iter().flatten().collect(),
            named: false,
        }
    }

    /// Those of the files that are there.
    pub fn there(&self) -> Vec<&Path> {
        let files = self.files.iter().map(PathBuf::as_path);
        files.filter(|path| path.exists()).collect()
    }

    /// What to show to `registry`, `HOST[:PORT]`, for its `repository`; nothing where no file
    /// says anything.
    ///
    /// # Errors
    /// Where a file cannot be read or is broken, or a credential helper fails. Nothing secret is
    /// told.
    pub fn lookup(&self, registry: &str, repository: &str) -> Result<RegistryAuth> {
        for path in &self.files {
            let content = match read(path) {
                Ok(content) => content,
                Err(error) if !self.named && is_missing(&error) => continue,
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot read the credentials in {}", path.display())
                    });
                }
            };
            let found = lookup_in(&content, registry, repository)
                .with_context(|| format!("cannot use the credentials in {}", path.display()))?;
            if let Some(auth) = found {
                return Ok(auth);
            }
        }
        Ok(RegistryAuth::Anonymous)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::open(path)?;
    file.take(FILE + 1).read_to_end(&mut content)?;
    ensure!(
        content.len() as u64 <= FILE,
        "it has more than {FILE} bytes"
    );
    Ok(content)
}

fn is_missing(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

fn lookup_in(content: &[u8], registry: &str, repository: &str) -> Result<Option<RegistryAuth>> {
    // What the JSON library says may quote the file, so only the place is told.
    let entries: Entries = serde_json::from_slice(content).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        anyhow!("line {line}, column {column} is not what such a file holds")
    })?;
    let server = match registry {
        HUB => HUB_SERVER,
        _ => registry,
    };
    let key = match entries.key(registry, repository) {
        Some(key) => key,
        None if entries.creds_store.is_some() => server,
        None => return Ok(None),
    };
    match docker_credential::get_credential_from_reader(content, key) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(Some(RegistryAuth::Basic(user, password)))
        }
        Ok(DockerCredential::IdentityToken(_)) => bail!(
            "there is an identity token for {registry}, which skim cannot use: log in with a user name and a password or an access token"
        ),
        Err(error) => explain(error, registry),
    }
}

/// What a failure to find credentials means. What a helper printed is not told: it may be secret.
fn explain(error: CredentialRetrievalError, registry: &str) -> Result<Option<RegistryAuth>> {
    use CredentialRetrievalError as E;
    match error {
        E::NoCredentialConfigured => Ok(None),
        // The word of docker's own helpers (docker-credential-helpers, "ErrCredentialsNotFound").
        E::HelperFailure { stdout, .. } if stdout.contains("credentials not found") => Ok(None),
        E::HelperFailure { helper, .. } => bail!(
            "the credential helper {helper:?} failed: see what `echo {registry} | {} get` says",
            helper.escape_default()
        ),
        E::HelperCommunicationError => bail!(
            "the credential helper for {registry} cannot be run: install docker-credential-NAME, or take the helper out of the file"
        ),
        E::MalformedHelperResponse => {
            bail!("the credential helper for {registry} gave no user name and secret")
        }
        E::CredentialDecodingError => bail!(
            "the entry for {registry} is not base64 of USER:PASSWORD: log in to {registry} again"
        ),
        E::CredentialMismatchError => bail!(
            "the entry for {registry} names two different users or passwords: log in to {registry} again"
        ),
        E::ConfigNotFound | E::ConfigReadError => bail!("it is not what such a file holds"),
    }
}

impl Entries {
    /// The key of the entry to use: the one for the longest part of `HOST/NAMESPACE/NAME`.
    fn key(&self, registry: &str, repository: &str) -> Option<&str> {
        let keys = || {
            let helpers = self.cred_helpers.iter().flat_map(BTreeMap::keys);
            self.auths.iter().flat_map(BTreeMap::keys).chain(helpers)
        };
        let whole = format!("{registry}/{repository}");
        let mut scope = whole.as_str();
        loop {
            let exact = keys().find(|key| *key == scope);
            if let Some(key) = exact.or_else(|| keys().find(|key| normal(key) == scope)) {
                return Some(key);
            }
            scope = scope.rsplit_once('/')?.0;
        }
    }
}

/// A key as a name of an image would have it: no scheme, and then no path; Docker Hub by its
/// usual name.
fn normal(key: &str) -> String {
    let address = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let key = match address {
        Some(address) => address.split('/').next().unwrap_or_default(),
        None => key,
    };
    let (host, rest) = match key.split_once('/') {
        Some((host, rest)) => (host, format!("/{rest}")),
        None => (key, String::new()),
    };
    match host {
        "index.docker.io" | "registry-1.docker.io" => format!("{HUB}{rest}"),
        _ => format!("{host}{rest}"),
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
