//! How an archive is compressed, told by its first bytes.

use std::io::{self, BufReader, Chain, Cursor, Read};

use anyhow::{Context, Result, bail};
use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

/// How many bytes tell the kinds apart: a tar archive has its magic at 257.
const HEAD: usize = 262;
/// Bytes that are read from the file at once.
const BUFFER: usize = 256 << 10;
/// Most memory that an xz decoder may take: enough for `xz -8`, whose dictionary has 32 MiB.
const XZ_MEMORY: u64 = 36 << 20;
/// The largest window of a zstd frame, as a power of two: 32 MiB, that of `zstd --ultra -20`.
const ZSTD_WINDOW_LOG: u32 = 25;

/// An archive's file with what was read of it to look at it.
type Source<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// The compressions that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None: a plain tar archive.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// Tells by the first bytes of a file how it is compressed.
    fn detect(head: &[u8]) -> Result<Self> {
        const READ: &str = "tar archives are read, plain or compressed by gzip, bzip2, xz or zstd";
        Ok(match head {
            [] => bail!("it is empty; {READ}"),
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Self::Xz,
            // A frame, or one that readers are to skip, which some writers put first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ if head.get(257..262) == Some(b"ustar") => Self::None,
            // An archive without any entry: the diff of a layer that changes nothing.
            _ if head.len() == HEAD && head.iter().all(|byte| *byte == 0) => Self::None,
            _ => bail!("unknown image filetype: {READ}"),
        })
    }

    /// Tells how a file is compressed.
    ///
    /// # Errors
    /// Where it is no archive.
    pub fn of(input: impl Read) -> Result<Self> {
        Self::detect(&head(input)?)
    }
}

/// The first bytes of a file.
fn head(input: impl Read) -> Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    input
        .take(HEAD as u64)
        .read_to_end(&mut head)
        .context("cannot read it")?;
    Ok(head)
}

/// The uncompressed bytes of an archive; those after the end of the compressed stream are an
/// error.
pub enum Decoder<R: Read> {
    /// A plain archive.
    Plain(Chain<Cursor<Vec<u8>>, R>),
    /// A gzip file of one member or several.
    Gzip(Box<MultiGzDecoder<Source<R>>>),
    /// A bzip2 file of one stream or several.
    Bzip2(Box<MultiBzDecoder<Source<R>>>),
    /// An xz file of one stream or several.
    Xz(Box<XzDecoder<Source<R>>>),
    /// A zstd file of one frame or several.
    Zstd(Box<ZstdDecoder<'static, Source<R>>>),
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes of `input` and chooses the decoder.
    ///
    /// # Errors
    /// Where they are none of an archive's.
    pub fn new(mut input: R) -> Result<Self> {
        let head = head(&mut input)?;
        let compression = Compression::detect(&head)?;
        let source = Cursor::new(head).chain(input);
        let buffered = |source| BufReader::with_capacity(BUFFER, source);
        Ok(match compression {
            Compression::None => Self::Plain(source),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(buffered(source)))),
            Compression::Bzip2 => Self::Bzip2(Box::new(MultiBzDecoder::new(buffered(source)))),
            Compression::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)
                    .context("cannot make an xz decoder")?;
                Self::Xz(Box::new(XzDecoder::new_stream(buffered(source), stream)))
            }
            Compression::Zstd => {
                let mut decoder = ZstdDecoder::with_buffer(buffered(source))
                    .context("cannot make a zstd decoder")?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG)
                    .context("cannot make a zstd decoder")?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }

    /// How the archive is compressed.
    pub fn compression(&self) -> Compression {
        match self {
            Self::Plain(_) => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
            Self::Bzip2(_) => Compression::Bzip2,
            Self::Xz(_) => Compression::Xz,
            Self::Zstd(_) => Compression::Zstd,
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Bzip2(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer).map_err(explain_xz),
            Self::Zstd(decoder) => decoder.read(buffer).map_err(explain_zstd),
        }
    }
}

/// Says what to do with a file that asks for too much memory.
fn explain_xz(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(liblzma::stream::Error::MemLimit) => io::Error::other(
            "its dictionary is larger than 32 MiB; compress it anew with at most xz -8",
        ),
        _ => error,
    }
}

fn explain_zstd(error: io::Error) -> io::Error {
    if error.to_string().contains("requires too much memory") {
        return io::Error::other(
            "its window is larger than 32 MiB; compress it anew with at most zstd --ultra -20",
        );
    }
    error
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn kinds_are_told_by_magic() {
        let mut tar = vec![0; 257];
        tar.extend(b"ustar\0");
        assert_eq!(Compression::detect(&tar).unwrap(), Compression::None);
        assert_eq!(Compression::detect(&[0; HEAD]).unwrap(), Compression::None);
        for (head, kind) in [
            (&[0x1f, 0x8b, 8][..], Compression::Gzip),
            (b"BZh9", Compression::Bzip2),
            (b"\xfd7zXZ\0", Compression::Xz),
            (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
            (&[0x50, 0x2a, 0x4d, 0x18], Compression::Zstd),
        ] {
            assert_eq!(Compression::detect(head).unwrap(), kind);
        }
        let message = |head: &[u8]| Compression::detect(head).unwrap_err().to_string();
        assert!(message(b"").contains("empty"));
        assert!(message(b"#!/bin/sh").contains("unknown image filetype"));
        assert!(message(&[0; 10]).contains("unknown image filetype"));
    }

    /// Bytes that look like an archive's, twice as long as a decoder's buffer.
    fn content() -> Vec<u8> {
        let mut content: Vec<_> = (0..2 * BUFFER).map(|at| (at % 251) as u8).collect();
        content[257..262].copy_from_slice(b"ustar");
        content
    }

    fn decoded(file: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut decoder = Decoder::new(file).map_err(io::Error::other)?;
        decoder.read_to_end(&mut content)?;
        Ok(content)
    }

    fn compressed(kind: Compression, content: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        match kind {
            Compression::None => file.extend(content),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(&mut file, Default::default());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap();
            }
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(&mut file, Default::default());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap();
            }
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(&mut file, 1);
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap();
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(&mut file, 1).unwrap();
                encoder.include_checksum(true).unwrap();
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap();
            }
        }
        file
    }

    const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Zstd,
    ];

    #[test]
    fn every_kind_comes_back_whole_in_one_part_or_two() {
        let content = content();
        for kind in ALL {
            let mut file = compressed(kind, &content[..1000]);
            file.extend(compressed(kind, &content[1000..]));
            assert_eq!(Decoder::new(&*file).unwrap().compression(), kind);
            assert!(decoded(&file).unwrap() == content, "{kind:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let content = content();
        for kind in &ALL[1..] {
            let file = compressed(*kind, &content);
            assert!(decoded(&file[..file.len() - 1]).is_err(), "{kind:?} cut");
            let mut changed = file.clone();
            let middle = file.len() / 2;
            changed[middle] ^= 0x55;
            assert!(decoded(&changed).is_err(), "{kind:?} changed");
            let mut longer = file.clone();
            longer.extend(b"garbage at the end");
            assert!(decoded(&longer).is_err(), "{kind:?} longer");
        }
    }

    #[test]
    fn what_asks_for_too_much_memory_is_refused() {
        let mut file = Vec::new();
        let mut options = liblzma::stream::LzmaOptions::new_preset(9).unwrap();
        options.dict_size(64 << 20);
        let mut filters = liblzma::stream::Filters::new();
        filters.lzma2(&options);
        let check = liblzma::stream::Check::Crc32;
        let stream = liblzma::stream::Stream::new_stream_encoder(&filters, check).unwrap();
        let mut encoder = liblzma::write::XzEncoder::new_stream(&mut file, stream);
        encoder.write_all(&content()).unwrap();
        encoder.finish().unwrap();
        let error = decoded(&file).unwrap_err().to_string();
        assert!(error.contains("xz -8"), "{error}");

        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&content()).unwrap();
        let error = decoded(&encoder.finish().unwrap()).unwrap_err().to_string();
        assert!(error.contains("zstd --ultra -20"), "{error}");
    }
}
