//! The decompression of an archive: the input is the whole file.

use std::fs::File;
use std::io::{Read, Result as IoResult, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Result;
use rustix::fs::MemfdFlags;
use skim::image::archive::ArchiveReader;
use skim::image::archive::compression::Decoder;
use skim::image::archive::pipeline::{self, Algorithm, Source};
use skim::image::blob::Blob;
use skim::image::limits::Limits;
use skim::progress::Silent;

use super::check_error;

/// What is read of an archive at most.
const EXPANDED_MAX: u64 = 128 << 10;

/// Uncompresses the input by itself, and on its way to a reader of the archive.
pub fn run(file: &[u8]) -> Result<()> {
    let whole = uncompress(file);
    let pieces = uncompress(Pieces(file));
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => assert!(whole == pieces, "how it arrives makes a difference"),
        (Err(_), Err(_)) => (),
        // An error near the bound may come before it or not.
        (Ok(bytes), Err(_)) | (Err(_), Ok(bytes)) if bytes.len() as u64 > EXPANDED_MAX => (),
        _ => panic!("how it arrives makes a difference: {whole:?} {pieces:?}"),
    }
    pipe(file, whole.as_deref().ok());
    whole.map(drop)
}

/// All bytes, up to a bound.
fn uncompress(file: impl Read) -> Result<Vec<u8>> {
    let uncompress = || {
        let mut bytes = Vec::new();
        let decoder = Decoder::new(file)?;
        decoder.take(EXPANDED_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let result = uncompress();
    check_error(&result);
    result
}

/// The same through the pipeline of an import; `expected` are the bytes, if they can be read.
fn pipe(file: &[u8], expected: Option<&[u8]>) {
    let limits = Limits {
        expanded_bytes: EXPANDED_MAX,
        entries: 1000,
        ..Limits::default()
    };
    let blob = blob(file);
    let source = Source {
        blob: &blob,
        copy: None,
        algorithm: Algorithm::Sha256,
        limit: EXPANDED_MAX,
        bar: &Silent,
    };
    let outcome = pipeline::run(&source, |pipe| {
        let mut archive = ArchiveReader::new(pipe, limits);
        while archive.next_entry()?.is_some() {}
        archive.finish()
    });
    check_error(&outcome);
    if let Ok((_, measured)) = outcome {
        let expected = expected.expect("what the pipeline reads can be read");
        assert_eq!(measured.bytes, expected.len() as u64);
    }
}

/// A file in memory with this content.
pub fn blob(content: &[u8]) -> Blob {
    let file: OwnedFd = rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(file);
    file.write_all(content).unwrap();
    Blob {
        file: Arc::new(file),
        offset: 0,
        size: content.len() as u64,
    }
}

/// Gives a few bytes at a time.
struct Pieces<'a>(&'a [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let most = buffer.len().min(7);
        self.0.read(&mut buffer[..most])
    }
}
