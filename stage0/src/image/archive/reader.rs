//! The loop over an archive's headers.

use std::io::{self, BufRead};

use anyhow::{Context, Result, bail, ensure};
use tar::{EntryType, Header};

use super::entry::{Entry, Kind};
use super::header::{self, BLOCK, Extensions};
use super::sparse;
use crate::image::limits::Limits;

/// Reads an archive from its beginning to its end, one entry at a time.
pub struct ArchiveReader<R: BufRead> {
    stream: R,
    limits: Limits,
    entries: u64,
    /// Bytes of all files so far, holes included.
    file_bytes: u64,
    /// Data of the present entry that was not read yet.
    left: u64,
    /// What follows that data up to the next block.
    padding: u64,
    at_end: bool,
    needs_end_mark: bool,
}

impl<R: BufRead> ArchiveReader<R> {
    /// Starts to read an uncompressed archive.
    pub fn new(stream: R, limits: Limits) -> Self {
        Self {
            stream,
            limits,
            entries: 0,
            file_bytes: 0,
            left: 0,
            padding: 0,
            at_end: false,
            needs_end_mark: true,
        }
    }

    /// Takes the end of the stream after an entry for the archive's end, as readers in Go do:
    /// some writers of layers leave the padding and the end mark away. A digest must tell then
    /// whether the archive is whole.
    pub fn without_end_mark(mut self) -> Self {
        self.needs_end_mark = false;
        self
    }

    /// The next entry, `None` at the archive's end mark. What was not read of the present
    /// entry's data is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        while !self.at_end {
            let header = match self.skip()? {
                true => self.header()?,
                false => None,
            };
            let Some(header) = header.filter(|header| !header::is_zero(header)) else {
                ensure!(
                    extensions.is_empty(),
                    "the archive ends in the middle of an entry"
                );
                self.at_end = true;
                break;
            };
            header::check(&header)?;
            self.count_entry()?;
            if !extensions.take(&header, || self.extension_data(&header))? {
                return self.entry(&header, extensions).map(Some);
            }
        }
        Ok(None)
    }

    /// Some of the present entry's data, as it is at hand; none at its end. It stays there until
    /// it is taken by [`Self::consume`].
    pub fn data(&mut self) -> Result<&[u8]> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        if most == 0 {
            return Ok(&[]);
        }
        let data = fill(&mut self.stream)?;
        ensure!(
            !data.is_empty(),
            "the archive is cut short in the middle of a file"
        );
        Ok(&data[..data.len().min(most)])
    }

    /// Takes so many bytes of what [`Self::data`] gave.
    pub fn consume(&mut self, length: usize) {
        self.stream.consume(length);
        self.left = self.left.saturating_sub(length as u64);
    }

    /// Reads data of the present entry; 0 at its end.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let data = self.data()?;
        let length = data.len().min(buffer.len());
        buffer[..length].copy_from_slice(&data[..length]);
        self.consume(length);
        Ok(length)
    }

    /// Reads on to the end of the stream: the padding of an archive counts for its digest.
    pub fn finish(mut self) -> Result<()> {
        ensure!(self.at_end, "the archive was not read to its end mark");
        loop {
            let length = fill(&mut self.stream)?.len();
            if length == 0 {
                return Ok(());
            }
            self.stream.consume(length);
        }
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

    /// Reads what an extension's header announces, if it is not too much.
    fn extension_data(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header::size(header).context("an extension")?;
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

    /// Skips to the next header; false where the archive may end here, and does.
    fn skip(&mut self) -> Result<bool> {
        loop {
            let length = self.data()?.len();
            if length == 0 {
                break;
            }
            self.consume(length);
        }
        let padding = std::mem::take(&mut self.padding);
        let mut block = [0; BLOCK as usize];
        self.read_part(&mut block[..usize::try_from(padding)?])
    }

    /// Reads a header block; `None` where the archive may end here, and does.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        let there = self.read_part(header.as_mut_bytes())?;
        Ok(there.then_some(header))
    }

    /// Reads what an archive consists of besides data. False at the stream's end, where the
    /// archive needs no end mark.
    fn read_part(&mut self, part: &mut [u8]) -> Result<bool> {
        let mut filled = 0;
        while filled < part.len() {
            let bytes = fill(&mut self.stream)?;
            if bytes.is_empty() {
                ensure!(
                    filled == 0 && !self.needs_end_mark,
                    "the archive is cut short: it has no end mark"
                );
                return Ok(false);
            }
            let length = bytes.len().min(part.len() - filled);
            part[filled..filled + length].copy_from_slice(&bytes[..length]);
            self.stream.consume(length);
            filled += length;
        }
        Ok(true)
    }
}

/// What is at hand of a stream, nothing at its end.
fn fill(stream: &mut impl BufRead) -> Result<&[u8]> {
    // Asked again below, as what the first call lends cannot be returned from a loop.
    while let Err(error) = stream.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error).context("cannot read the archive");
        }
    }
    stream.fill_buf().context("cannot read the archive")
}
