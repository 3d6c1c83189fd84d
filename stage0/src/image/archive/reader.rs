//! The loop over an archive's headers.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use tar::{EntryType, Header};

use super::compression::Decoder;
use super::entry::{Entry, Kind};
use super::header::{self, BLOCK, Extensions};
use super::pax::{self, Pax};
use super::sparse;
use super::stream::{Digest, Stream};
use crate::image::limits::Limits;

/// Bytes that are skipped or drained at once.
const BUFFER: usize = 64 << 10;

/// Reads an archive from its beginning to its end, one entry at a time.
pub struct ArchiveReader<R: Read> {
    stream: Stream<Decoder<R>>,
    limits: Limits,
    entries: u64,
    /// Bytes of all files so far, holes included.
    file_bytes: u64,
    /// Data of the present entry that was not read yet.
    left: u64,
    /// What follows that data up to the next block.
    padding: u64,
    at_end: bool,
    buffer: Vec<u8>,
}

impl<R: Read> ArchiveReader<R> {
    /// Starts to read an archive; tells its compression by its first bytes.
    pub fn new(input: R, limits: Limits) -> Result<Self> {
        Ok(Self {
            stream: Stream::new(Decoder::new(input)?, limits.expanded_bytes),
            limits,
            entries: 0,
            file_bytes: 0,
            left: 0,
            padding: 0,
            at_end: false,
            buffer: vec![0; BUFFER],
        })
    }

    /// The next entry, `None` at the archive's end mark. What was not read of the present
    /// entry's data is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        while !self.at_end {
            self.skip()?;
            let header = self.header()?;
            if header::is_zero(&header) {
                ensure!(
                    extensions.is_empty(),
                    "the archive ends in the middle of an entry"
                );
                self.at_end = true;
                break;
            }
            header::check(&header)?;
            self.count_entry()?;
            if !self.extension(&header, &mut extensions)? {
                return self.entry(&header, extensions).map(Some);
            }
        }
        Ok(None)
    }

    /// Reads data of the present entry; 0 at its end.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let length = self
            .stream
            .read(&mut buffer[..most])
            .context("cannot read the archive")?;
        ensure!(
            length > 0,
            "the archive is cut short in the middle of a file"
        );
        self.left -= length as u64;
        Ok(length)
    }

    /// Reads on to the end of the stream, and gives the digest of the whole.
    pub fn finish(mut self) -> Result<Digest> {
        ensure!(self.at_end, "the archive was not read to its end mark");
        self.stream.finish(&mut self.buffer)
    }

    /// Counts a header; those of extensions count too, as they cost as much.
    fn count_entry(&mut self) -> Result<()> {
        self.entries += 1;
        let most = self.limits.entries;
        ensure!(
            self.entries <= most,
            "the archive has more than {most} entries"
        );
        Ok(())
    }

    /// Takes a header that describes the next entry; false for an entry's own header.
    fn extension(&mut self, header: &Header, extensions: &mut Extensions) -> Result<bool> {
        let slot = match header.entry_type() {
            EntryType::GNULongName => &mut extensions.long_name,
            EntryType::GNULongLink => &mut extensions.long_link,
            EntryType::XHeader => {
                ensure!(extensions.pax.is_none(), "an entry has two PAX headers");
                extensions.pax = Some(Pax::parse(&self.extension_data(header)?)?);
                return Ok(true);
            }
            EntryType::XGlobalHeader => {
                pax::check_global(&self.extension_data(header)?)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        ensure!(
            slot.is_none(),
            "an entry has two long names of the same kind"
        );
        let mut name = self.extension_data(header)?;
        name.truncate(
            name.iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1),
        );
        *slot = Some(name);
        Ok(true)
    }

    /// Reads what an extension's header announces, if it is not too much.
    fn extension_data(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header.entry_size().context("the size of an extension")?;
        let most = self.limits.extension;
        ensure!(
            size <= most,
            "an extension of {size} bytes precedes an entry; at most {most} are read"
        );
        self.set_data(size);
        let mut data = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.read_data(&mut chunk)? {
                0 => return Ok(data),
                length => data.extend_from_slice(&chunk[..length]),
            }
        }
    }

    /// Makes an entry of its header.
    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry> {
        let (mut entry, stored) = header::decode(header, extensions)?;
        let most = self.limits.name;
        if entry.name.len() >= most {
            bail!(
                "an entry's name has {} bytes; at most {} are possible",
                entry.name.len(),
                most - 1
            );
        }
        let shown = entry.name.escape_ascii().to_string();
        if let Kind::File { size, segments } = &mut entry.kind {
            if header.entry_type() == EntryType::GNUSparse {
                let most = self.limits.sparse_segments;
                (*size, *segments) = sparse::read_map(header, stored, most, &mut self.stream)
                    .with_context(|| format!("entry {shown:?}"))?;
            }
            self.file_bytes = self.file_bytes.saturating_add(*size);
            let most = self.limits.expanded_bytes;
            ensure!(
                self.file_bytes <= most && stored <= most,
                "with entry {shown:?} the files of the archive have more than {most} bytes"
            );
        }
        self.set_data(stored);
        Ok(entry)
    }

    fn set_data(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK;
    }

    /// Skips to the next header.
    fn skip(&mut self) -> Result<()> {
        // Both are bounded: by the limit on all bytes, and by a block.
        self.left += self.padding;
        self.padding = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        while self.left > 0 {
            self.read_data(&mut buffer)?;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Reads a header block.
    fn header(&mut self) -> Result<Header> {
        let mut header = Header::new_old();
        self.stream
            .read_exact(header.as_mut_bytes())
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => {
                    anyhow::anyhow!("the archive is cut short: it has no end mark")
                }
                _ => anyhow::Error::new(error).context("cannot read the archive"),
            })?;
        Ok(header)
    }
}
