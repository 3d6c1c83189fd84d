//! One layer of an OCI image: a tar archive of what it adds, and marks for what it hides
//! (image-spec 1.1, layer.md).

use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail, ensure};

use crate::image::archive::{ArchiveReader, Entry, Kind};
use crate::image::unpack::path::{components, join, normalize, split};
use crate::image::unpack::{LowerLinks, Unpacker};

/// What the name of a whiteout starts with.
const WHITEOUT: &[u8] = b".wh.";
/// What the names of aufs's own files start with, which are in layers that old versions of
/// Docker made on it.
const AUFS: &[u8] = b".wh..wh.";
/// Hides all that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an entry's name asks for. Paths are relative to the root.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A file at this path.
    Path(Vec<u8>),
    /// That lower layers have nothing at this path.
    Whiteout(Vec<u8>),
    /// That lower layers have nothing in this directory.
    Opaque(Vec<u8>),
    /// Nothing: aufs's own.
    Nothing,
}

/// Reads a layer up to its end mark, and unpacks it onto the layers before.
///
/// A symbolic link of a lower layer that stands in the way is followed inside the tree, as it is
/// by the programs that write such layers: `lib/x` goes to `usr/lib/x` where a lower layer has
/// `lib -> usr/lib`.
pub fn unpack_layer<R: BufRead>(
    archive: &mut ArchiveReader<R>,
    unpacker: &mut Unpacker,
) -> Result<()> {
    unpacker.begin_layer(LowerLinks::Followed);
    unpacker.imply_root()?;
    while let Some(entry) = archive.next_entry()? {
        let shown = entry.name.escape_ascii().to_string();
        add(unpacker, archive, entry).with_context(|| format!("cannot unpack \"{shown}\""))?;
    }
    Ok(())
}

fn add<R: BufRead>(
    unpacker: &mut Unpacker,
    archive: &mut ArchiveReader<R>,
    mut entry: Entry,
) -> Result<()> {
    match place(&entry.name)? {
        Place::Path(path) => {
            ensure!(
                entry.kind == Kind::Directory || !entry.name.ends_with(b"/"),
                "it is named as a directory, but is none"
            );
            if let Kind::HardLink(target) = &mut entry.kind {
                *target = normalize(target).context("it is a hard link")?;
            }
            unpacker.add(&path, &entry, archive)
        }
        Place::Whiteout(path) => {
            let (directory, name) = split(&path);
            let name = name.as_bytes();
            unpacker.hide(directory, name, &[WHITEOUT, name].concat())
        }
        Place::Opaque(path) => unpacker.hide_all(&path, OPAQUE),
        Place::Nothing => Ok(()),
    }
}

/// What a name asks for. Only its last component may mark anything: nothing can be beneath a
/// whiteout.
fn place(name: &[u8]) -> Result<Place> {
    // Some builders have an entry "/" for the root; no other absolute name is taken.
    let path = match name {
        b"/" => Vec::new(),
        _ => normalize(name)?,
    };
    let (directory, last) = split(&path);
    let last = last.as_bytes();
    for component in components(directory) {
        if component.starts_with(AUFS) {
            return Ok(Place::Nothing);
        }
        ensure!(!component.starts_with(WHITEOUT), "it is beneath a whiteout");
    }
    if last == OPAQUE {
        return Ok(Place::Opaque(directory.to_vec()));
    }
    if last.starts_with(AUFS) {
        return Ok(Place::Nothing);
    }
    match last.strip_prefix(WHITEOUT) {
        None => Ok(Place::Path(path)),
        Some(b"" | b"." | b"..") => bail!("it is a whiteout that names nothing"),
        Some(hidden) => Ok(Place::Whiteout(join(directory, hidden))),
    }
}

#[cfg(test)]
mod tests;
