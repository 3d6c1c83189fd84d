//! Whom an app runs as: stage1-skim itself changes to the user, in place, and executes the app.
//! What it needed for that and the app is not to have goes on the way.
//!
//! `User=` will not do: systemd looks the number up in the host's account database, fails with
//! 217/USER where it is missing, as most images' users are, and where it is not, adds the groups
//! that the host's account of that number is in.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_ambient_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::pod::{Credentials, ExecPlan};
use crate::{capabilities, seccomp};

/// The entrypoint that [`wrap`] calls.
pub const ENTRYPOINT: &str = "exec";

/// What changes between systemd's start of a program and the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transition {
    /// Whom the program runs as.
    pub who: Credentials,
    /// Capabilities dropped from the bounding set (see [`capabilities`]).
    pub drop: Vec<String>,
    /// System calls that are blocked from then on (see [`seccomp`]).
    pub block: Vec<String>,
    /// The error that they fail with; without one, they kill the process.
    pub block_errno: Option<String>,
}

impl Transition {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--uid={}", self.who.uid),
            format!("--gid={}", self.who.gid),
        ];
        let groups = self.who.supplementary_gids.iter();
        arguments.extend(groups.map(|gid| format!("--supplementary-gid={gid}")));
        arguments.extend(self.drop.iter().map(|name| format!("--drop={name}")));
        arguments.extend(self.block.iter().map(|name| format!("--block={name}")));
        let errno = self.block_errno.iter();
        arguments.extend(errno.map(|name| format!("--block-errno={name}")));
        arguments
    }
}

/// The command that runs `command` after the transition. Pure.
///
/// # Errors
/// Where the path of the program is not UTF-8.
pub fn wrap(transition: &Transition, stage1: &Path, command: &ExecPlan) -> Result<ExecPlan> {
    let path = command.path.to_str();
    let path = path.with_context(|| format!("the path {:?} is not UTF-8", command.path))?;
    let mut argv = vec!["stage1-skim".to_string(), ENTRYPOINT.to_string()];
    argv.extend(transition.arguments());
    argv.extend(["--".to_string(), path.to_string()]);
    argv.extend(command.argv.iter().cloned());
    Ok(ExecPlan {
        path: stage1.to_path_buf(),
        argv,
    })
}

/// Becomes `program` after the transition, with the arguments `argv`, `argv[0]` first.
///
/// As systemd does for a service with `User=`, ambient capabilities stay. `SIGPIPE` stays
/// ignored, systemd's own default (`IgnoreSIGPIPE=`).
///
/// The calls change the calling thread only, so this must come before any other is started.
///
/// # Errors
/// Where the kernel refuses the change or the execution.
pub fn exec(transition: &Transition, program: &Path, argv: &[String]) -> Result<Infallible> {
    let surplus = capabilities::set(transition.drop.iter().map(String::as_str))?;
    capabilities::drop_from_bounding_set(surplus)?;
    // systemd has started this as root, without further groups: for that nothing is to be done,
    // and the capabilities to do it may be missing.
    if transition.who != Credentials::default() {
        become_user(&transition.who)?;
    }
    seccomp::install(&transition.block, transition.block_errno.as_deref())?;
    let failed = || format!("cannot execute {}", program.display());
    let path = CString::new(program.as_os_str().as_bytes()).with_context(failed)?;
    let argv: Result<Vec<_>, _> = argv
        .iter()
        .map(|word| CString::new(word.as_str()))
        .collect();
    nix::unistd::execv(&path, &argv.with_context(failed)?).with_context(failed)
}

/// Becomes `who`. Ambient capabilities stay.
///
/// # Errors
/// Where the kernel refuses.
pub fn become_user(who: &Credentials) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    let groups = who.supplementary_gids.iter().copied();
    let groups: Vec<_> = groups.map(Gid::from_raw).collect();
    let ambient = ambient_capabilities();
    set_thread_groups(&groups).context("cannot set the supplementary groups")?;
    set_thread_res_gid(gid, gid, gid).context("cannot set the group")?;
    set_keep_capabilities(!ambient.is_empty()).context("cannot keep capabilities")?;
    set_thread_res_uid(uid, uid, uid).context("cannot set the user")?;
    raise(ambient, uid).context("cannot raise the ambient capabilities")
}

fn ambient_capabilities() -> CapabilitySet {
    let mut ambient = CapabilitySet::empty();
    for capability in CapabilitySet::all().iter() {
        // A capability that this kernel does not have is in no set.
        if capability_is_in_ambient_set(capability).unwrap_or(false) {
            ambient |= capability;
        }
    }
    ambient
}

/// A change of the user empties the ambient set; what was kept is raised again
/// (capabilities(7)). The inheritable set outlives the change: where systemd 257 is the PID 1 of a
/// container, services get one of its own.
fn raise(ambient: CapabilitySet, uid: Uid) -> rustix::io::Result<()> {
    if ambient.is_empty() && uid.is_root() {
        return Ok(());
    }
    let sets = CapabilitySets {
        effective: ambient,
        permitted: ambient,
        inheritable: ambient,
    };
    set_capabilities(None, sets)?;
    capabilities::raise_ambient(ambient)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> ExecPlan {
        ExecPlan {
            path: "/r/bin/x".into(),
            argv: vec!["x".into(), "--uid=0".into()],
        }
    }

    #[test]
    fn the_apps_arguments_stay_apart() {
        let transition = Transition {
            who: Credentials {
                uid: 33,
                gid: 34,
                supplementary_gids: vec![5, 6],
            },
            drop: vec!["CAP_SETUID".into()],
            block: vec!["openat".into(), "seccomp".into()],
            block_errno: Some("EPERM".into()),
        };
        let wrapped = wrap(&transition, Path::new("/s"), &command()).unwrap();
        assert_eq!(wrapped.path, Path::new("/s"));
        assert_eq!(
            wrapped.argv.join(" "),
            "stage1-skim exec --uid=33 --gid=34 --supplementary-gid=5 --supplementary-gid=6 \
             --drop=CAP_SETUID --block=openat --block=seccomp --block-errno=EPERM \
             -- /r/bin/x x --uid=0"
        );
    }
}
