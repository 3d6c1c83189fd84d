//! The map of a sparse file in GNU's format.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::entry::Segment;
use super::number::number;

/// Reads a sparse file's map: its size and its segments, whose data is `stored` bytes together.
pub fn read_map(
    header: &Header,
    stored: u64,
    most: usize,
    stream: &mut impl Read,
) -> Result<(u64, Vec<Segment>)> {
    let gnu = header
        .as_gnu()
        .context("a sparse file has no header in GNU format")?;
    let size = number(&gnu.realsize).context("the size of a sparse file")?;
    let mut map = Map::default();
    for block in &gnu.sparse {
        map.add(block, most)?;
    }
    let mut extended = gnu.is_extended();
    while extended {
        let mut more = GnuExtSparseHeader::new();
        stream
            .read_exact(more.as_mut_bytes())
            .context("the archive is cut short in the map of a sparse file")?;
        for block in &more.sparse {
            map.add(block, most)?;
        }
        extended = more.is_extended();
    }
    ensure!(
        map.end <= size && map.stored == stored,
        "the map of a sparse file does not fit its size"
    );
    Ok((size, map.segments))
}

/// A map under construction.
#[derive(Default)]
struct Map {
    segments: Vec<Segment>,
    /// How far the segments reach in the file.
    end: u64,
    /// How much data they have.
    stored: u64,
    /// How many blocks were seen, empty ones too.
    blocks: usize,
}

impl Map {
    fn add(&mut self, block: &GnuSparseHeader, most: usize) -> Result<()> {
        self.blocks += 1;
        ensure!(
            self.blocks <= most,
            "a sparse file has more than {most} segments"
        );
        if block.is_empty() {
            return Ok(());
        }
        let offset = number(&block.offset).context("the map of a sparse file")?;
        let length = number(&block.numbytes).context("the map of a sparse file")?;
        let end = offset
            .checked_add(length)
            .context("a segment of a sparse file ends beyond every size")?;
        ensure!(
            offset >= self.end,
            "the segments of a sparse file overlap or are out of order"
        );
        ensure!(
            length == 0 || self.stored.is_multiple_of(512),
            "a segment of a sparse file does not start at a whole block"
        );
        self.end = end;
        // No overflow: segments do not overlap and each ends within 64 bits.
        self.stored += length;
        if length > 0 {
            self.segments.push(Segment { offset, length });
        }
        Ok(())
    }
}
