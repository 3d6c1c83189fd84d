//! What the tests stand on: the machine, pods, images, and a look at the host's state.

pub(crate) mod archive;
pub(crate) mod authority;
pub(crate) mod cgroup;
pub(crate) mod command;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod journal;
pub(crate) mod mounts;
pub(crate) mod pod;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod store;
pub(crate) mod systemd;
pub(crate) mod terminal;
pub(crate) mod trace;
pub(crate) mod tree;
pub(crate) mod user;
