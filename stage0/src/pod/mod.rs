//! Pods: from what the user asks for to a prepared pod, and the pods that there are.
//!
//! - [`manifest`]: pods as data; [`request`]: what was asked for; [`plan`] and [`app`]: what stage1 will do
//! - [`graph`], [`environment`], [`isolators`], [`volume`]: pure parts of the plan
//! - [`tree`], [`user`], [`programs`]: look-ups in an image; [`unit`]: its own unit files
//! - [`appc`]: a pod as a pod manifest; [`export`]: what an app has left, as an image
//! - [`state`]: a pod's states; [`directory`]: pods on disk; [`info`]: what is known of one
//! - [`working_directory`], [`root`]: what is made in an app's rootfs
//! - [`stage1`]: whether the stage1 can start the apps
//! - [`wait`](mod@wait): until a pod is up, or has exited; [`uses`]: which images pods use

pub mod app;
pub mod appc;
pub mod directory;
pub mod environment;
pub mod export;
pub mod graph;
pub mod info;
pub mod isolators;
pub mod manifest;
pub mod plan;
pub mod programs;
pub mod request;
pub mod root;
pub mod stage1;
pub mod state;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod unit;
pub mod user;
pub mod user_scope;
pub mod uses;
pub mod volume;
pub mod wait;
pub mod working_directory;
