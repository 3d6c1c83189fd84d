//! Where blobs are put that come over the network, and resumed from.

use std::fs::File;

use anyhow::Result;

use crate::image::blob::{Blob, Sha256};

/// Where blobs are put. The store is one.
pub trait BlobSink {
    /// Gives the blob, or else the place for its bytes, which nobody else writes to then. Where
    /// another process does at the moment, it is waited for.
    ///
    /// Several are claimed one after the other, in the order of their digests: two processes
    /// that need the same ones do not wait for each other in a circle.
    ///
    /// # Errors
    /// Where the place cannot be made, read or locked.
    fn claim(&self, digest: &Sha256) -> Result<Claim>;

    /// Takes over a blob that is whole, its size and digest checked.
    ///
    /// # Errors
    /// Where it cannot be put where it belongs.
    fn complete(&self, partial: PartialBlob) -> Result<Blob>;
}

/// What there is of a blob.
#[derive(Debug)]
pub enum Claim {
    /// All of it.
    Whole(Blob),
    /// Some of it, or nothing yet.
    Partial(PartialBlob),
}

/// A blob that is being downloaded. Dropped, it stays as it is and is resumed another time.
#[derive(Debug)]
pub struct PartialBlob {
    /// The digest that the blob must have.
    pub digest: Sha256,
    /// Its beginning, as long as the file is; open to be read and written, and locked.
    pub file: File,
}
