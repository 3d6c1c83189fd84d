//! Archives, unpacked beside what they must not touch. The input's first byte says what they
//! are; they follow one upon the other, each up to its end mark.
//!
//! Mutation breaks the checksums of headers, so they are set right, unless the letter is a
//! capital one.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use skim::image::aci;
use skim::image::archive::ArchiveReader;
use skim::image::limits::Limits;
use skim::image::oci::archive;
use skim::image::oci::layer::unpack_layer;
use skim::image::unpack::Unpacker;
use skim::image::whitelist::Whitelist;
use tar::Header;

use super::cell;
use super::check_error;
use super::decompress::blob;
use super::script;

const BLOCK: usize = 512;
/// Most archives in one input.
const ARCHIVES_MAX: usize = 6;

const LIMITS: Limits = Limits {
    entries: 400,
    expanded_bytes: 4 << 20,
    name: 4096,
    manifest: 64 << 10,
    extension: 64 << 10,
    sparse_segments: 100,
    directory_memory: 64 << 10,
};

/// Unpacks the archives.
pub fn run(input: &[u8]) -> Result<()> {
    let (mode, input) = input.split_first().context("it is empty")?;
    let archives = || archives(input, mode.is_ascii_lowercase());
    let result = match mode.to_ascii_lowercase() {
        b'a' => cell::inside(|_, root| aci(&archives()[0], root)),
        b'd' => cell::inside(|_, root| dependencies(&archives(), root)),
        b'i' => image(&archives()[0]),
        b'l' => cell::inside(|_, root| layers(&archives(), root)),
        b's' => cell::inside(|top, root| {
            layers(&script::archives(input, "", &top.join("outside")), root)
        }),
        b't' => cell::inside(|top, root| {
            let archives = script::archives(input, "rootfs/", &top.join("outside"));
            dependencies(&archives, root)
        }),
        _ => bail!("it is of no known kind"),
    };
    check_error(&result);
    result
}

/// An appc image that stands alone.
fn aci(archive: &[u8], root: OwnedFd) -> Result<()> {
    let unpacked = aci::unpack(archive, root.try_clone()?, LIMITS)?;
    unpacked.directories.set_times(root.as_fd())
}

/// Appc images, each of which depends on those before it. As scripts have neither an entry for
/// `rootfs` nor a manifest, what is missing does not end it.
fn dependencies(archives: &[Vec<u8>], root: OwnedFd) -> Result<()> {
    let listed = ["/a/b", "/usr/lib", "/lib/x", "/etc/passwd", "/x"].map(str::to_owned);
    let whitelist = Whitelist::new(&listed)?;
    let mut unpacker = Unpacker::new(root.try_clone()?, LIMITS);
    for (index, archive) in archives.iter().enumerate() {
        let mut reader = ArchiveReader::new(archive.as_slice(), LIMITS);
        let lists: Vec<_> = whitelist.iter().filter(|_| index % 2 == 1).collect();
        match aci::unpack_onto(&mut reader, &mut unpacker, LIMITS, &lists) {
            Err(error) if !error.to_string().starts_with("missing ") => return Err(error),
            _ => (),
        }
    }
    if let Some(whitelist) = &whitelist {
        unpacker.keep_only(whitelist)?;
    }
    let (directories, _) = unpacker.finish();
    directories.set_times(root.as_fd())
}

/// The layers of an OCI image.
fn layers(archives: &[Vec<u8>], root: OwnedFd) -> Result<()> {
    let mut unpacker = Unpacker::new(root.try_clone()?, LIMITS);
    for archive in archives {
        let mut reader = ArchiveReader::new(archive.as_slice(), LIMITS);
        unpack_layer(&mut reader, &mut unpacker)?;
        reader.finish()?;
    }
    let (directories, _) = unpacker.finish();
    directories.set_times(root.as_fd())
}

/// An archive that may hold an OCI layout, or what `docker save` writes.
fn image(archive: &[u8]) -> Result<()> {
    let blob = blob(archive);
    check_error(&archive::looks_like(&blob));
    let layout = archive::oci_image(&blob, None, "example.com/fuzz");
    check_error(&layout);
    let image = layout.or_else(|_| archive::docker_image(&blob, None, "example.com/fuzz"))?;
    for layer in &image.layers {
        // Layers lie within the archive.
        assert!(layer.blob.offset + layer.blob.size <= archive.len() as u64);
        check_error(&layer.blob.read(LIMITS.extension));
    }
    Ok(())
}

/// The archives in the input, with the checksums of their headers set right.
fn archives(input: &[u8], repair: bool) -> Vec<Vec<u8>> {
    let mut input = input.to_vec();
    let mut ends = Vec::new();
    let mut at: usize = 0;
    while let Some(block) = input.get_mut(at..at.saturating_add(BLOCK)) {
        at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            // The mark is two blocks long, and writers fill up with more of them.
            while input.get(at).is_some_and(|byte| *byte == 0) && at + BLOCK <= input.len() {
                at += BLOCK;
            }
            ends.push(at);
            continue;
        }
        let header = Header::from_byte_slice(block);
        let size = header.entry_size().unwrap_or(0);
        if repair {
            repair_header(block);
        }
        let size = size.checked_next_multiple_of(BLOCK as u64);
        let size = size.and_then(|size| usize::try_from(size).ok());
        at = at.saturating_add(size.unwrap_or(usize::MAX));
    }
    let mut start = 0;
    ends.truncate(ARCHIVES_MAX - 1);
    ends.push(input.len());
    ends.dedup();
    let mut archives = Vec::new();
    for end in ends {
        let mut archive = input[start..end].to_vec();
        if repair {
            // What was cut ends like one that was not.
            archive.resize(archive.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
        }
        archives.push(archive);
        start = end;
    }
    archives
}

fn repair_header(block: &mut [u8]) {
    let known = [&b"ustar\x0000"[..], b"ustar  \0"].contains(&&block[257..265]);
    if !known {
        let magic = match block[156] {
            b'L' | b'K' | b'S' => b"ustar  \0",
            _ => b"ustar\x0000",
        };
        block[257..265].copy_from_slice(magic);
    }
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
