//! The files of a plain tar archive by their names, found in one pass over its headers; data is
//! skipped, and read only where it is asked for.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};
use tar::{EntryType, Header};

use super::layout::Files;
use crate::image::archive::header::{self, BLOCK, Extensions};
use crate::image::archive::{Entry, Kind};
use crate::image::blob::Blob;

/// Most members of an archive of images; each layer has a few.
const MEMBERS_MAX: usize = 20_000;
/// Most bytes of all names and links together, which are held in memory.
const NAMES_MAX: usize = 4 << 20;
/// Longest name or target of a link.
const NAME_MAX: usize = 4096;
/// Most bytes of what precedes one entry.
const EXTENSION_MAX: u64 = 64 << 10;
/// How many links may stand between a name and its file.
const LINKS_MAX: usize = 8;

/// A member of an archive.
#[derive(Debug)]
pub(super) struct Member {
    /// Its name, free of `.` and `..`, without a slash at its ends.
    pub(super) name: String,
    /// What it is.
    pub(super) content: Content,
}

/// What a member is.
#[derive(Debug)]
pub(super) enum Content {
    /// A file.
    File(Blob),
    /// A directory.
    Directory,
    /// A link to a member of this name, whether symbolic or hard.
    Link(String),
}

/// Goes through a plain tar archive, header by header.
pub(super) struct Walk {
    archive: Blob,
    /// Where the next header is.
    at: u64,
    members: usize,
    name_bytes: usize,
}

impl Walk {
    pub(super) fn new(archive: &Blob) -> Self {
        Self {
            archive: archive.clone(),
            at: 0,
            members: 0,
            name_bytes: 0,
        }
    }

    /// The next member, `None` at the archive's end mark.
    pub(super) fn next(&mut self) -> Result<Option<Member>> {
        let mut extensions = Extensions::default();
        loop {
            let header = self.header()?;
            if header::is_zero(&header) {
                ensure!(
                    extensions.is_empty(),
                    "the archive ends in the middle of an entry"
                );
                return Ok(None);
            }
            header::check(&header)?;
            self.members += 1;
            ensure!(
                self.members <= MEMBERS_MAX,
                "the archive has more than {MEMBERS_MAX} members: it is no archive of images"
            );
            if extensions.take(&header, || self.extension_data(&header))? {
                continue;
            }
            let sparse = header.entry_type() == EntryType::GNUSparse;
            let (entry, stored) = header::decode(&header, extensions)?;
            let data = self.data(stored)?;
            let shown = entry.name.escape_ascii().to_string();
            ensure!(!sparse, "the member {shown:?} is a sparse file");
            let member = member(entry, data).with_context(|| format!("the member {shown:?}"))?;
            self.name_bytes += member.name.len()
                + match &member.content {
                    Content::Link(target) => target.len(),
                    _ => 0,
                };
            ensure!(
                self.name_bytes <= NAMES_MAX,
                "the names in the archive have more than {NAMES_MAX} bytes together: it is no archive of images"
            );
            return Ok(Some(member));
        }
    }

    fn extension_data(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header::size(header).context("an extension")?;
        self.data(size)?
            .read(EXTENSION_MAX)
            .context("an extension precedes an entry")
    }

    /// Reads the header at the present place.
    fn header(&mut self) -> Result<Header> {
        let block = self
            .data(BLOCK)
            .map_err(|_| anyhow::anyhow!("the archive is cut short: it has no end mark"))?;
        let mut header = Header::new_old();
        block
            .file
            .read_exact_at(header.as_mut_bytes(), block.offset)
            .context("cannot read the archive")?;
        Ok(header)
    }

    /// The next `size` bytes, after which the next header follows.
    fn data(&mut self, size: u64) -> Result<Blob> {
        let end = self
            .at
            .checked_add(size)
            .filter(|end| *end <= self.archive.size)
            .context("the archive is cut short in the middle of a file")?;
        let data = Blob {
            file: self.archive.file.clone(),
            offset: self.archive.offset + self.at,
            size,
        };
        self.at = end.next_multiple_of(BLOCK);
        Ok(data)
    }
}

/// Makes a member of an entry and its data.
fn member(entry: Entry, data: Blob) -> Result<Member> {
    let name = plain("", &entry.name)?;
    let content = match entry.kind {
        Kind::File { .. } => Content::File(data),
        Kind::Directory => Content::Directory,
        Kind::HardLink(target) => Content::Link(plain("", &target)?),
        Kind::Symlink(target) => {
            let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
            Content::Link(plain(parent, &target)?)
        }
        Kind::Fifo | Kind::Device => bail!("it is neither file, directory nor link"),
    };
    Ok(Member { name, content })
}

/// The path `text`, taken from the directory `base`, without `.` and `..`.
fn plain(base: &str, text: &[u8]) -> Result<String> {
    let shown = || text.escape_ascii().to_string();
    ensure!(
        text.len() < NAME_MAX,
        "a name has {} bytes; at most {} are possible",
        text.len(),
        NAME_MAX - 1
    );
    let text = std::str::from_utf8(text)
        .with_context(|| format!("the name {:?} is not UTF-8", shown()))?;
    ensure!(
        !text.starts_with('/'),
        "{:?} leads out of the archive",
        shown()
    );
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in text.split('/') {
        match part {
            "" | "." => (),
            ".." => {
                let above = parts.pop();
                above.with_context(|| format!("{:?} leads out of the archive", shown()))?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// The files and links of an archive by their names.
pub(super) struct Members(HashMap<String, Content>);

impl Members {
    /// Goes through the archive once.
    pub(super) fn of(archive: &Blob) -> Result<Self> {
        let mut members = HashMap::new();
        let mut walk = Walk::new(archive);
        while let Some(Member { name, content }) = walk.next()? {
            if matches!(content, Content::Directory) {
                continue;
            }
            // Which one is meant is not the same to all readers.
            ensure!(
                !members.contains_key(&name),
                "the member {name:?} is in the archive twice"
            );
            members.insert(name, content);
        }
        Ok(Self(members))
    }
}

impl Files for Members {
    fn find(&self, path: &str) -> Result<Option<Blob>> {
        let mut at = plain("", path.as_bytes())?;
        for _ in 0..=LINKS_MAX {
            match self.0.get(&at) {
                Some(Content::File(blob)) => return Ok(Some(blob.clone())),
                Some(Content::Link(target)) => at = target.clone(),
                Some(Content::Directory) | None => return Ok(None),
            }
        }
        bail!("{path:?} leads from link to link, more than {LINKS_MAX} times")
    }
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
