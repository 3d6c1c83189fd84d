//! Pods: from what the user asks for to a prepared pod, and the pods that there are.
//!
//! - [`request`]: what was asked for; [`plan`]: what stage1 will do
//! - [`graph`], [`environment`]: pure parts of the plan; [`tree`], [`user`]: look-ups in an image
//! - [`state`]: a pod's states; [`directory`]: pods on disk; [`info`]: what is known of one
//! - [`uses`]: which images pods use

pub mod directory;
pub mod environment;
pub mod graph;
pub mod info;
pub mod plan;
pub mod request;
pub mod state;
pub mod tree;
pub mod user;
pub mod uses;
pub mod working_directory;
