//! Images: from an archive to a relocated tree in the store.

pub mod relocate;
