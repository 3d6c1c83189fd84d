//! The uncompressed archive: bounded, and measured while it is read.

use std::io::{self, Read};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha512};

use crate::image::id::ImageId;

/// What a whole uncompressed archive came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The ID that its SHA-512 makes.
    pub id: ImageId,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A stream whose digest is taken on the way.
pub struct Stream<R> {
    inner: R,
    hash: Sha512,
    bytes: u64,
    limit: u64,
}

impl<R: Read> Stream<R> {
    /// A stream that may yield `limit` bytes.
    pub fn new(inner: R, limit: u64) -> Self {
        Self {
            inner,
            hash: Sha512::new(),
            bytes: 0,
            limit,
        }
    }

    /// Reads what is left to the very end: the padding of an archive counts for its ID.
    pub fn finish(mut self, buffer: &mut [u8]) -> Result<Digest> {
        while self.read(buffer).context("cannot read the archive's end")? > 0 {}
        Ok(Digest {
            id: ImageId::from_digest(&self.hash.finalize().into()),
            bytes: self.bytes,
        })
    }
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                result => break result?,
            }
        };
        self.bytes += length as u64;
        if self.bytes > self.limit {
            let limit = self.limit;
            return Err(io::Error::other(format!(
                "the archive is larger than {limit} bytes when uncompressed"
            )));
        }
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_covers_all_bytes_read_or_not() {
        let mut stream = Stream::new(&b"abc"[..], 3);
        stream.read_exact(&mut [0]).unwrap();
        let digest = stream.finish(&mut [0; 2]).unwrap();
        assert_eq!(digest.bytes, 3);
        // FIPS 180-2, appendix C.1.
        assert!(
            digest
                .id
                .as_str()
                .starts_with("sha512-ddaf35a193617abacc417349ae204131")
        );
    }

    #[test]
    fn limit_is_kept() {
        let stream = Stream::new(io::repeat(0), 1000);
        let error = stream.finish(&mut [0; 512]).unwrap_err();
        assert!(format!("{error:#}").contains("larger than 1000 bytes"));
    }
}
