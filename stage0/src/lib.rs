//! The `skim` command: images, the store, and the preparation of pods.
//!
//! - [`cli`]: the command line; [`commands`]: one verb each, the only place that prints
//! - [`host`]: what is read of the process and its environment
//! - [`image`], [`store`]: from an archive to a relocated tree in the store
//! - [`pod`]: from a request to a prepared pod; [`overlay`]: an app's rootfs
//! - [`gc`]: what to take away, and how

pub mod cli;
pub mod commands;
pub mod gc;
pub mod host;
pub mod image;
pub mod overlay;
pub mod pod;
pub mod progress;
pub mod store;
