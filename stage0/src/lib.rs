//! The `skim` command: images, the store, and the preparation of pods.
//!
//! - [`cli`]: the command line; [`commands`]: one verb each, the only place that prints
//! - [`host`]: what is read of the process and its environment
//! - [`config`]: the directories of the configuration; [`trust`]: which images may be run
//! - [`image`], [`store`]: from an archive to a relocated tree in the store
//! - [`fetch`]: from what a user calls an image to an image in the store
//! - [`pod`]: from a request to a prepared pod; [`overlay`]: an app's rootfs
//! - [`registry`]: images over the network
//! - [`gc`]: what to take away, and how

pub mod cli;
pub mod commands;
pub mod config;
pub mod fetch;
pub mod gc;
pub mod host;
pub mod image;
pub mod overlay;
pub mod pod;
pub mod progress;
pub mod registry;
pub mod store;
pub mod trust;
