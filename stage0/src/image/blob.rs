//! A run of bytes in a file: a layer, an image's file, a part of an archive.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// What every SHA-256 digest of the OCI specifications starts with.
const ALGORITHM: &str = "sha256:";

/// A SHA-256 digest, as the OCI specifications write it: `sha256:` and 64 lower-case
/// hexadecimal digits (image-spec, descriptor.md, "Digests").
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest with these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(content).into())
    }

    /// Parses a digest.
    ///
    /// # Errors
    /// Where it is none, or one of another algorithm.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = text.strip_prefix(ALGORITHM).unwrap_or_default().as_bytes();
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        let mut whole = digits.len() == 64;
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => whole = false,
            }
        }
        ensure!(
            whole,
            "{text:?} is no digest that can be checked: {ALGORITHM} is followed by 64 lower-case hexadecimal digits"
        );
        Ok(Self(bytes))
    }

    /// Its digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest as tables and progress show it: 12 digits.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{ALGORITHM}{}", self.hex())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl TryFrom<String> for Sha256 {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

/// Bytes of a file, read by position: several readers do not disturb each other.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The file.
    pub file: Arc<File>,
    /// Where the bytes start.
    pub offset: u64,
    /// How many they are.
    pub size: u64,
}

impl Blob {
    /// A reader of the bytes, from their beginning.
    pub fn reader(&self) -> BlobReader {
        BlobReader {
            blob: self.clone(),
            done: 0,
        }
    }

    /// All of the bytes, if they are at most `limit`.
    ///
    /// # Errors
    /// Where there are more, or the file ends before.
    pub fn read(&self, limit: u64) -> Result<Vec<u8>> {
        let size = self.size;
        ensure!(
            size <= limit,
            "it has {size} bytes; at most {limit} are read"
        );
        let mut content = vec![0; usize::try_from(size)?];
        self.file.read_exact_at(&mut content, self.offset)?;
        Ok(content)
    }
}

/// Reads a [`Blob`].
#[derive(Debug)]
pub struct BlobReader {
    blob: Blob,
    done: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.blob.size - self.done).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let at = self.blob.offset + self.done;
        let length = self.blob.file.read_at(&mut buffer[..most], at)?;
        if length == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file is shorter than it was",
            ));
        }
        self.done += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn digests_come_back_as_written() {
        // FIPS 180-2, appendix B.1.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256::of(b"abc").to_string(), abc);
        assert_eq!(Sha256::parse(abc).unwrap(), Sha256::of(b"abc"));
        assert_eq!(Sha256::of(b"abc").short(), "ba7816bf8f01");
        for bad in ["", "sha256:", &abc[..70], &abc[7..], &abc.to_uppercase()] {
            assert!(Sha256::parse(bad).is_err(), "{bad}");
        }
        assert!(Sha256::parse(&format!("{abc}0")).is_err());
        assert!(Sha256::parse(&abc.replace("ba", "ä")).is_err());
    }

    #[test]
    fn a_blob_is_its_part_of_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let file = Arc::new(file);
        let blob = |offset, size| Blob {
            file: Arc::clone(&file),
            offset,
            size,
        };
        let mut text = String::new();
        blob(3, 4).reader().read_to_string(&mut text).unwrap();
        assert_eq!(text, "3456");
        assert_eq!(blob(8, 2).read(2).unwrap(), b"89");
        assert!(blob(0, 3).read(2).is_err());
        let error = blob(8, 4).reader().read_to_end(&mut Vec::new());
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
