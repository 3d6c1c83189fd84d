//! What the holder's child does before it is the app.

use std::convert::Infallible;
use std::ffi::OsString;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities as sets_of, set_capabilities, set_no_new_privs,
};

use crate::execute::execute;
use crate::pod::{AppPlan, Capabilities, Credentials};
use crate::{capabilities, credentials};

const OOM_SCORE_ADJUST: &str = "OOMScoreAdjust";
const NO_NEW_PRIVILEGES: &str = "NoNewPrivileges";

/// What of an app's isolators is applied here.
pub const APPLIED: [&str; 2] = [OOM_SCORE_ADJUST, NO_NEW_PRIVILEGES];

/// Which of an app's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// The app itself.
    App,
    /// What runs before it.
    PreStart,
    /// What runs after it.
    PostStop,
}

/// Becomes a program of the app, in this process, whose environment is the app's. A handler is
/// confined as the app is, and root's, as in a service.
///
/// # Errors
/// Where the kernel refuses something on the way, or the app has no such handler.
pub fn become_app(app: &AppPlan, program: Program) -> Result<Infallible> {
    let holder = getppid();
    let root = Credentials::default();
    let (exec, who) = match program {
        Program::App => (Some(&app.exec), &app.credentials),
        Program::PreStart => (app.pre_start.as_ref(), &root),
        Program::PostStop => (app.post_stop.as_ref(), &root),
    };
    let exec = exec.with_context(|| format!("the app has no such program: {program:?}"))?;
    let setting = |key: &str| {
        let mut settings = app.isolation_settings.iter().rev();
        settings.find(|setting| setting.key == key)
    };
    if let Some(score) = setting(OOM_SCORE_ADJUST) {
        std::fs::write("/proc/self/oom_score_adj", &score.value)
            .with_context(|| format!("cannot set the OOM score to {}", score.value))?;
    }
    let directory = &app.working_directory;
    std::env::set_current_dir(directory)
        .with_context(|| format!("cannot enter the directory {}", directory.display()))?;
    if let Some(confined) = &app.capabilities {
        confine(confined, who.uid == 0).context("cannot confine capabilities")?;
    }
    if *who != root {
        credentials::become_user(who)?;
    }
    if setting(NO_NEW_PRIVILEGES).is_some_and(|setting| setting.value == "yes") {
        set_no_new_privs(true).context("cannot set no_new_privs")?;
    }
    // Whatever ends the holder, ends its app. Only now, as a change of the user takes it back.
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot follow the holder")?;
    ensure!(
        getppid() == holder,
        "the holder is gone: the pod was ended while it started"
    );
    let argv: Vec<_> = exec.argv.iter().map(OsString::from).collect();
    let environment: Vec<_> = std::env::vars_os().collect();
    execute(&exec.path, &argv, &environment)
}

/// As systemd does for `CapabilityBoundingSet=` and `AmbientCapabilities=`: what is dropped is
/// gone once the app is executed.
fn confine(confined: &Capabilities, is_root: bool) -> Result<()> {
    let named = |names: &[String]| capabilities::set(names.iter().map(String::as_str));
    let (kept, is_ambient) = match confined {
        Capabilities::Retain(names) => (named(names)?, !is_root),
        Capabilities::Remove(names) => (CapabilitySet::all() - named(names)?, false),
    };
    capabilities::drop_from_bounding_set(CapabilitySet::all() - kept)?;
    if is_ambient {
        let own = sets_of(None)?;
        set_capabilities(
            None,
            CapabilitySets {
                inheritable: kept,
                ..own
            },
        )?;
        capabilities::raise_ambient(kept)?;
    }
    Ok(())
}
