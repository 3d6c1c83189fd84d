//! Writes a tar archive in the form of pax (POSIX.1-2001), as [`super::ArchiveReader`] reads it:
//! the same entries always give the same bytes.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, ensure};
use tar::{Builder, EntryType, Header};

use super::{Entry, Kind};

/// Longest name, and longest target of a link, that the header itself is given, in bytes.
const PLAIN_MAX: usize = 100;

/// An archive being written.
pub struct ArchiveWriter<W: Write> {
    builder: Builder<W>,
}

impl<W: Write> ArchiveWriter<W> {
    /// An archive without entries.
    pub fn new(output: W) -> Self {
        Self {
            builder: Builder::new(output),
        }
    }

    /// Adds an entry. `content` must have as many bytes as the entry says a file has; it is not
    /// read for anything else.
    ///
    /// # Errors
    /// Where it has fewer, or it cannot be read, or the archive cannot be written.
    pub fn add(&mut self, entry: &Entry, content: impl Read) -> Result<()> {
        self.write(entry, content)
            .with_context(|| format!("cannot write \"{}\"", entry.name.escape_ascii()))
    }

    fn write(&mut self, entry: &Entry, content: impl Read) -> Result<()> {
        self.write_records(entry)?;
        let (kind, size, target) = match &entry.kind {
            Kind::File { size, .. } => (EntryType::Regular, *size, None),
            Kind::Directory => (EntryType::Directory, 0, None),
            Kind::Symlink(target) => (EntryType::Symlink, 0, Some(target)),
            Kind::HardLink(target) => (EntryType::Link, 0, Some(target)),
            Kind::Fifo => (EntryType::Fifo, 0, None),
            Kind::Device => anyhow::bail!("device nodes are not written"),
        };
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        let fields = header.as_old_mut();
        put(&mut fields.name, &entry.name);
        if let Some(target) = target {
            put(&mut fields.linkname, target);
        }
        let metadata = &entry.metadata;
        header.set_mode(metadata.mode);
        header.set_uid(metadata.uid.into());
        header.set_gid(metadata.gid.into());
        header.set_mtime(u64::try_from(metadata.mtime.tv_sec).unwrap_or(0));
        header.set_cksum();
        let mut content = Counted {
            inner: content.take(size),
            read: 0,
        };
        self.builder.append(&header, &mut content)?;
        ensure!(
            content.read == size,
            "it has {} bytes, not {size}: it was changed while it was read",
            content.read
        );
        Ok(())
    }

    /// The pax records of an entry (pax(1), "pax Extended Header"): what its header has no room
    /// for.
    fn write_records(&mut self, entry: &Entry) -> Result<()> {
        let mut records = Vec::new();
        if entry.name.len() > PLAIN_MAX {
            records.push(("path".to_owned(), &entry.name[..]));
        }
        if let Kind::Symlink(target) | Kind::HardLink(target) = &entry.kind
            && target.len() > PLAIN_MAX
        {
            records.push(("linkpath".to_owned(), target));
        }
        for xattr in &entry.xattrs {
            let name =
                std::str::from_utf8(&xattr.name).context("an attribute's name is no text")?;
            records.push((format!("SCHILY.xattr.{name}"), &xattr.value));
        }
        let records = records.iter().map(|(key, value)| (key.as_str(), *value));
        Ok(self.builder.append_pax_extensions(records)?)
    }

    /// Writes the archive's end, and returns what it was written to.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(self) -> Result<W> {
        self.builder
            .into_inner()
            .context("cannot write the end of the archive")
    }
}

/// As much of a name as the field takes; a longer one stands whole in a pax record.
fn put(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field.fill(0);
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.read += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::Timespec;

    use super::*;
    use crate::image::archive::{ArchiveReader, Metadata, Segment, Xattr};
    use crate::image::limits::Limits;

    fn entry(name: &[u8], kind: Kind) -> Entry {
        Entry {
            name: name.to_vec(),
            kind,
            metadata: Metadata {
                uid: 3_000_000,
                gid: 7,
                mode: 0o4751,
                mtime: Timespec {
                    tv_sec: 1_700_000_000,
                    tv_nsec: 0,
                },
            },
            xattrs: vec![],
        }
    }

    fn file(name: &[u8], size: u64) -> Entry {
        let segments = vec![Segment {
            offset: 0,
            length: size,
        }];
        entry(name, Kind::File { size, segments })
    }

    #[test]
    fn what_is_written_is_read_again() {
        let long = [b'n'; 150];
        let mut entries = vec![
            entry(b"d", Kind::Directory),
            file(b"d/f", 5),
            file(&long, 0),
            entry(b"d/l", Kind::Symlink(b"\xff/x".to_vec())),
            entry(b"d/long", Kind::Symlink(vec![b't'; 300])),
            entry(b"d/h", Kind::HardLink(long.to_vec())),
            entry(b"d/p", Kind::Fifo),
        ];
        entries[1].xattrs = vec![
            Xattr {
                name: b"security.capability".to_vec(),
                value: b"\x01\n=\0".to_vec(),
            },
            Xattr {
                name: b"user.x".to_vec(),
                value: vec![b'v'; 985],
            },
        ];
        let write = || {
            let mut writer = ArchiveWriter::new(Vec::new());
            for entry in &entries {
                writer.add(entry, &b"12345 and more"[..]).unwrap();
            }
            writer.finish().unwrap()
        };
        let bytes = write();
        assert_eq!(bytes, write());
        let mut reader = ArchiveReader::new(&bytes[..], Limits::default());
        for expected in &entries {
            let found = reader.next_entry().unwrap().unwrap();
            assert_eq!(
                found.name.strip_suffix(b"/").unwrap_or(&found.name),
                expected.name
            );
            assert_eq!(found.kind, expected.kind);
            assert_eq!(found.metadata, expected.metadata);
            assert_eq!(found.xattrs, expected.xattrs);
            if expected.name == b"d/f" {
                let mut content = [0; 5];
                let mut filled = 0;
                while filled < 5 {
                    filled += reader.read_data(&mut content[filled..]).unwrap();
                }
                assert_eq!(&content, b"12345");
            }
        }
        assert!(reader.next_entry().unwrap().is_none());
        reader.finish().unwrap();
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let mut writer = ArchiveWriter::new(Vec::new());
        let error = writer.add(&file(b"f", 9), &b"1234"[..]).unwrap_err();
        assert!(format!("{error:#}").contains("4 bytes, not 9"), "{error:#}");
    }
}
