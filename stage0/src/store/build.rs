//! A tree in the making: archives are unpacked over one another, then relocated.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::Mode;

use super::tree::{LayerContent, LayerRecord, ROOTFS, TreeRecord};
use super::{Downloads, blobs, directory};
use crate::image::aci::{self, AciContents};
use crate::image::archive::ArchiveReader;
use crate::image::archive::pipeline::{self, Algorithm, Content, Measured, Pipe, Source};
use crate::image::blob::{Blob, Sha256};
use crate::image::id::ImageId;
use crate::image::limits::Limits;
use crate::image::oci::layer;
use crate::image::relocate::{Report, relocate};
use crate::image::unpack::{LeftOut, Owners, Unpacker};
use crate::image::whitelist::Whitelist;
use crate::progress::Progress;

/// How much an image may ask for, and who is told how far it is.
#[derive(Clone, Copy)]
pub struct Import<'a> {
    /// Bounds on the image.
    pub limits: Limits,
    /// Told of each archive.
    pub progress: &'a dyn Progress,
}

/// A tree that is being unpacked into a directory.
pub struct TreeBuilder<'a> {
    import: Import<'a>,
    dir: BorrowedFd<'a>,
    root: OwnedFd,
    unpacker: Unpacker,
    owners: Owners,
    layers: Vec<LayerRecord>,
}

impl<'a> TreeBuilder<'a> {
    /// Makes an empty tree `rootfs` in the directory `dir`.
    pub fn new(dir: BorrowedFd<'a>, import: Import<'a>) -> Result<Self> {
        let root = directory::ensure(dir, ROOTFS, 0o755)?;
        let owners = Owners::of_process();
        let own = root.try_clone().context("cannot copy a descriptor")?;
        Ok(Self {
            unpacker: Unpacker::new(own, import.limits).with_owners(owners),
            owners,
            import,
            dir,
            root,
            layers: Vec::new(),
        })
    }

    /// Unpacks an OCI layer, and checks its digests; keeps a copy of it where one is wanted.
    pub fn add_layer(
        &mut self,
        layer: &crate::image::oci::Layer,
        copy: Option<&File>,
    ) -> Result<Sha256> {
        let shown = layer.digest.unwrap_or(layer.diff_id);
        let limits = self.import.limits;
        let unpacker = &mut self.unpacker;
        let unpack = |pipe: &mut Pipe| {
            // Its digest is checked below.
            let mut archive = ArchiveReader::new(pipe, limits).without_end_mark();
            layer::unpack_layer(&mut archive, unpacker)?;
            archive.finish()
        };
        let ((), measured) = send(
            self.import,
            &layer.blob,
            copy,
            Algorithm::Sha256,
            &shown.short(),
            unpack,
        )
        .with_context(|| format!("layer {shown}"))?;
        if let Some(digest) = layer.digest {
            ensure!(
                measured.blob == digest,
                "layer {digest} is damaged: its content has the digest {}",
                measured.blob
            );
        }
        let diff_id = layer.diff_id;
        ensure!(
            measured.content == Content::Sha256(diff_id),
            "layer {shown} is not the one that the image's configuration names: uncompressed, it does not have the digest {diff_id}"
        );
        self.note(&layer.blob, &measured, LayerContent::DiffId(diff_id), &[]);
        Ok(measured.blob)
    }

    /// Unpacks an appc image, of it what all of `whitelists` have; keeps a copy of it where one
    /// is wanted.
    pub fn add_aci(
        &mut self,
        blob: &Blob,
        whitelists: &[Vec<String>],
        copy: Option<&File>,
    ) -> Result<(AciContents, ImageId)> {
        let limits = self.import.limits;
        let unpacker = &mut self.unpacker;
        let lists = lists(whitelists)?;
        let lists: Vec<_> = lists.iter().collect();
        let unpack = |pipe: &mut Pipe| {
            let mut archive = ArchiveReader::new(pipe, limits);
            let contents = aci::unpack_onto(&mut archive, unpacker, limits, &lists)?;
            archive.finish()?;
            Ok(contents)
        };
        let (contents, measured) =
            send(self.import, blob, copy, Algorithm::Sha512, "image", unpack)?;
        let Content::Sha512(id) = &measured.content else {
            bail!("the digest is of the wrong kind");
        };
        let id = id.clone();
        self.note(blob, &measured, LayerContent::Image(id.clone()), whitelists);
        Ok((contents, id))
    }

    /// The archives that were unpacked.
    pub fn layers(&self) -> &[LayerRecord] {
        &self.layers
    }

    fn note(
        &mut self,
        blob: &Blob,
        measured: &Measured,
        content: LayerContent,
        whitelists: &[Vec<String>],
    ) {
        self.layers.push(LayerRecord {
            blob: measured.blob,
            blob_size: blob.size,
            content,
            size: measured.bytes,
            whitelists: whitelists.to_vec(),
        });
    }

    /// Takes away what is not on the image's list, where it has one, and makes the tree run from
    /// `path`.
    pub fn finish(mut self, path: &Path, path_whitelist: &[String]) -> Result<TreeRecord> {
        self.keep_only(path_whitelist)?;
        let (directories, left_out) = self.unpacker.finish();
        let relocations = relocate_and_write(&self.root, path)?;
        if self.owners == Owners::Caller {
            directories.seal(self.root.as_fd())?;
        }
        directories.set_times(self.root.as_fd())?;
        rustix::fs::fchmod(self.dir, Mode::from_raw_mode(0o755))
            .context("cannot set the mode of the tree's directory")?;
        let record = TreeRecord {
            path: path.to_owned(),
            layers: self.layers,
            left_out,
        };
        record.write(self.dir, &relocations)?;
        Ok(record)
    }

    /// Takes away what is not on the image's list, where it has one, and leaves the rest as its
    /// author made it. Says what was left out.
    pub fn finish_as_made(mut self, path_whitelist: &[String]) -> Result<LeftOut> {
        self.keep_only(path_whitelist)?;
        let (directories, left_out) = self.unpacker.finish();
        directories.set_times(self.root.as_fd())?;
        Ok(left_out)
    }

    fn keep_only(&mut self, path_whitelist: &[String]) -> Result<()> {
        if let Some(whitelist) = Whitelist::new(path_whitelist)? {
            self.unpacker
                .keep_only(&whitelist)
                .context("cannot apply the image's pathWhitelist")?;
        }
        self.unpacker.imply_root()
    }
}

/// Relocates a tree, while what was unpacked is already on its way to the disk: little is left
/// to write for the sync that counts.
fn relocate_and_write(root: &OwnedFd, path: &Path) -> Result<Report> {
    thread::scope(|scope| {
        // If this fails, so does the sync that counts.
        scope.spawn(|| rustix::fs::syncfs(root));
        relocate(root.as_fd(), path).context("cannot relocate the image")
    })
}

/// The lists, checked; those that are empty keep everything.
fn lists(whitelists: &[Vec<String>]) -> Result<Vec<Whitelist>> {
    let lists = whitelists.iter().map(|list| Whitelist::new(list));
    Ok(lists
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// Sends an archive through a pipeline.
///
/// # Errors
/// As [`pipeline::run`].
pub fn send<T>(
    import: Import<'_>,
    blob: &Blob,
    copy: Option<&File>,
    algorithm: Algorithm,
    shown: &str,
    unpack: impl FnOnce(&mut Pipe) -> Result<T>,
) -> Result<(T, Measured)> {
    let bar = import.progress.start(shown, Some(blob.size));
    let source = Source {
        blob,
        copy,
        algorithm,
        limit: import.limits.expanded_bytes,
        bar: &*bar,
    };
    let sent = pipeline::run(&source, unpack)?;
    bar.finish();
    Ok(sent)
}

/// Copies of archives that come in, and downloads, until the image is whole.
pub struct Copies<'a> {
    dir: BorrowedFd<'a>,
    made: Vec<(String, Option<Sha256>)>,
    downloads: Option<&'a Downloads<'a>>,
}

impl<'a> Copies<'a> {
    /// None yet; they are made in `dir`.
    pub fn new(dir: BorrowedFd<'a>, downloads: Option<&'a Downloads<'a>>) -> Self {
        Self {
            dir,
            made: Vec::new(),
            downloads,
        }
    }

    /// Whether the archive is among the downloads.
    pub fn has(&self, digest: &Sha256) -> bool {
        self.downloads
            .is_some_and(|downloads| downloads.has(digest))
    }

    /// A file for one more.
    pub fn create(&mut self) -> Result<File> {
        let name = format!("archive-{}", self.made.len());
        let file = blobs::create(self.dir, &name)?;
        self.made.push((name, None));
        Ok(file)
    }

    /// The digest of the last one.
    pub fn name(&mut self, digest: Sha256) {
        if let Some((_, last)) = self.made.last_mut() {
            *last = Some(digest);
        }
    }

    /// Moves them to where archives are kept.
    pub fn publish(&self, blobs: BorrowedFd<'_>) -> Result<()> {
        for (name, digest) in &self.made {
            if let Some(digest) = digest {
                blobs::publish(self.dir, name, blobs, digest)?;
            }
        }
        self.downloads.map_or(Ok(()), Downloads::publish)
    }
}

/// What an image holds and a tree does not, for the user to know.
pub fn warn(left_out: LeftOut, origin: &str) {
    let LeftOut { devices, xattrs } = left_out;
    if devices > 0 {
        log::warn!("{origin}: left out {devices} device nodes; apps see the host's /dev");
    }
    if xattrs > 0 {
        log::warn!(
            "{origin}: left out {xattrs} extended attributes; security.capability and user.* are kept"
        );
    }
}
