//! The flags of one app, and what they ask for.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use stage1_skim::escape;
use stage1_skim::pod::Root;
use stage1_skim::unit::Setting;

use super::environment_file;
use crate::image::manifest::Isolator;
use crate::image::name;
use crate::image::oci::signal;
use crate::pod::isolators;
use crate::pod::request::{AppRequest, EnvironmentRequest};
use crate::pod::unit::{self, Asked};
use crate::pod::volume::{self, MountRequest, Volume};

/// What stands above these flags in the help.
const HEADING: &str = "Flags of an app, after its image";

/// Those that may stand before the first image, too, and then hold for all apps.
pub const COMMON: [&str; 5] = ["inherit_env", "set_env", "set_env_file", "volume", "mount"];

/// The flags of one app.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = HEADING)]
pub struct AppFlags {
    /// Call the app so [default: the last part of the image's name]
    #[arg(long, value_name = "APP", value_parser = app_name)]
    pub name: Option<String>,
    /// Run this instead of the image's command line
    #[arg(long, value_name = "PROGRAM")]
    pub exec: Option<String>,
    /// Take the app's service from this unit file in the image, as docker.service (lib/systemd/system)
    #[arg(long, value_name = "UNIT", value_parser = unit_name, conflicts_with = "exec")]
    pub unit: Option<String>,
    /// Set a variable; wins over the image's. Before the first image: of every app
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub set_env: Vec<(String, String)>,
    /// Set the variables in a file of lines NAME=VALUE; lines that begin with # or ; are comments
    #[arg(long, value_name = "FILE")]
    pub set_env_file: Vec<PathBuf>,
    /// Pass the caller's variables on; the image's win over them
    #[arg(long)]
    pub inherit_env: bool,
    /// Set a variable of this app alone; wins over --set-env
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub environment: Vec<(String, String)>,
    /// Have a volume: NAME,kind=host,source=/PATH[,readOnly=true][,recursive=false] or
    /// NAME,kind=empty[,mode=0755][,uid=0][,gid=0]
    #[arg(long, value_name = "VOLUME", value_parser = parse_volume)]
    pub volume: Vec<Volume>,
    /// Mount a volume in the app's rootfs: volume=NAME,target=/PATH
    #[arg(long, value_name = "MOUNT", value_parser = parse_mount)]
    pub mount: Vec<MountRequest>,
    /// Keep the app from writing to its rootfs, volumes apart
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub readonly_rootfs: Option<bool>,
    /// Start the app when these are up, instead of the one before it; empty: at once
    #[arg(long, value_name = "APP,…")]
    pub requires: Option<Vec<String>>,
    /// Set a directive of the app's service, as systemd-run -p
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = property)]
    pub property: Vec<Setting>,
    /// The app says by sd_notify(3) when it is up (Type=notify), or not
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub notify: Option<bool>,
    /// When systemd starts the app again (Restart=); the pod then lives on
    #[arg(long, value_enum, value_name = "WHEN")]
    pub restart: Option<Restart>,
    /// The signal that ends the app
    #[arg(long, value_name = "SIGNAL", value_parser = stop_signal)]
    pub stop_signal: Option<String>,
    /// Run as this user of the image: a name, a number, or a /path whose owner is meant
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Run as this group of the image, likewise
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Supplementary groups, by number
    #[arg(long, value_name = "GID,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(..i64::from(u32::MAX)))]
    pub supplementary_gids: Option<Vec<u32>>,
    /// Run in this directory of the image
    #[arg(long, value_name = "DIR", value_parser = working_directory)]
    pub working_dir: Option<String>,
    /// Limit the memory: 512M, 1Gi (MemoryMax=)
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    pub memory: Option<Isolator>,
    /// Limit the processors: 500m is half of one (CPUQuota=)
    #[arg(long, value_name = "CPUS", value_parser = cpu)]
    pub cpu: Option<Isolator>,
    /// The app's share of busy processors, 2 to 262144 (CPUWeight=)
    #[arg(long, value_name = "SHARES", value_parser = cpu_shares)]
    pub cpu_shares: Option<Isolator>,
    /// Whom the kernel kills first when memory is short, -1000 to 1000 (OOMScoreAdjust=)
    #[arg(long, value_name = "SCORE", alias = "oom-score-adjust", allow_hyphen_values = true, value_parser = oom_score_adj)]
    pub oom_score_adj: Option<Isolator>,
    /// Leave the app these capabilities only
    #[arg(long, value_name = "CAP,…", value_parser = caps_retain, conflicts_with = "caps_remove")]
    pub caps_retain: Option<Isolator>,
    /// Take these capabilities from the app
    #[arg(long, value_name = "CAP,…", value_parser = caps_remove)]
    pub caps_remove: Option<Isolator>,
    /// Allow or refuse system calls: mode=retain|remove[,errno=EPERM],NAME,… (SystemCallFilter=)
    #[arg(long, value_name = "FILTER", value_parser = seccomp)]
    pub seccomp: Option<Isolator>,
    /// Keep the app from gaining privileges, as through set-user-ID programs
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_new_privileges: Option<bool>,
    /// What the app takes for /: the host's root, or its image (for what cannot be moved)
    #[arg(long, value_enum, value_name = "ROOT")]
    pub root: Option<RootChoice>,
    /// Note something about the app, for skim list and cat-manifest
    #[arg(long, alias = "user-annotation", value_name = "NAME=VALUE", value_parser = note)]
    pub annotation: Vec<(String, String)>,
    /// Give the app a label, for skim list
    #[arg(long, alias = "user-label", value_name = "NAME=VALUE", value_parser = note)]
    pub label: Vec<(String, String)>,
}

/// A value of `Restart=` (systemd.service(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Restart {
    /// Never.
    No,
    /// After a clean exit.
    OnSuccess,
    /// After anything else.
    OnFailure,
    /// After a signal, a timeout or the watchdog.
    OnAbnormal,
    /// After the watchdog.
    OnWatchdog,
    /// After a signal.
    OnAbort,
    /// After everything.
    Always,
}

/// What an app takes for `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RootChoice {
    /// The host's root.
    Host,
    /// The app's rootfs.
    Image,
}

impl AppFlags {
    /// What these flags ask for; `common` are those that stand before the first image, and
    /// `caller` the caller's variables. Environment files are read.
    ///
    /// # Errors
    /// Where one cannot be read, or is not what it should be.
    pub fn apply(
        self,
        request: AppRequest,
        common: &Self,
        caller: &[(String, String)],
    ) -> Result<AppRequest> {
        let environment = self.environment(common, caller)?;
        let isolators = self.isolators();
        let mounts = common.mount.iter().cloned().chain(self.mount);
        Ok(AppRequest {
            name: self.name,
            exec: self.exec,
            unit: self.unit.map(|name| Asked {
                name,
                arguments: Vec::new(),
            }),
            user: self.user,
            group: self.group,
            supplementary_gids: self.supplementary_gids,
            working_directory: self.working_dir,
            environment,
            mounts: mounts.collect(),
            read_only_rootfs: self.readonly_rootfs.unwrap_or(request.read_only_rootfs),
            isolators,
            stop_signal: self.stop_signal,
            annotations: self.annotation.into_iter().collect(),
            labels: self.label.into_iter().collect(),
            requires: self.requires.map(|names| app_names(&names)),
            notify: self.notify,
            restart: self.restart.and_then(word),
            root: match self.root {
                Some(RootChoice::Image) => Root::Image,
                Some(RootChoice::Host) | None => Root::Host,
            },
            settings: self.property,
            ..request
        })
    }

    fn environment(
        &self,
        common: &Self,
        caller: &[(String, String)],
    ) -> Result<EnvironmentRequest> {
        let inherits = self.inherit_env || common.inherit_env;
        let mut files = Vec::new();
        for file in common.set_env_file.iter().chain(&self.set_env_file) {
            files.extend(environment_file::read(file)?);
        }
        let set = common.set_env.iter().chain(&self.set_env);
        Ok(EnvironmentRequest {
            inherited: if inherits {
                caller.to_vec()
            } else {
                Vec::new()
            },
            files,
            set: set.cloned().collect(),
            app: self.environment.clone(),
        })
    }

    fn isolators(&self) -> Vec<Isolator> {
        let privileges = self.no_new_privileges.map(isolators::no_new_privileges);
        let given = [
            &self.memory,
            &self.cpu,
            &self.cpu_shares,
            &self.oom_score_adj,
            &self.caps_retain,
            &self.caps_remove,
            &self.seccomp,
            &privileges,
        ];
        given.into_iter().flatten().cloned().collect()
    }
}

/// The names in values such as `a,b` and `c`.
fn app_names(values: &[String]) -> Vec<String> {
    let names = values.iter().flat_map(|names| names.split([' ', ',']));
    names
        .filter(|name| !name.is_empty())
        .map(str::to_string)
        .collect()
}

/// The word that stands for a value on the command line.
fn word(value: impl ValueEnum) -> Option<String> {
    Some(value.to_possible_value()?.get_name().to_string())
}

fn app_name(text: &str) -> Result<String, String> {
    one_line(name::check_name(text).map(|()| text.to_string()))
}

fn unit_name(text: &str) -> Result<String, String> {
    one_line(unit::find::service_name(text))
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = pair(text)?;
    escape::environment(&name, &value).map_err(|error| error.to_string())?;
    Ok((name, value))
}

fn note(text: &str) -> Result<(String, String), String> {
    let (name, value) = pair(text)?;
    one_line(name::check_identifier(&name))?;
    Ok((name, value))
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_string(), value.to_string())),
        None => Err(format!(
            "`{}` is not of the form NAME=VALUE",
            text.escape_debug()
        )),
    }
}

fn property(text: &str) -> Result<Setting, String> {
    one_line(Setting::parse(text))
}

fn stop_signal(text: &str) -> Result<String, String> {
    one_line(signal::normalise(text))
}

fn working_directory(text: &str) -> Result<String, String> {
    match text.starts_with('/') {
        true => Ok(text.to_string()),
        false => Err(format!("{text:?} is not an absolute path of the image")),
    }
}

fn parse_volume(text: &str) -> Result<Volume, String> {
    one_line(volume::parse_volume(text))
}

fn parse_mount(text: &str) -> Result<MountRequest, String> {
    one_line(volume::parse_mount(text))
}

fn memory(text: &str) -> Result<Isolator, String> {
    one_line(isolators::memory(text))
}

fn cpu(text: &str) -> Result<Isolator, String> {
    one_line(isolators::cpu(text))
}

fn cpu_shares(text: &str) -> Result<Isolator, String> {
    one_line(isolators::cpu_shares(text))
}

fn oom_score_adj(text: &str) -> Result<Isolator, String> {
    one_line(isolators::oom_score_adj(text))
}

fn caps_retain(text: &str) -> Result<Isolator, String> {
    one_line(isolators::caps_retain(text))
}

fn caps_remove(text: &str) -> Result<Isolator, String> {
    one_line(isolators::caps_remove(text))
}

fn seccomp(text: &str) -> Result<Isolator, String> {
    one_line(isolators::seccomp(text))
}

/// clap prints no more than an error's own words.
fn one_line<T>(outcome: Result<T>) -> Result<T, String> {
    outcome.map_err(|error| format!("{error:#}"))
}
