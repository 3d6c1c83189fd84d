//! The entrypoint `enter`: runs a command out of an app's rootfs with the app's environment.
//!
//! Where the app sees the host there is nothing to enter: the command runs where the caller
//! stands, as the caller, and finds its program in the app's rootfs first. Where the image is
//! the app's root, the command gets the running app's view of the file system, and starts at its
//! root.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::bus::BlockingBus;
use crate::caller;
use crate::execute::execute;
use crate::pod::{AppPlan, Root};
use crate::pod_dir::PodDir;
use crate::scope::Manager;

/// Variables of the caller's that a command on a terminal cannot do without.
const ALWAYS_INHERITED: [&str; 2] = ["TERM", "COLORTERM"];

/// What runs when no command is given: the first that the image has.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// Replaces this process by `command`, or a shell where it is empty, in the app `name`, or the
/// pod's only one.
///
/// # Errors
/// Where there is no such app; where the program is neither in its rootfs nor on the host, or
/// cannot be executed; where the image is the app's root, and the app does not run.
pub fn exec(
    pod: &PodDir,
    name: Option<&str>,
    command: &[OsString],
    inherit_env: bool,
) -> Result<Infallible> {
    let app = pod.app(name)?;
    let rootfs = match app.root {
        Root::Host => app.rootfs.as_path(),
        Root::Image => {
            enter_root(pod, &pod.units.service(&app.name))
                .with_context(|| format!("cannot enter the app {}", app.name))?;
            Path::new("/")
        }
    };
    let environment = environment(app, std::env::vars_os(), inherit_env);
    let name = match command.first() {
        Some(name) => name.clone(),
        None => shell(rootfs),
    };
    let search_path = environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, value)| value.as_os_str());
    let program = find_program(rootfs, &name, search_path)?;
    let name = match Path::new(&name).is_absolute() {
        true => program.clone().into_os_string(),
        false => name,
    };
    let rest = command.iter().skip(1).cloned();
    let argv: Vec<_> = [name].into_iter().chain(rest).collect();
    execute(&program, &argv, &environment)
}

/// Takes on the mount namespace and the root of a service's main process (setns(2)), for the
/// calling thread.
fn enter_root(pod: &PodDir, service: &str) -> Result<()> {
    let systemd = BlockingBus::connect(&Manager::of_caller(pod.plan.scope)?)?;
    let pid = systemd.main_pid(service)?.context("it does not run")?;
    let open = |name: &str, flags: OFlags| {
        let path = format!("/proc/{pid}/{name}");
        let file = rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty());
        file.with_context(|| format!("cannot open {path}"))
    };
    let mounts = open("ns/mnt", OFlags::RDONLY)?;
    let root = open("root", OFlags::PATH | OFlags::DIRECTORY)?;
    // Had it ended before, its number could be another's by now.
    ensure!(systemd.main_pid(service)? == Some(pid), "it has just ended");
    // A thread that shares its root with others, as with those of the connection to the bus,
    // cannot change its mount namespace.
    unshare(CloneFlags::CLONE_FS).context("cannot take leave of other threads")?;
    move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))
        .context("cannot enter its mount namespace")?;
    rustix::process::fchdir(&root)
        .and_then(|()| rustix::process::chroot("."))
        .context("cannot change to its root")
}

/// The environment of a command in the app. Pure.
///
/// With `inherit`, the caller's variables lie beneath those that the image or the user set, but
/// above skim's own defaults, so that `HOME` is the caller's. `PATH` is always the app's, and what
/// only the caller itself was told ([`caller::is_own`]) is passed on to nobody.
pub fn environment(
    app: &AppPlan,
    caller: impl Iterator<Item = (OsString, OsString)>,
    inherit: bool,
) -> Vec<(OsString, OsString)> {
    let is_set = |name: &OsStr, also_defaults: bool| {
        let mut variables = app.environment.iter();
        variables.any(|own| OsStr::new(&own.name) == name && (also_defaults || !own.default))
    };
    let mut environment: Vec<(OsString, OsString)> = caller
        .filter(|(name, _)| {
            let always = ALWAYS_INHERITED.iter().any(|kept| name == kept);
            let inherited = always || (inherit && !caller::is_own(name));
            name != "PATH" && inherited && !is_set(name, false)
        })
        .collect();
    for variable in &app.environment {
        let taken = environment
            .iter()
            .any(|(name, _)| name.as_os_str() == OsStr::new(&variable.name));
        if !taken {
            environment.push((variable.name.clone().into(), variable.value.clone().into()));
        }
    }
    environment
}

fn shell(rootfs: &Path) -> OsString {
    let has = |shell: &&&str| rootfs.join(&shell[1..]).exists();
    SHELLS.iter().find(has).unwrap_or(&"/bin/sh").into()
}

/// An absolute name is looked for in the rootfs, then on the host; a bare one in the app's
/// `PATH`; any other is relative to the working directory.
fn find_program(rootfs: &Path, name: &OsStr, search_path: Option<&OsStr>) -> Result<PathBuf> {
    let path = Path::new(name);
    if let Ok(inside) = path.strip_prefix("/") {
        let inside = rootfs.join(inside);
        return Ok(if inside.exists() { inside } else { path.into() });
    }
    if name.as_bytes().contains(&b'/') {
        return Ok(path.into());
    }
    match which::which_in(name, search_path, "/") {
        Ok(program) => Ok(program),
        Err(_) => bail!(
            "unable to find {name:?} in {:?}",
            search_path.unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::EnvVar;

    fn app() -> AppPlan {
        let variable = |name: &str, value: &str, default| EnvVar {
            name: name.into(),
            value: value.into(),
            default,
        };
        AppPlan {
            environment: vec![
                variable("PATH", "/r/bin:/bin", true),
                variable("HOME", "/root", true),
                variable("MODE", "image", false),
            ],
            ..AppPlan::example("a")
        }
    }

    fn merged(inherit: bool) -> Vec<(String, String)> {
        let caller = [
            ("PATH", "/caller"),
            ("HOME", "/home/me"),
            ("MODE", "mine"),
            ("DOCKER_HOST", "x"),
            ("TERM", "vt100"),
            ("NOTIFY_SOCKET", "/run/caller"),
            ("SKIM_VOLUME_DATA", "/caller"),
        ];
        let caller = caller.map(|(name, value)| (name.into(), value.into()));
        let mut merged: Vec<_> = environment(&app(), caller.into_iter(), inherit)
            .into_iter()
            .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap()))
            .collect();
        merged.sort();
        merged
    }

    #[test]
    fn by_default_the_environment_is_the_apps() {
        let expected = [
            ("HOME", "/root"),
            ("MODE", "image"),
            ("PATH", "/r/bin:/bin"),
            ("TERM", "vt100"),
        ];
        assert_eq!(merged(false), expected.map(|(n, v)| (n.into(), v.into())));
    }

    #[test]
    fn the_callers_lies_beneath_the_images_and_above_defaults() {
        let expected = [
            ("DOCKER_HOST", "x"),
            ("HOME", "/home/me"),
            ("MODE", "image"),
            ("PATH", "/r/bin:/bin"),
            ("TERM", "vt100"),
        ];
        assert_eq!(merged(true), expected.map(|(n, v)| (n.into(), v.into())));
    }

    #[test]
    fn programs_come_from_the_rootfs_first() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("bin")).unwrap();
        std::fs::copy("/bin/true", root.path().join("bin/true")).unwrap();
        let find = |name: &str, path: &str| {
            find_program(root.path(), OsStr::new(name), Some(OsStr::new(path)))
        };
        let inside = root.path().join("bin/true");
        let search = format!("{}:/bin", root.path().join("bin").display());
        assert_eq!(find("/bin/true", "").unwrap(), inside);
        assert_eq!(find("true", &search).unwrap(), inside);
        assert_eq!(find("/bin/false", "").unwrap(), Path::new("/bin/false"));
        assert_eq!(find("./x", "").unwrap(), Path::new("./x"));
        assert!(find("no-such-program", &search).is_err());
    }
}
