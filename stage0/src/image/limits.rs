//! How much an image may ask for.

/// Bounds on what is read from an image; an image that exceeds one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries in an archive, and in all archives of one image together.
    pub entries: u64,
    /// Bytes of an uncompressed archive, and bytes of all files of one image together (holes
    /// included, and files that a later layer replaces).
    pub expanded_bytes: u64,
    /// Bytes of an entry's name or of a hard link's target; a symbolic link's may be one less.
    pub name: usize,
    /// Bytes of the image manifest.
    pub manifest: u64,
    /// Bytes of what precedes one entry: a long name, PAX records.
    pub extension: u64,
    /// Data segments of one sparse file.
    pub sparse_segments: usize,
    /// Bytes of memory for all directories, which are held there until the end: the name of
    /// each, and 104 more.
    pub directory_memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            expanded_bytes: 64 << 30,
            name: 4096,
            manifest: 4 << 20,
            extension: 1 << 20,
            sparse_segments: 1 << 16,
            directory_memory: 24 << 20,
        }
    }
}
