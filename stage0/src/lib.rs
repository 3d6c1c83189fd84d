//! The `skim` command: images, the store, and the preparation of pods.
//!
//! - [`cli`]: the command line; `refused`: flags of rkt that it does not have
//! - [`commands`]: one verb each, the only place that prints
//! - [`host`]: what is read of the process and its environment
//! - [`config`]: the directories of the configuration; [`trust`]: which images may be run
//! - [`image`], [`store`]: from an archive to a relocated tree in the store
//! - [`fetch`]: from what a user calls an image to an image in the store
//! - [`pod`]: from a request to a prepared pod; `mounting`: what is mounted for it;
//!   [`overlay`]: an app's rootfs
//! - [`pod_file`]: files from which pods run as services of systemd; [`generator`]: their units
//! - [`service`]: pods that run as services: their versions, updates, rollbacks
//! - [`registry`]: images over the network
//! - [`gc`]: what to take away, and how

pub mod cli;
pub mod commands;
pub mod config;
pub mod fetch;
pub mod gc;
pub mod generator;
pub mod host;
pub mod image;
mod mounting;
pub mod overlay;
pub mod pod;
pub mod pod_file;
pub mod progress;
mod refused;
pub mod registry;
pub mod service;
pub mod store;
pub mod trust;
