//! One header block, decoded and checked.

use anyhow::{Context, Result, ensure};
use rustix::fs::Timespec;
use tar::{EntryType, Header};

use super::entry::{Entry, Kind, Metadata, Segment};
use super::number::{number, signed};
use super::pax::{self, Pax};

/// Bytes of a block.
pub const BLOCK: u64 = 512;

/// What stood before an entry's own header.
#[derive(Default)]
pub struct Extensions {
    /// GNU long name.
    pub long_name: Option<Vec<u8>>,
    /// GNU long link target.
    pub long_link: Option<Vec<u8>>,
    /// PAX records.
    pub pax: Option<Pax>,
}

impl Extensions {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_link.is_none() && self.pax.is_none()
    }

    /// Takes a header that describes the next entry, with what `data` reads for it; false for an
    /// entry's own header.
    pub fn take(
        &mut self,
        header: &Header,
        data: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<bool> {
        let slot = match header.entry_type() {
            EntryType::GNULongName => &mut self.long_name,
            EntryType::GNULongLink => &mut self.long_link,
            EntryType::XHeader => {
                ensure!(self.pax.is_none(), "an entry has two PAX headers");
                self.pax = Some(Pax::parse(&data()?)?);
                return Ok(true);
            }
            EntryType::XGlobalHeader => {
                pax::check_global(&data()?)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        ensure!(
            slot.is_none(),
            "an entry has two long names of the same kind"
        );
        let mut name = data()?;
        let end = name.iter().rposition(|byte| *byte != 0);
        name.truncate(end.map_or(0, |at| at + 1));
        *slot = Some(name);
        Ok(true)
    }
}

/// Whether a block holds nothing, which marks the end of an archive.
pub fn is_zero(block: &Header) -> bool {
    block.as_bytes().iter().all(|byte| *byte == 0)
}

/// Checks a header's format and checksum.
pub fn check(header: &Header) -> Result<()> {
    ensure!(
        header.as_ustar().is_some() || header.as_gnu().is_some(),
        "a header is neither in ustar nor in GNU format: the archive is damaged or very old"
    );
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148]
        .iter()
        .chain(&bytes[156..])
        .map(|byte| u32::from(*byte))
        .sum::<u32>()
        + 8 * u32::from(b' ');
    let stored = number(&header.as_old().cksum).context("the checksum of a header")?;
    ensure!(
        u64::from(sum) == stored,
        "a header's checksum is wrong: the archive is damaged"
    );
    Ok(())
}

/// The bytes that are stored after a header, where no PAX record says otherwise.
pub fn size(header: &Header) -> Result<u64> {
    number(&header.as_old().size).context("its size")
}

/// Makes an entry of a header and what stood before it; says how much data is stored for it.
///
/// The map of a sparse file is not looked at: `segments` is for the caller to replace.
pub fn decode(header: &Header, extensions: Extensions) -> Result<(Entry, u64)> {
    let pax = extensions.pax.unwrap_or_default();
    let name = choose(extensions.long_name, pax.path, "name")?
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let shown = name.escape_ascii().to_string();
    let context = || format!("the header of entry {shown:?}");
    ensure!(
        !name.contains(&0),
        "entry {shown:?} has a zero byte in its name"
    );
    let link = choose(extensions.long_link, pax.link_path, "link target")?
        .or_else(|| header.link_name_bytes().map(|bytes| bytes.into_owned()));
    let stored = match pax.size {
        Some(size) => size,
        None => size(header).with_context(context)?,
    };
    let kind = kind(header.entry_type(), stored, link).with_context(context)?;
    ensure!(
        stored == 0 || matches!(kind, Kind::File { .. }),
        "entry {shown:?} has data, but is no file"
    );
    let old = header.as_old();
    let owner = |pax: Option<u64>, field| owner(pax.map_or_else(|| number(field), Ok)?);
    let metadata = Metadata {
        uid: owner(pax.uid, &old.uid).with_context(context)?,
        gid: owner(pax.gid, &old.gid).with_context(context)?,
        mode: mode(number(&old.mode).with_context(context)?),
        mtime: match pax.mtime {
            Some(time) => time,
            None => Timespec {
                tv_sec: signed(&old.mtime).with_context(context)?,
                tv_nsec: 0,
            },
        },
    };
    let xattrs = pax.xattrs;
    let entry = Entry {
        name,
        kind,
        metadata,
        xattrs,
    };
    Ok((entry, stored))
}

/// A long value from GNU's or from PAX's extension, not from both.
fn choose(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>, what: &str) -> Result<Option<Vec<u8>>> {
    ensure!(
        gnu.is_none() || pax.is_none(),
        "an entry has two long {what}s, one of GNU's and one of PAX's kind"
    );
    Ok(gnu.or(pax))
}

fn kind(entry_type: EntryType, stored: u64, link: Option<Vec<u8>>) -> Result<Kind> {
    let target = || {
        let target = link.unwrap_or_default();
        ensure!(
            !target.is_empty() && !target.contains(&0),
            "it is a link without a proper target"
        );
        Ok(target)
    };
    Ok(match entry_type {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File {
            size: stored,
            segments: vec![Segment {
                offset: 0,
                length: stored,
            }],
        },
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(target()?),
        EntryType::Link => Kind::HardLink(target()?),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char | EntryType::Block => Kind::Device,
        other => {
            let byte = [other.as_byte()];
            anyhow::bail!("it is of an unknown type, '{}'", byte.escape_ascii());
        }
    })
}

/// The permissions; other bits tell what the file is, which its type does already.
fn mode(number: u64) -> u32 {
    (number & 0o7777) as u32
}

/// A user or group number; the highest means "leave it" to the kernel.
fn owner(number: u64) -> Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|number| *number != u32::MAX)
        .with_context(|| format!("its owner {number} is no user or group number"))
}
