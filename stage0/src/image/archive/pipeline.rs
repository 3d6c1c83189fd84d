//! A compressed archive on its way to its reader: read, digested, kept and uncompressed by one
//! thread, the uncompressed bytes digested by another, while the caller's takes them in.
//!
//! What is under way is bounded, whatever the archive's size.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow};
use sha2::{Digest as _, Sha256 as Hash256, Sha512 as Hash512};

use super::compression::{Compression, Decoder};
use crate::image::blob::{Blob, BlobReader, Sha256};
use crate::image::id::ImageId;
use crate::progress::Bar;

/// Bytes that are handed on at once.
const CHUNK: usize = 256 << 10;
/// Chunks that may wait for a reader.
const WAITING: usize = 8;

/// What goes through a pipeline.
pub struct Source<'a> {
    /// The archive, as it is.
    pub blob: &'a Blob,
    /// Where a copy of it is kept.
    pub copy: Option<&'a File>,
    /// Which digest of the uncompressed bytes is wanted.
    pub algorithm: Algorithm,
    /// Most uncompressed bytes.
    pub limit: u64,
    /// Told of the bytes that were read.
    pub bar: &'a dyn Bar,
}

/// A digest of uncompressed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// That of OCI's layers.
    Sha256,
    /// That of appc's images.
    Sha512,
}

/// What an archive came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The digest of the archive as it is.
    pub blob: Sha256,
    /// The digest of the uncompressed bytes.
    pub content: Content,
    /// The number of the uncompressed bytes.
    pub bytes: u64,
}

/// The digest of uncompressed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A layer's DiffID.
    Sha256(Sha256),
    /// An appc image's ID.
    Sha512(ImageId),
}

/// Sends the source through; `work` reads the uncompressed bytes, and what it leaves is read
/// to the end.
///
/// # Errors
/// Where the archive cannot be read or kept, or `work` fails.
pub fn run<T>(
    source: &Source<'_>,
    work: impl FnOnce(&mut Pipe) -> Result<T>,
) -> Result<(T, Measured)> {
    thread::scope(|scope| {
        let (to_reader, from_producer) = sync_channel(WAITING);
        let (to_digest, undigested) = sync_channel(WAITING);
        let algorithm = source.algorithm;
        let digest = scope.spawn(move || digest(algorithm, &undigested));
        let producer = scope.spawn(move || produce(source, &to_reader, &to_digest));
        let mut pipe = Pipe::new(from_producer);
        let done = work(&mut pipe).and_then(|done| {
            pipe.drain().context("cannot read the archive's end")?;
            Ok(done)
        });
        // A producer that still has something to hand on ends when nobody takes it.
        drop(pipe);
        let produced = producer.join().map_err(|_| broken())?;
        let digested = digest.join().map_err(|_| broken())?;
        let done = done?;
        let Produced { blob, bytes, plain } = produced.ok_or_else(broken)?;
        let content = match (plain, algorithm) {
            (true, Algorithm::Sha256) => Content::Sha256(blob),
            _ => digested,
        };
        let measured = Measured {
            blob,
            content,
            bytes,
        };
        Ok((done, measured))
    })
}

fn broken() -> anyhow::Error {
    anyhow!("a thread that reads the archive has broken off")
}

/// Uncompressed bytes on their way; their buffer goes back to where it came from.
struct Chunk {
    bytes: Vec<u8>,
    pool: Sender<Vec<u8>>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // The producer may have ended: then the buffer is not used again.
        let _ = self.pool.send(std::mem::take(&mut self.bytes));
    }
}

/// What the producer found.
struct Produced {
    blob: Sha256,
    bytes: u64,
    /// Whether the archive is not compressed.
    plain: bool,
}

/// Reads the source and hands its uncompressed bytes on. `None` where the reader was told of
/// an error, or has gone.
fn produce(
    source: &Source<'_>,
    reader: &SyncSender<io::Result<Arc<Chunk>>>,
    digest: &SyncSender<Arc<Chunk>>,
) -> Option<Produced> {
    let outcome = produce_all(source, |chunk, plain| {
        // What is not compressed has the digest of the archive itself.
        let taken = plain && source.algorithm == Algorithm::Sha256
            || digest.send(Arc::clone(&chunk)).is_ok();
        taken && reader.send(Ok(chunk)).is_ok()
    });
    match outcome {
        Ok(produced) => produced,
        Err(error) => {
            // A reader that has gone has an error of its own.
            let _ = reader.send(Err(error));
            None
        }
    }
}

/// Reads the source to its end; `None` where `hand_on` says that nobody takes any more.
fn produce_all(
    source: &Source<'_>,
    mut hand_on: impl FnMut(Arc<Chunk>, bool) -> bool,
) -> io::Result<Option<Produced>> {
    let mut hash = Hash256::new();
    let raw = Raw {
        source,
        reader: source.blob.reader(),
        hash: &mut hash,
    };
    let mut decoder = Decoder::new(raw).map_err(|error| io::Error::other(format!("{error:#}")))?;
    let plain = decoder.compression() == Compression::None;
    let (pool, used) = channel::<Vec<u8>>();
    let mut total = 0;
    loop {
        let mut bytes = used.try_recv().unwrap_or_default();
        bytes.resize(CHUNK, 0);
        let length = fill(&mut decoder, &mut bytes)?;
        if length == 0 {
            break;
        }
        total += length as u64;
        if total > source.limit {
            let limit = source.limit;
            return Err(io::Error::other(format!(
                "the archive is larger than {limit} bytes when uncompressed"
            )));
        }
        bytes.truncate(length);
        let pool = pool.clone();
        if !hand_on(Arc::new(Chunk { bytes, pool }), plain) {
            return Ok(None);
        }
    }
    drop(decoder);
    Ok(Some(Produced {
        blob: Sha256::new(hash.finalize().into()),
        bytes: total,
        plain,
    }))
}

/// Reads until the buffer is full or nothing is left.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The archive as it is: digested, copied and reported on the way.
struct Raw<'a> {
    source: &'a Source<'a>,
    reader: BlobReader,
    hash: &'a mut Hash256,
}

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        let bytes = &buffer[..length];
        self.hash.update(bytes);
        if let Some(mut copy) = self.source.copy {
            copy.write_all(bytes)?;
        }
        self.source.bar.advance(length as u64);
        Ok(length)
    }
}

/// Takes the digest of all chunks.
fn digest(algorithm: Algorithm, chunks: &Receiver<Arc<Chunk>>) -> Content {
    match algorithm {
        Algorithm::Sha256 => {
            let mut hash = Hash256::new();
            chunks.iter().for_each(|chunk| hash.update(&chunk.bytes));
            Content::Sha256(Sha256::new(hash.finalize().into()))
        }
        Algorithm::Sha512 => {
            let mut hash = Hash512::new();
            chunks.iter().for_each(|chunk| hash.update(&chunk.bytes));
            Content::Sha512(ImageId::from_digest(&hash.finalize().into()))
        }
    }
}

/// The uncompressed bytes, as they arrive.
pub struct Pipe {
    chunks: Receiver<io::Result<Arc<Chunk>>>,
    chunk: Option<Arc<Chunk>>,
    /// How much of the chunk was taken.
    taken: usize,
}

impl Pipe {
    fn new(chunks: Receiver<io::Result<Arc<Chunk>>>) -> Self {
        Self {
            chunks,
            chunk: None,
            taken: 0,
        }
    }

    /// Takes in what is left.
    fn drain(&mut self) -> io::Result<()> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }
}

impl BufRead for Pipe {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let used = |chunk: &Arc<Chunk>| self.taken == chunk.bytes.len();
        if self.chunk.as_ref().is_none_or(used) {
            self.taken = 0;
            // The old one goes back before the wait for the next.
            self.chunk = None;
            self.chunk = self.chunks.recv().ok().transpose()?;
        }
        let chunk = self.chunk.as_ref();
        Ok(chunk.map_or(&[], |chunk| &chunk.bytes[self.taken..]))
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount;
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;
    use crate::image::testing::blob;
    use crate::progress::Silent;

    fn content() -> Vec<u8> {
        let mut content: Vec<_> = (0..40 * CHUNK + 7).map(|at| (at % 251) as u8).collect();
        content[257..262].copy_from_slice(b"ustar");
        content
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn source<'a>(blob: &'a Blob, algorithm: Algorithm) -> Source<'a> {
        Source {
            blob,
            copy: None,
            algorithm,
            limit: u64::MAX,
            bar: &Silent,
        }
    }

    fn read(pipe: &mut Pipe) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        pipe.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn both_digests_are_right_and_the_copy_is_whole() {
        let content = content();
        let packed = gzip(&content);
        for file in [&packed, &content] {
            let blob = blob(file);
            let mut copy = tempfile::tempfile().unwrap();
            let source = Source {
                copy: Some(&copy),
                ..source(&blob, Algorithm::Sha256)
            };
            let (read, measured) = run(&source, read).unwrap();
            assert!(read == content);
            assert_eq!(measured.blob, Sha256::of(file));
            assert_eq!(measured.content, Content::Sha256(Sha256::of(&content)));
            assert_eq!(measured.bytes, content.len() as u64);
            let mut kept = Vec::new();
            copy.rewind().unwrap();
            copy.read_to_end(&mut kept).unwrap();
            assert!(kept == **file);
        }
    }

    #[test]
    fn what_is_not_read_is_digested_all_the_same() {
        let content = content();
        let blob = blob(&gzip(&content));
        let ((), measured) = run(&source(&blob, Algorithm::Sha512), |_| Ok(())).unwrap();
        let whole = ImageId::from_digest(&Hash512::digest(&content).into());
        assert_eq!(measured.content, Content::Sha512(whole));
    }

    #[test]
    fn an_error_of_the_reader_ends_it() {
        let blob = blob(&gzip(&content()));
        let outcome = run(&source(&blob, Algorithm::Sha256), |pipe| {
            pipe.read_exact(&mut [0; 10])?;
            anyhow::bail!("enough")
        });
        let error: anyhow::Error = outcome.map(|(read, _): ((), _)| read).unwrap_err();
        assert_eq!(error.to_string(), "enough");
    }

    #[test]
    fn errors_of_the_archive_reach_the_reader() {
        let packed = gzip(&content());
        let cut = blob(&packed[..packed.len() - 9]);
        assert!(run(&source(&cut, Algorithm::Sha256), read).is_err());
        let other = blob(b"something else");
        let error = run(&source(&other, Algorithm::Sha256), read).unwrap_err();
        assert!(format!("{error:#}").contains("unknown image filetype"));
    }

    #[test]
    fn the_limit_is_kept() {
        let blob = blob(&gzip(&content()));
        let small = Source {
            limit: CHUNK as u64,
            ..source(&blob, Algorithm::Sha256)
        };
        let error = run(&small, read).unwrap_err();
        assert!(format!("{error:#}").contains("larger than"), "{error:#}");
    }
}
