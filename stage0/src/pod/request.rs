//! What the user asks for, app by app: flags parsed, images found, nothing looked up yet.

use std::collections::BTreeMap;

use stage1_skim::pod::{Root, ServicePlan};
use stage1_skim::unit::Setting;

use super::unit::Asked;
use super::user_scope::Caller;
use super::volume::{MountRequest, Volume};
use crate::image::manifest::{App, Isolator};
use crate::store::Image;

/// A pod, as asked for.
#[derive(Debug, Default)]
pub struct PodRequest {
    /// Its apps, in the user's order.
    pub apps: Vec<AppRequest>,
    /// `--volume`, or the pod manifest's.
    pub volumes: Vec<Volume>,
    /// The pod manifest's isolators, for all apps together.
    pub isolators: Vec<Isolator>,
    /// The pod manifest's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whose pod it is, where it is a user's.
    pub caller: Option<Caller>,
    /// `--interactive`.
    pub interactive: bool,
    /// The service of systemd that the pod runs as.
    pub service: Option<ServicePlan>,
    /// Settings of the pod's slice; they win over the isolators.
    pub slice_settings: Vec<Setting>,
}

/// One app, as asked for.
#[derive(Debug)]
pub struct AppRequest {
    /// The image that it runs from.
    pub image: Image,
    /// `--name`.
    pub name: Option<String>,
    /// The pod manifest's app section, which replaces the image's.
    pub app: Option<App>,
    /// `--exec`, which replaces the image's whole command line.
    pub exec: Option<String>,
    /// `--unit`: the unit of its image that its service is taken from.
    pub unit: Option<Asked>,
    /// What stands after `--`: appended to the command line.
    pub arguments: Vec<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `--group`.
    pub group: Option<String>,
    /// `--supplementary-gids`.
    pub supplementary_gids: Option<Vec<u32>>,
    /// `--working-dir`.
    pub working_directory: Option<String>,
    /// The environment that the user asks for.
    pub environment: EnvironmentRequest,
    /// `--mount`, or the pod manifest's; a target that the image's mount points name is given
    /// by that.
    pub mounts: Vec<MountRequest>,
    /// `--readonly-rootfs`.
    pub read_only_rootfs: bool,
    /// What `--memory`, `--cpu`, `--caps-retain` and their like stand for; one replaces the
    /// image's of the same name.
    pub isolators: Vec<Isolator>,
    /// `--stop-signal`, as systemd spells it.
    pub stop_signal: Option<String>,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--requires`, which replaces the image's.
    pub requires: Option<Vec<String>>,
    /// `--notify`.
    pub notify: Option<bool>,
    /// `--restart`, a value of `Restart=`.
    pub restart: Option<String>,
    /// `--root`.
    pub root: Root,
    /// `--property`, or the pod manifest's drop-in.
    pub settings: Vec<Setting>,
    /// Whether the image's drop-in does not count.
    pub replaces_dropin: bool,
}

/// Variables that the user asks for. Those of a later field win over those of an earlier one,
/// the image's standing between the first and the second; within a field the last one wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentRequest {
    /// `--inherit-env`: the caller's.
    pub inherited: Vec<(String, String)>,
    /// `--set-env-file`.
    pub files: Vec<(String, String)>,
    /// `--set-env`.
    pub set: Vec<(String, String)>,
    /// `--environment`.
    pub app: Vec<(String, String)>,
}

impl AppRequest {
    /// What the image says, and nothing else.
    pub fn new(image: Image) -> Self {
        Self {
            image,
            name: None,
            app: None,
            exec: None,
            unit: None,
            arguments: Vec::new(),
            user: None,
            group: None,
            supplementary_gids: None,
            working_directory: None,
            environment: EnvironmentRequest::default(),
            mounts: Vec::new(),
            read_only_rootfs: false,
            isolators: Vec::new(),
            stop_signal: None,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            requires: None,
            notify: None,
            restart: None,
            root: Root::Host,
            settings: Vec::new(),
            replaces_dropin: false,
        }
    }
}
