//! How an archive is compressed, told by its first bytes.

use std::io::{BufReader, Chain, Cursor, Read};

use anyhow::{Context, Result, bail};
use flate2::bufread::MultiGzDecoder;

/// How many bytes tell the kinds apart: a tar archive has its magic at 257.
const HEAD: usize = 262;
/// Bytes that are read from the file at once.
const BUFFER: usize = 128 << 10;

/// An archive's file with what was read of it to look at it.
type Source<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// The compressions that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
}

/// Tells by the first bytes of a file how it is compressed.
fn detect(head: &[u8]) -> Result<Compression> {
    const READ: &str = "tar archives are read, plain or compressed by gzip";
    let kind = match head {
        [0x1f, 0x8b, ..] => return Ok(Compression::Gzip),
        [] => bail!("it is empty; {READ}"),
        _ if head.get(257..262) == Some(b"ustar") => return Ok(Compression::None),
        [b'B', b'Z', b'h', ..] => "bzip2",
        [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        _ => bail!("unknown image filetype: {READ}"),
    };
    bail!("it is compressed by {kind}, which is not supported; {READ}")
}

/// The uncompressed bytes of an archive.
pub enum Decoder<R: Read> {
    /// A plain archive.
    Plain(Source<R>),
    /// A gzip file of one member or several.
    Gzip(Box<MultiGzDecoder<Source<R>>>),
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes of `input` and chooses the decoder.
    pub fn new(mut input: R) -> Result<Self> {
        let mut head = Vec::with_capacity(HEAD);
        input
            .by_ref()
            .take(HEAD as u64)
            .read_to_end(&mut head)
            .context("cannot read it")?;
        let compression = detect(&head)?;
        let source = BufReader::with_capacity(BUFFER, Cursor::new(head).chain(input));
        Ok(match compression {
            Compression::None => Self::Plain(source),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(source))),
        })
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(head: &[u8]) -> String {
        detect(head).unwrap_err().to_string()
    }

    #[test]
    fn kinds_are_told_by_magic() {
        let mut tar = vec![0; 257];
        tar.extend(b"ustar\0");
        assert_eq!(detect(&tar).unwrap(), Compression::None);
        assert_eq!(detect(&[0x1f, 0x8b, 8]).unwrap(), Compression::Gzip);
        assert!(message(b"BZh9").contains("bzip2"));
        assert!(message(b"\xfd7zXZ\0").contains("xz"));
        assert!(message(&[0x28, 0xb5, 0x2f, 0xfd]).contains("zstd"));
        assert!(message(b"").contains("empty"));
        assert!(message(b"#!/bin/sh").contains("unknown image filetype"));
    }
}
