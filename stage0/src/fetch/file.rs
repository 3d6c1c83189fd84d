//! Images in files and directories.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::{Fetcher, NotInStore, ids};
use crate::image::archive::compression::{Compression, Decoder};
use crate::image::archive::pipeline::{Algorithm, Content, Pipe};
use crate::image::blob::Blob;
use crate::image::id::ImageId;
use crate::image::oci::archive::{self, FileKind};
use crate::image::oci::{OciImage, layout};
use crate::image::reference::{RegistryReference, name_of_path};
use crate::store::{self, AciFound, Fingerprint, Image, ImageName, Origin, blob_of_file};
use crate::trust::{Evidence, source};

/// How much of an archive tells what is in it, where it is compressed.
const HEAD: u64 = 1 << 20;

/// What of a file is meant.
enum Choice<'a> {
    /// Whatever is in it.
    Any,
    /// An image of an OCI layout.
    Oci(Option<&'a str>),
    /// An image of what `docker save` wrote.
    Docker(Option<&'a RegistryReference>),
}

impl Fetcher<'_> {
    /// The image in a file, or in a directory with an OCI layout.
    pub(super) fn file(&self, path: &Path) -> Result<Image> {
        if path.is_dir() {
            ensure!(
                layout::is_layout(path),
                "{} is a directory without an OCI image layout: there is no file oci-layout in it",
                path.display()
            );
            return self.directory(path, None);
        }
        self.archive(path, &Choice::Any)
    }

    /// An image in a directory with an OCI layout.
    pub(super) fn directory(&self, path: &Path, tag: Option<&str>) -> Result<Image> {
        ensure!(self.signature.is_none(), super::ONLY_ACIS);
        let image = layout::open(path, tag)?;
        self.import_oci(&image, &of_path("oci:", path, tag)?)
            .with_context(|| format!("cannot import {}", path.display()))
    }

    /// An image of an OCI layout in an archive.
    pub(super) fn oci_archive(&self, path: &Path, tag: Option<&str>) -> Result<Image> {
        self.archive(path, &Choice::Oci(tag))
    }

    /// An image in what `docker save` wrote.
    pub(super) fn docker_archive(
        &self,
        path: &Path,
        name: Option<&RegistryReference>,
    ) -> Result<Image> {
        self.archive(path, &Choice::Docker(name))
    }

    /// An image in a file. It is not read again if it was read before and has not changed.
    fn archive(&self, path: &Path, choice: &Choice<'_>) -> Result<Image> {
        let context = || format!("cannot import {}", path.display());
        let blob = open(path)?;
        let before = fingerprint(&blob, path)?;
        let signature = self.signature(|| source::read(&source::path(path)))?;
        let key = choice.to_string();
        if signature.is_none()
            && let Some(image) = self.store.known_file(&before, &key)
        {
            return self.admit(image, None, false);
        }
        let began = SystemTime::now();
        let image = self
            .import(path, &blob, choice, signature.as_deref())
            .with_context(context)?;
        if !self.only_known && fingerprint(&blob, path)? == before {
            // It only saves time.
            if let Err(error) = self.store.note_file(before, &key, began, &image) {
                log::debug!("{error:#}");
            }
        }
        Ok(image)
    }

    fn import(
        &self,
        path: &Path,
        blob: &Blob,
        choice: &Choice<'_>,
        signature: Option<&[u8]>,
    ) -> Result<Image> {
        let (kind, blob) = match choice {
            Choice::Any => self.recognise(blob)?,
            Choice::Oci(_) => (FileKind::OciArchive, self.plain(blob)?),
            Choice::Docker(_) => (FileKind::DockerArchive, self.plain(blob)?),
        };
        ensure!(
            kind == FileKind::Aci || self.signature.is_none(),
            super::ONLY_ACIS
        );
        let fallback = name_of_path(path);
        let image = match kind {
            FileKind::Aci => {
                let origin = of_path("", path, None)?;
                return self.import_aci(&blob, origin, signature);
            }
            FileKind::OciArchive => archive::oci_image(&blob, choice.oci_tag(), &fallback)?,
            FileKind::DockerArchive => {
                archive::docker_image(&blob, choice.docker_name(), &fallback)?
            }
        };
        self.import_oci(
            &image,
            &of_path(choice.transport(kind), path, choice.tag().as_deref())?,
        )
    }

    /// What a file holds, and what to read of it: an appc image as it is, an archive of images
    /// without its compression. Where it is compressed, its beginning may tell.
    fn recognise(&self, blob: &Blob) -> Result<(FileKind, Blob)> {
        if Compression::of(blob.reader())? == Compression::None {
            return Ok((archive::looks_like(blob)?, blob.clone()));
        }
        let mut head = self.store.temporary_file()?;
        let mut decoder = Decoder::new(blob.reader())?.take(HEAD);
        let length = io::copy(&mut decoder, &mut head).context("cannot read the archive")?;
        let told = archive::looks_like(&blob_of_file(head)?);
        match told {
            Ok(FileKind::Aci) => return Ok((FileKind::Aci, blob.clone())),
            // That was all of it.
            Err(error) if length < HEAD => return Err(error),
            _ => (),
        }
        let plain = self.plain(blob)?;
        // Layers come first in an archive of images, and what tells comes last.
        let kind = told.or_else(|_| archive::looks_like(&plain))?;
        Ok(match kind {
            FileKind::Aci => (kind, blob.clone()),
            FileKind::OciArchive | FileKind::DockerArchive => (kind, plain),
        })
    }

    /// The archive without its compression: its members are read where they are.
    fn plain(&self, blob: &Blob) -> Result<Blob> {
        if Compression::of(blob.reader())? == Compression::None {
            return Ok(blob.clone());
        }
        let mut file = self.store.temporary_file()?;
        let unpack =
            |pipe: &mut Pipe| io::copy(pipe, &mut file).context("cannot uncompress the archive");
        store::send(
            self.import,
            blob,
            None,
            Algorithm::Sha256,
            "uncompress",
            unpack,
        )?;
        blob_of_file(file)
    }

    /// The image `id`, which must be in the store.
    fn known(&self, id: &ImageId) -> Result<Image> {
        let image = self.store.find_id(id)?;
        let image = image.ok_or_else(|| NotInStore(id.clone()))?;
        self.admit(image, None, false)
    }

    /// The ID of an appc image.
    fn aci_id(&self, blob: &Blob) -> Result<ImageId> {
        let read =
            |pipe: &mut Pipe| io::copy(pipe, &mut io::sink()).context("cannot read the image");
        let (_, measured) = store::send(self.import, blob, None, Algorithm::Sha512, "read", read)?;
        match measured.content {
            Content::Sha512(id) => Ok(id),
            Content::Sha256(_) => bail!("its digest is not an appc image's"),
        }
    }

    /// Imports an appc image, its signature checked over the very bytes.
    pub(super) fn import_aci(
        &self,
        blob: &Blob,
        origin: Origin,
        signature: Option<&[u8]>,
    ) -> Result<Image> {
        if self.only_known {
            return self.known(&self.aci_id(blob)?);
        }
        let verdict = match signature {
            Some(signature) => Some(
                self.trust
                    .verify(signature, &blob.file)
                    .context("its signature cannot be accepted")?,
            ),
            None => None,
        };
        let origin = Origin {
            signature: verdict.as_ref().map(|verdict| verdict.signature.clone()),
            ..origin
        };
        let check = |found: &AciFound<'_>| {
            if let Some(verdict) = &verdict {
                ensure!(
                    verdict.digest == *found.blob,
                    "the file was changed while it was read: try again"
                );
            }
            let evidence = Evidence {
                ids: std::slice::from_ref(found.id),
                pinned: false,
                signature: origin.signature.as_ref(),
            };
            self.trust.admit(&found.manifest.name, &evidence)?;
            let mut below = found.below.iter();
            below.try_for_each(|below| self.admit_dependency(&below.id))
        };
        self.store.import_aci(blob, &origin, self.import, check)
    }

    /// Imports an OCI image that is not pinned by a digest.
    fn import_oci(&self, image: &OciImage, origin: &Origin) -> Result<Image> {
        if self.only_known {
            return self.known(&self.store.describe(image)?.0);
        }
        let check = |id: &ImageId, names: &[ImageName]| {
            let evidence = Evidence {
                ids: &ids(id, origin.digest),
                pinned: false,
                signature: None,
            };
            self.admit_names(names, &evidence)
        };
        self.store
            .import_oci(image, origin, self.import, None, check)
    }
}

impl Choice<'_> {
    /// How an image is called that was found in a file.
    fn transport(&self, kind: FileKind) -> &'static str {
        match kind {
            FileKind::Aci => "",
            FileKind::OciArchive => "oci-archive:",
            FileKind::DockerArchive => "docker-archive:",
        }
    }

    /// The tag that is meant of an OCI layout.
    fn oci_tag(&self) -> Option<&str> {
        match self {
            Self::Oci(tag) => *tag,
            Self::Any | Self::Docker(_) => None,
        }
    }

    /// The image that is meant of what `docker save` wrote.
    fn docker_name(&self) -> Option<&RegistryReference> {
        match self {
            Self::Docker(name) => *name,
            Self::Any | Self::Oci(_) => None,
        }
    }

    /// Either, as text.
    fn tag(&self) -> Option<String> {
        let name = || self.docker_name().map(ToString::to_string);
        self.oci_tag().map(str::to_owned).or_else(name)
    }
}

impl std::fmt::Display for Choice<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tag = self.tag().unwrap_or_default();
        match self {
            Self::Any => Ok(()),
            Self::Oci(_) => write!(formatter, "oci:{tag}"),
            Self::Docker(_) => write!(formatter, "docker:{tag}"),
        }
    }
}

/// Where an image in a file or a directory comes from.
fn of_path(transport: &str, path: &Path, tag: Option<&str>) -> Result<Origin> {
    let path = std::path::absolute(path).context("cannot find the working directory")?;
    let mut text = format!("{transport}{}", path.display());
    if let Some(tag) = tag {
        text = format!("{text}:{tag}");
    }
    Ok(Origin {
        text,
        ..Origin::default()
    })
}

/// Opens an image's file; never waits, as it would on a pipe.
fn open(path: &Path) -> Result<Blob> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let context = || format!("cannot open image file {}", path.display());
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).with_context(context)?;
    let stat = rustix::fs::fstat(&fd).with_context(context)?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        bail!("image file {} is no regular file", path.display());
    }
    blob_of_file(File::from(fd)).with_context(context)
}

/// What the file looks like now.
fn fingerprint(blob: &Blob, path: &Path) -> Result<Fingerprint> {
    let stat = rustix::fs::fstat(&blob.file)
        .with_context(|| format!("cannot look at image file {}", path.display()))?;
    Ok(Fingerprint::of(&stat))
}
