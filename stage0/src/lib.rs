//! The `skim` command: images, the store, and the preparation of pods.

pub mod image;
pub mod store;
