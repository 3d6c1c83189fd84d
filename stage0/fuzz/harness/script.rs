//! Archives made of a few bytes for each entry: what is well formed, and means mischief.

use std::path::Path;

use tar::{Builder, EntryType, Header};

/// Most entries of all archives of a script.
const ENTRIES_MAX: usize = 60;
/// Bytes of a script that one entry takes.
const ENTRY: usize = 8;

/// What names are made of; 0 ends one.
const PARTS: [&str; 15] = [
    "a",
    "b",
    "c",
    "lib",
    "usr",
    "etc",
    "x",
    "..",
    ".",
    "outside",
    "passwd",
    ".wh.a",
    ".wh.lib",
    ".wh..wh..opq",
    "0123456789",
];

/// The archives that a script describes; their names are beneath `prefix`, and links may lead to
/// the directory `target`.
pub fn archives(script: &[u8], prefix: &str, target: &Path) -> Vec<Vec<u8>> {
    let mut archives = Vec::new();
    let mut archive = Builder::new(Vec::new());
    for entry in script.chunks_exact(ENTRY).take(ENTRIES_MAX) {
        if entry[0] & 0xe0 == 0xe0 {
            archives.push(std::mem::replace(&mut archive, Builder::new(Vec::new())));
        }
        let entry: &[u8; ENTRY] = entry.try_into().expect("it is of this size");
        add(&mut archive, entry, prefix, target);
    }
    archives.push(archive);
    let finish = |archive: Builder<_>| archive.into_inner().expect("it is in memory");
    archives.into_iter().map(finish).collect()
}

/// Adds an entry: its kind and modes, its name, its target, its size or what it leads to.
fn add(archive: &mut Builder<Vec<u8>>, entry: &[u8; ENTRY], prefix: &str, target: &Path) {
    let [kind, mode, name @ .., size] = entry;
    let (name, link) = name.split_at(3);
    let name = format!("{prefix}{}", path(name));
    let link = match size & 3 {
        0 => format!("{}/{}", target.display(), path(link)),
        1 => path(link),
        2 => format!("/{}", path(link)),
        _ => format!("{prefix}{}", path(link)),
    };
    let (kind, data) = match kind & 15 {
        0..=4 => (EntryType::Regular, vec![*size; usize::from(*size) * 5]),
        5..=8 => (EntryType::Directory, Vec::new()),
        9..=11 => (EntryType::Symlink, Vec::new()),
        12 | 13 => (EntryType::Link, Vec::new()),
        14 => (EntryType::Fifo, Vec::new()),
        _ => (EntryType::Block, Vec::new()),
    };
    if *mode == 0xff {
        let xattrs = [("SCHILY.xattr.user.x", &b"1"[..]), ("mtime", b"-1.5")];
        archive
            .append_pax_extensions(xattrs)
            .expect("it is in memory");
    }
    let mut header = Header::new_gnu();
    set(&mut header.as_old_mut().name, &name);
    set(&mut header.as_old_mut().linkname, &link);
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(u32::from(*mode) << 4 | 0o7);
    header.set_uid(u64::from(*mode));
    header.set_gid(0);
    header.set_mtime(u64::from(*size) << 24);
    header.set_cksum();
    archive.append(&header, &*data).expect("it is in memory");
}

/// A path of up to two parts for each byte.
fn path(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let parts = nibbles.filter_map(|nibble| PARTS.get(usize::from(nibble.checked_sub(1)?)));
    parts.copied().collect::<Vec<_>>().join("/")
}

/// Copies what has room.
fn set(field: &mut [u8; 100], text: &str) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}
