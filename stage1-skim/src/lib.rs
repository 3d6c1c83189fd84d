//! The stage1 of skim: what turns a prepared pod into systemd units, holds it, and takes it away.
//!
//! What computes, and touches nothing:
//! - [`pod`]: the contract with stage0, plain data
//! - [`names`]: the names of a pod's units and files
//! - [`escape`]: the one place where values become unit text
//! - [`directives`]: which directives are known, and which are skim's own
//! - [`unit_file`]: the syntax of unit files
//! - [`unit`], [`units`], [`order`]: unit text as data, and a pod's unit files
//! - [`image_unit`]: what an app's service has from a unit file of its image
//! - [`sandbox`]: what confines an app; [`capabilities`], [`seccomp`] (which acts, too): its parts
//! - [`progress`]: how far each app has come, from what systemd says; [`summary`]: in a line
//! - [`scope`]: whose service manager runs a pod
//! - [`caller`]: what of the caller's environment no app inherits
//! - [`diagnosis`]: why an app has failed; only its `look` reads files
//!
//! What acts:
//! - [`pod_dir`]: the pod's directory, [`write`](mod@write): unit files on disk, [`mounts`]
//! - [`systemd`]: what is asked of systemd; [`bus`]: the same over D-Bus
//! - [`run`]: the start of a pod; [`holder`]: what holds it from then on; [`output`], [`report`],
//!   [`journal`], [`notify`](mod@notify), [`signals`], [`stdio`], [`timer`], [`logging`] serve them
//! - [`relay`]: the apps' output where the user runs the pod
//! - [`interactive`]: a pod whose one app has the caller's terminal
//! - [`credentials`]: from root to an app's user; [`directories`]: what is made for that user
//! - [`stop`], [`gc`] (with [`cgroup`]), [`enter`]: the other entrypoints
//! - [`retire`]: what `--rm` adds, [`remove`]: a tree deleted without crossing a mount

pub mod bus;
pub mod caller;
pub mod capabilities;
pub mod cgroup;
pub mod credentials;
pub mod diagnosis;
pub mod directives;
pub mod directories;
pub mod enter;
pub mod escape;
mod execute;
pub mod gc;
pub mod holder;
pub mod image_unit;
pub mod interactive;
pub mod journal;
pub mod logging;
pub mod mounts;
pub mod names;
pub mod notify;
pub mod order;
pub mod output;
pub mod pod;
pub mod pod_dir;
pub mod progress;
pub mod relay;
pub mod remove;
pub mod report;
pub mod retire;
pub mod run;
pub mod sandbox;
pub mod scope;
pub mod seccomp;
pub mod signals;
pub mod sockets;
pub mod stdio;
pub mod stop;
pub mod summary;
pub mod systemd;
pub mod timer;
pub mod unit;
pub mod unit_file;
pub mod units;
pub mod write;
