//! Images: from an archive to a relocated tree in the store.
//!
//! - [`reference`]: what a user may call an image by
//! - [`id`], [`name`]: image IDs, AC Identifiers and AC Names
//! - [`manifest`]: the appc image manifest
//! - [`archive`]: a tar stream as bounded entries, its digest taken on the way
//! - [`aci`]: the rules of an appc image, applied to such a stream
//! - [`unpack`]: entries become files beneath a directory descriptor
//! - [`blob`]: digests, and runs of bytes in files
//! - [`oci`]: OCI images and where they are found
//! - [`appc`]: a manifest written as appc has it
//! - [`whitelist`]: what an appc image is cut down to
//! - [`relocate`]: an unpacked tree is made to run from a path that is not `/`
//! - [`hints`]: what interpreters of such a tree have to be told in their environment

pub mod aci;
pub mod appc;
pub mod archive;
pub mod blob;
pub mod hints;
pub mod id;
pub mod limits;
pub mod manifest;
pub mod name;
pub mod oci;
pub mod reference;
pub mod relocate;
pub mod unpack;
pub mod whitelist;

#[cfg(test)]
pub(crate) mod testing;
