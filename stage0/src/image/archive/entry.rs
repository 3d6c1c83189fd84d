//! What an archive says of one file.

use rustix::fs::Timespec;

/// One entry of an archive; the data of a file is read from the archive's reader.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name as it stands in the archive, any bytes but zero.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Owner, mode and time.
    pub metadata: Metadata,
    /// Extended attributes, as they stand in the archive.
    pub xattrs: Vec<Xattr>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its size, holes included.
        size: u64,
        /// Where its data belongs; the data of all segments follows without gaps.
        segments: Vec<Segment>,
    },
    /// A directory.
    Directory,
    /// A symbolic link to these bytes.
    Symlink(Vec<u8>),
    /// One more name for an earlier entry of this name.
    HardLink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character or block device.
    Device,
}

/// A part of a file that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts in the file.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// Owner, mode and time of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// The twelve permission bits.
    pub mode: u32,
    /// Time of last change.
    pub mtime: Timespec,
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// Its whole name, such as `security.capability`.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}
