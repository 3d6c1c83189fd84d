//! What the command reads of the process that it runs in: once, here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::escape;
use stage1_skim::scope::{Manager, RuntimeScope};

use crate::cli::GlobalArguments;
use crate::config::Directories;
use crate::pod::user_scope::Caller;
use crate::registry::credentials::{CredentialEnvironment, CredentialFiles};

/// Where stage1-skim is installed by a package.
const STAGE1_INSTALLED: &str = "/usr/libexec/skim/stage1-skim";
/// Where root's images and pods are.
const STATE: &str = "/var/lib/skim";
/// Where the administrator's configuration is.
const LOCAL_CONFIG: &str = "/etc/skim";

/// The global flags, made absolute.
#[derive(Clone, Debug)]
pub struct Host {
    /// Whose service manager runs pods.
    pub scope: RuntimeScope,
    /// skim's directory: images and pods.
    pub directory: PathBuf,
    /// `--stage1-path`.
    pub stage1_path: Option<PathBuf>,
    /// `--debug`.
    pub debug: bool,
    /// `--system-config` and `--local-config`.
    pub config: Directories,
}

impl Host {
    /// Takes in the global flags.
    ///
    /// skim's directory gets its real path, without links: the mount table knows no other, and
    /// relocated programs hold it.
    ///
    /// # Errors
    /// Where the directory cannot be made out.
    pub fn new(global: GlobalArguments) -> Result<Self> {
        let make_out = |path: &Path| format!("cannot make out the directory {}", path.display());
        let scope = match global.user_scope {
            true => RuntimeScope::User,
            false => RuntimeScope::System,
        };
        check_caller(scope, true)?;
        let directory = global.dir.map_or_else(|| data(scope), Ok)?;
        let directory = real_path(&directory).with_context(|| make_out(&directory))?;
        let administrators = Path::new(LOCAL_CONFIG);
        let local = match (global.local_config, scope) {
            (Some(local), _) => local,
            (None, RuntimeScope::System) => administrators.into(),
            (None, RuntimeScope::User) => {
                base_directory("XDG_CONFIG_HOME", ".config")?.join("skim")
            }
        };
        let absolute = |path: PathBuf| std::path::absolute(&path).with_context(|| make_out(&path));
        Ok(Self {
            scope,
            directory,
            stage1_path: global.stage1_path,
            debug: global.debug,
            config: Directories {
                system: absolute(global.system_config)?,
                administrator: scope.is_user().then(|| administrators.into()),
                local: absolute(local)?,
            },
        })
    }

    /// The caller's variables that a service can have (see [`escape::environment`]), and the
    /// names of the others: shells keep functions in such.
    pub fn environment(&self) -> (Vec<(String, String)>, Vec<String>) {
        let (mut variables, mut others) = (Vec::new(), Vec::new());
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) if escape::environment(&name, &value).is_ok() => {
                    variables.push((name, value));
                }
                (name, _) => others.push(match name {
                    Ok(name) => name,
                    Err(name) => name.to_string_lossy().into_owned(),
                }),
            }
        }
        (variables, others)
    }

    /// Where the user's credentials for registries are.
    pub fn credentials(&self) -> CredentialFiles {
        /// root's home, as systemd takes it without asking any database.
        const ROOT_HOME: &str = "/root";
        let directory = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let uid = rustix::process::getuid();
        // A system service has no HOME, and pods' services fetch as who has logged in by hand.
        let home = directory("HOME").or_else(|| uid.is_root().then(|| ROOT_HOME.into()));
        CredentialFiles::new(&CredentialEnvironment {
            registry_auth_file: directory("REGISTRY_AUTH_FILE").map(Into::into),
            xdg_runtime_dir: directory("XDG_RUNTIME_DIR").map(Into::into),
            xdg_config_home: directory("XDG_CONFIG_HOME").map(Into::into),
            docker_config: directory("DOCKER_CONFIG").map(Into::into),
            home: home.map(Into::into),
            uid: uid.as_raw(),
        })
    }

    /// Refuses a caller who is not root, and `--user`.
    ///
    /// # Errors
    /// As it says.
    pub fn need_root(&self) -> Result<()> {
        ensure!(
            !self.scope.is_user(),
            "this verb takes root, and cannot be used with skim --user"
        );
        self.check_caller()
    }

    /// Refuses a caller who has no business in this scope: without `--user` all but root, with it
    /// root, whose files would come to be another user's, or the other way round.
    ///
    /// # Errors
    /// As it says.
    pub fn check_caller(&self) -> Result<()> {
        check_caller(self.scope, false)
    }

    /// The service manager that runs pods.
    ///
    /// # Errors
    /// As [`Manager::of_caller`].
    pub fn manager(&self) -> Result<Manager> {
        Manager::of_caller(self.scope)
    }

    /// Whose pods they are, where they are a user's.
    pub fn caller(&self) -> Option<Caller> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let uid = rustix::process::geteuid().as_raw();
        let name = variable("USER").or_else(|| variable("LOGNAME"));
        self.scope.is_user().then(|| Caller {
            uid,
            name: name.unwrap_or_else(|| uid.to_string()),
            home: variable("HOME").unwrap_or_else(|| "/".to_string()),
        })
    }

    /// Refuses a host on which nothing could run.
    ///
    /// # Errors
    /// As it says.
    pub fn need_systemd(&self) -> Result<()> {
        self.manager()?.check_running()
    }

    /// Finds stage1-skim: `--stage1-path`, then `SKIM_STAGE1`, then beside skim's own
    /// executable, then where a package installs it.
    ///
    /// # Errors
    /// Where it is not found, or what is given is no file that can be executed.
    pub fn stage1(&self) -> Result<PathBuf> {
        let named = self
            .stage1_path
            .clone()
            .map(|path| ("--stage1-path", path))
            .or_else(|| Some(("SKIM_STAGE1", std::env::var_os("SKIM_STAGE1")?.into())));
        if let Some((origin, path)) = named {
            if !is_executable(&path) {
                bail!(
                    "stage1 {} is missing or cannot be executed: correct {origin}",
                    path.display()
                );
            }
            return std::path::absolute(path).context("cannot make the path of stage1 absolute");
        }
        let own = std::env::current_exe().context("cannot tell the path of skim itself")?;
        let beside = own.with_file_name("stage1-skim");
        let mut candidates = [beside, PathBuf::from(STAGE1_INSTALLED)].into_iter();
        candidates
            .find(|path| is_executable(path))
            .with_context(|| {
                format!(
                    "stage1-skim is neither beside {} nor {STAGE1_INSTALLED}: install it, or give \
                 --stage1-path",
                    own.display()
                )
            })
    }
}

/// See [`Host::check_caller`]; with `may_look` everybody has business in the system's scope.
fn check_caller(scope: RuntimeScope, may_look: bool) -> Result<()> {
    match (scope, rustix::process::geteuid().is_root()) {
        (RuntimeScope::System, false) if !may_look => bail!(
            "cannot run as unprivileged user: run it as root (sudo), or for pods of your own give \
             --user before the verb (skim --user run …)"
        ),
        (RuntimeScope::User, true) => {
            bail!("--user is for users other than root: leave it out, or run it as the user")
        }
        _ => Ok(()),
    }
}

/// Where images and pods are kept by default.
fn data(scope: RuntimeScope) -> Result<PathBuf> {
    match scope {
        RuntimeScope::System => Ok(STATE.into()),
        RuntimeScope::User => Ok(base_directory("XDG_DATA_HOME", ".local/share")?.join("skim")),
    }
}

/// A user's directory (XDG Base Directory Specification): what `variable` says, unless it is
/// empty or no absolute path, or `default` in the home directory.
fn base_directory(variable: &str, default: &str) -> Result<PathBuf> {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let given = path(variable).filter(|path| path.is_absolute());
    given.map_or_else(
        || {
            let home = path("HOME").filter(|home| home.is_absolute());
            let home = home.with_context(|| format!("neither HOME nor {variable} is set"))?;
            Ok(home.join(default))
        },
        Ok,
    )
}

/// The path without links, for as much of it as there is.
fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let path = std::path::absolute(path)?;
            match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => Ok(real_path(parent)?.join(name)),
                _ => Err(error),
            }
        }
        path => path,
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_the_real_one() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, root.path().join("link")).unwrap();
        for (path, expected) in [
            ("new/skim", real.join("new/skim")),
            ("link/new/skim", real.join("new/skim")),
            ("link/../new", real.parent().unwrap().join("new")),
        ] {
            assert_eq!(
                real_path(&root.path().join(path)).unwrap(),
                expected,
                "{path}"
            );
        }
    }
}
