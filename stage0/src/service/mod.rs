//! Pods that run as services of systemd: which images they run from, and how those change.
//!
//! - [`versions`]: which versions there are, which one runs, and what a start, an update and a
//!   rollback make of them: pure
//! - [`directory`]: where they are kept, and who may change them
//! - [`forgotten`]: when the versions of a service go whose pod file is gone: pure
//! - [`images`]: from what a pod file says to the images of a version
//! - [`judge`]: whether a version that was switched to has come up: pure
//! - [`switch`]: from one version to another, and back where it does not come up
//! - [`running`]: the pod that a service runs now

pub mod directory;
pub mod forgotten;
pub mod images;
pub mod judge;
pub mod running;
pub mod switch;
pub mod versions;
