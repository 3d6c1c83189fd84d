//! The contract between stage0 and stage1: a pod that is prepared and can be run.
//!
//! stage0 writes a [`PodPlan`] as JSON to the file `pod` in the pod's directory; every stage1
//! entrypoint reads it from there. It is plain data: every path in it is a path of the host,
//! every user is a number, and nothing is left to look up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::scope::RuntimeScope;
use crate::unit::Setting;

/// The version of the contract that this library speaks.
pub const CONTRACT_VERSION: u32 = 3;

/// A pod, ready to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    /// Version of this contract, [`CONTRACT_VERSION`] when written by this release.
    pub version: u32,
    /// The pod's UUID in its usual form with dashes, lower case.
    pub uuid: String,
    /// The apps, in the order in which the user named them.
    pub apps: Vec<AppPlan>,
    /// The volumes that the apps' mounts refer to.
    #[serde(default)]
    pub volumes: Vec<VolumePlan>,
    /// Settings of the pod's slice, which hold for all its apps together.
    #[serde(default)]
    pub slice_settings: Vec<Setting>,
    /// The annotations of the pod manifest.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Whether the pod's one app runs in the scope, with the standard streams and the terminal
    /// of whoever runs the pod, instead of as a service.
    #[serde(default)]
    pub interactive: bool,
    /// Whose service manager runs it.
    #[serde(default, skip_serializing_if = "is_system")]
    pub scope: RuntimeScope,
    /// The service of systemd that the pod runs as, where a unit of the host starts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServicePlan>,
    /// The pod as appc's pod manifest, for `skim cat-manifest` and nobody else.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub manifest: Value,
}

fn is_system(scope: &RuntimeScope) -> bool {
    *scope == RuntimeScope::System
}

/// The service of systemd that a pod runs as: its main process is the pod's holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// The name of the pod file: `docker` of `docker.skim`.
    pub name: String,
    /// The unit: `docker.service`.
    pub unit: String,
    /// The units that it starts after, and the apps with it.
    #[serde(default)]
    pub after: Vec<String>,
}

/// A volume of a pod (appc spec, "pods", `volumes`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePlan {
    /// Its name, an AC Name, unique in the pod.
    pub name: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub kind: VolumeKind,
    /// Where its files are: the host's own directory or file, or one in the pod's directory.
    pub source: PathBuf,
    /// Whether no app may write to it.
    pub read_only: bool,
}

/// Where a volume comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum VolumeKind {
    /// A directory or file of the host, which stays when the pod goes.
    Host {
        /// Whether what is mounted beneath the source comes along.
        recursive: bool,
    },
    /// An empty directory, made with the pod and removed with it.
    Empty {
        /// Permission bits, as chmod(2).
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// A directory in an image's tree that the volume is filled from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fill: Option<PathBuf>,
    },
}

/// A volume bound into an app's rootfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// The volume's name.
    pub volume: String,
    /// Where it belongs in the app's rootfs: an absolute path of the image, links resolved as
    /// far as the image has it.
    pub target: PathBuf,
    /// Whether this app may not write to it.
    pub read_only: bool,
}

/// A port that systemd listens on for an app (appc spec, "ports", `socketActivated`): the app
/// gets the sockets as sd_listen_fds(3) has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketPlan {
    /// The port's name, an AC Name.
    pub name: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// The first port.
    pub port: u16,
    /// How many ports from there on.
    pub count: u16,
    /// What the socket's unit has from one of the image's, in place of ports: unit text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// `ListenStream=`.
    Tcp,
    /// `ListenDatagram=`.
    Udp,
}

/// What an app takes for `/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Root {
    /// The host's root: no chroot.
    #[default]
    Host,
    /// The app's rootfs (`RootDirectory=`).
    Image,
}

/// Capabilities that an app is confined to (capabilities(7)), by name: `CAP_NET_ADMIN`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capabilities {
    /// These and no others; an app that is not root's has them, too.
    Retain(Vec<String>),
    /// All but these.
    Remove(Vec<String>),
}

/// One app of a pod: what its service runs, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPlan {
    /// The app's name: an AC Name, unique in the pod.
    pub name: String,
    /// The image that it runs from.
    pub image: ImagePlan,
    /// Where the app's overlay is mounted; in [`RuntimeScope::User`] a copy of the image's tree, or
    /// the tree itself.
    pub rootfs: PathBuf,
    /// The pipe that takes the app's output to the holder, where it does not go to the journal by
    /// itself (see [`crate::relay`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<PathBuf>,
    /// What the service executes.
    pub exec: ExecPlan,
    /// Run as root before the app starts (appc event handler `pre-start`).
    pub pre_start: Option<ExecPlan>,
    /// Run as root after the app has ended (appc event handler `post-stop`).
    pub post_stop: Option<ExecPlan>,
    /// The app's working directory, a path of the host.
    pub working_directory: PathBuf,
    /// Numeric user and groups; the default in [`RuntimeScope::User`], where whoever runs the pod
    /// stays what they are.
    pub credentials: Credentials,
    /// The app's environment, names unique, in the order in which the unit lists them.
    pub environment: Vec<EnvVar>,
    /// Names of the apps that must be up before this one starts.
    pub requires: Vec<String>,
    /// Whether the app says by sd_notify(3) when it is ready (`Type=notify`).
    pub notify: bool,
    /// What the app takes for `/`. `exec`, `working_directory` and the environment hold paths
    /// as seen from there.
    #[serde(default)]
    pub root: Root,
    /// Whether the app's rootfs cannot be written to; its volumes can.
    #[serde(default)]
    pub read_only_rootfs: bool,
    /// The volumes bound into its rootfs, outer ones before those within them.
    #[serde(default)]
    pub mounts: Vec<MountPlan>,
    /// The ports that systemd listens on for it.
    #[serde(default)]
    pub sockets: Vec<SocketPlan>,
    /// What its capabilities are confined to; `None` leaves it all of them.
    #[serde(default)]
    pub capabilities: Option<Capabilities>,
    /// Settings that its isolators and its flags stand for.
    #[serde(default)]
    pub isolation_settings: Vec<Setting>,
    /// What the user notes about it (`--annotation`, the pod manifest's).
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// What the user calls it by (`--label`).
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What its service has from a unit file of its image (`--unit`): it then runs the commands
    /// of that, and not `exec` and the event handlers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitPlan>,
    /// Settings from the image's `skim.dropin`, checked.
    pub image_settings: Vec<Setting>,
    /// Settings from the user's `--property`, checked; they win over the image's.
    pub user_settings: Vec<Setting>,
}

/// An app's service as a unit file of its image has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitPlan {
    /// The unit's name in the image, such as `docker.service`.
    pub name: String,
    /// What it executes, in the unit's order.
    pub commands: Vec<CommandPlan>,
    /// Its other settings; those of `skim.dropin` and of the user win over them.
    pub settings: Vec<Setting>,
    /// Directories that systemd would make for the unit's user (`RuntimeDirectory=` and its
    /// like), where the app is not root: systemd does not know that user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<DirectoryPlan>,
    /// The user's variables, where they have to win over the unit's `EnvironmentFile=`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<EnvVar>,
}

/// A command of a unit file (systemd.service(5), "Command lines").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandPlan {
    /// The directive, such as `ExecStartPre`.
    pub key: String,
    /// The program, and its arguments as unit text: unquoted, specifiers and variables not
    /// expanded.
    pub exec: ExecPlan,
    /// Whether systemd expands no variables in it (`:`).
    #[serde(default)]
    pub keeps_variables: bool,
    /// Whether it may fail (`-`).
    #[serde(default)]
    pub may_fail: bool,
    /// As whom it runs.
    #[serde(default)]
    pub privileges: Privileges,
}

/// As whom a command of a unit file runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privileges {
    /// The app's user, confined as the app.
    #[default]
    User,
    /// Root, confined as the app (`!`).
    Root,
    /// Root, not confined (`+`).
    Full,
}

/// A directory that is made for an app before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryPlan {
    /// Where it is on the host.
    pub path: PathBuf,
    /// Permission bits, as chmod(2).
    pub mode: u32,
    /// Whether it goes when the app has ended.
    pub is_removed: bool,
}

/// Which image an app runs from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePlan {
    /// The image's name, an AC Identifier such as `example.com/docker`.
    pub name: String,
    /// The image's `version` label, where it has one.
    pub version: Option<String>,
    /// The image's ID in the store.
    pub id: String,
    /// The image's unpacked tree in the store: the lower directory of the app's overlay.
    pub tree: PathBuf,
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecPlan {
    /// The file to execute: a path of the host.
    pub path: PathBuf,
    /// The arguments, `argv[0]` first.
    pub argv: Vec<String>,
}

/// Whom a program runs as, by number: the image's `/etc/passwd` is not the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User ID.
    pub uid: u32,
    /// Primary group ID.
    pub gid: u32,
    /// Supplementary group IDs.
    pub supplementary_gids: Vec<u32>,
}

/// One variable of an app's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// The variable's name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// True where neither the image nor the user set it: skim's own default, which
    /// `enter --inherit-env` lets the caller's environment replace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
}

#[cfg(test)]
impl PodPlan {
    /// A pod for unit tests to vary.
    pub(crate) fn example(apps: &[AppPlan]) -> Self {
        Self {
            version: CONTRACT_VERSION,
            uuid: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".into(),
            apps: apps.to_vec(),
            volumes: Vec::new(),
            slice_settings: Vec::new(),
            annotations: BTreeMap::new(),
            interactive: false,
            scope: RuntimeScope::System,
            service: None,
            manifest: Value::Null,
        }
    }
}

#[cfg(test)]
impl AppPlan {
    /// An app for unit tests to vary: root's, out of an image of no further qualities.
    pub(crate) fn example(name: &str) -> Self {
        let program = format!("/r/{name}");
        Self {
            name: name.into(),
            image: ImagePlan {
                name: format!("example.com/{name}"),
                version: None,
                id: "sha512-0".into(),
                tree: "/tree".into(),
            },
            rootfs: "/r".into(),
            output: None,
            exec: ExecPlan {
                path: program.into(),
                argv: vec![name.into()],
            },
            pre_start: None,
            post_stop: None,
            working_directory: "/r".into(),
            credentials: Credentials::default(),
            environment: Vec::new(),
            requires: Vec::new(),
            notify: false,
            root: Root::Host,
            read_only_rootfs: false,
            mounts: Vec::new(),
            sockets: Vec::new(),
            capabilities: None,
            isolation_settings: Vec::new(),
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            unit: None,
            image_settings: Vec::new(),
            user_settings: Vec::new(),
        }
    }
}
