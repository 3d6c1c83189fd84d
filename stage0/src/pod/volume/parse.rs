//! Volumes and mounts as they stand on the command line: rkt's syntax. Pure.
//!
//! A value stands as it is: as with rkt nothing is decoded in it, so that `%` is a `%`, and a
//! comma cannot be given.

use std::path::{Component, Path};

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::pod::VolumeKind;

use super::{MountRequest, Volume};
use crate::image::name::check_name;

/// The kernel takes paths that are shorter than this, in bytes (PATH_MAX).
const PATH_MAX: usize = 4096;

/// The longest name of a volume, in bytes: it is that of a directory, too (NAME_MAX).
const NAME_MAX: usize = 255;

/// The mode of an empty volume that says nothing else.
pub const DEFAULT_MODE: u32 = 0o755;

/// Reads `NAME,kind=host,source=/PATH[,readOnly=BOOL][,recursive=BOOL]` or
/// `NAME,kind=empty[,mode=0755][,uid=0][,gid=0][,readOnly=BOOL]`.
///
/// # Errors
/// What is wrong with it (appc spec, "pods", `volumes`).
pub fn parse_volume(text: &str) -> Result<Volume> {
    let (name, rest) = match text.split_once(',') {
        Some((name, rest)) => (name, Some(rest)),
        None => (text, None),
    };
    check_volume_name(name).context("a volume begins with its name")?;
    read_volume(name, rest).with_context(|| format!("volume {name}"))
}

fn read_volume(name: &str, rest: Option<&str>) -> Result<Volume> {
    let mut fields = Fields::parse(rest)?;
    let read_only = fields.boolean("readOnly")?.unwrap_or(false);
    let recursive = fields.boolean("recursive")?;
    let source = fields.take("source");
    let attributes = Attributes {
        mode: fields.take("mode").map(mode).transpose()?,
        uid: fields.id("uid")?,
        gid: fields.id("gid")?,
    };
    let kind = fields.take("kind");
    fields.finish("kind, source, readOnly, recursive, mode, uid, gid")?;
    volume(
        name,
        kind.context("kind is missing: kind=host or kind=empty")?,
        source.map(Path::new),
        read_only,
        recursive,
        attributes,
    )
}

/// What only an empty volume has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// Makes a volume of its parts, as the command line and a pod manifest give them.
///
/// # Errors
/// Where they do not go together (appc spec, "pods", `volumes`).
pub fn volume(
    name: &str,
    kind: &str,
    source: Option<&Path>,
    read_only: bool,
    recursive: Option<bool>,
    attributes: Attributes,
) -> Result<Volume> {
    check_volume_name(name)?;
    let kind = match kind {
        "host" => {
            ensure!(
                attributes == Attributes::default(),
                "a volume of kind=host has no mode, uid or gid: the source has its own"
            );
            check_source(source.context("source is missing: source=/PATH")?)?;
            VolumeKind::Host {
                recursive: recursive.unwrap_or(true),
            }
        }
        "empty" => {
            ensure!(source.is_none(), "a volume of kind=empty has no source");
            ensure!(
                recursive.is_none(),
                "a volume of kind=empty is not recursive: nothing is mounted in it"
            );
            let Attributes { mode, uid, gid } = attributes;
            let mode = mode.unwrap_or(DEFAULT_MODE);
            ensure!(mode <= 0o7777, "mode {mode:o}: at most 7777");
            let is_id = |id: u32| id != u32::MAX;
            ensure!(
                uid.is_none_or(is_id) && gid.is_none_or(is_id),
                "uid or gid {} is none",
                u32::MAX
            );
            VolumeKind::Empty {
                mode,
                uid: uid.unwrap_or(0),
                gid: gid.unwrap_or(0),
                fill: None,
            }
        }
        other => bail!("unknown kind {other:?} (must be one of: host, empty)"),
    };
    Ok(Volume {
        name: name.to_owned(),
        kind,
        source: source.map(|source| source.components().collect()),
        read_only,
    })
}

/// Reads `volume=NAME,target=/PATH`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_mount(text: &str) -> Result<MountRequest> {
    let mut fields = Fields::parse(Some(text))?;
    let volume = fields.take("volume");
    let target = fields.take("target");
    fields.finish("volume, target")?;
    let volume = volume.context("volume is missing: volume=NAME,target=/PATH")?;
    check_volume_name(volume)?;
    let target = target.context("target is missing: volume=NAME,target=/PATH")?;
    check_target(Path::new(target))?;
    Ok(MountRequest {
        volume: volume.to_owned(),
        target: target.to_owned(),
    })
}

/// Checks the path of the image that a volume is mounted at.
///
/// # Errors
/// Where it is not absolute, climbs, or is the root.
pub fn check_target(target: &Path) -> Result<()> {
    check_path(target).with_context(|| format!("target {target:?}"))?;
    ensure!(
        target.components().any(|part| part != Component::RootDir),
        "target {target:?}: an app's whole rootfs cannot be a volume"
    );
    Ok(())
}

fn check_source(source: &Path) -> Result<()> {
    check_path(source).with_context(|| format!("source {source:?}"))
}

fn check_path(path: &Path) -> Result<()> {
    ensure!(path.is_absolute(), "must be an absolute path");
    ensure!(
        !path.components().any(|part| part == Component::ParentDir),
        "\"..\" must not stand in it"
    );
    ensure!(
        path.as_os_str().len() < PATH_MAX,
        "longer than {} bytes",
        PATH_MAX - 1
    );
    // Neither a unit nor a line of output could hold it.
    ensure!(
        !path.to_string_lossy().contains(char::is_control),
        "a control character, such as a newline, must not stand in it"
    );
    Ok(())
}

/// Checks a volume's name: an AC Name that is no longer than a file's may be.
///
/// # Errors
/// Where it is not.
pub fn check_volume_name(name: &str) -> Result<()> {
    check_name(name)?;
    ensure!(
        name.len() <= NAME_MAX,
        "{name:?} is longer than {NAME_MAX} bytes"
    );
    Ok(())
}

/// Permission bits, octal as always.
fn mode(text: &str) -> Result<u32> {
    let octal = text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| octal);
    mode.with_context(|| format!("mode {text:?} is no octal number such as 0755"))
}

/// `KEY=VALUE,…`
struct Fields<'a> {
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    fn parse(text: Option<&'a str>) -> Result<Self> {
        let mut fields: Vec<(&str, &str)> = Vec::new();
        for field in text.into_iter().flat_map(|text| text.split(',')) {
            let (key, value) = field.split_once('=').with_context(|| {
                format!(
                    "{field:?} is no KEY=VALUE (a comma cannot stand in a path here: name a \
                     symbolic link to it, or use --pod-manifest)"
                )
            })?;
            ensure!(
                !fields.iter().any(|(known, _)| *known == key),
                "{key:?} is given twice"
            );
            fields.push((key, value));
        }
        Ok(Self { fields })
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let index = self.fields.iter().position(|(known, _)| *known == key)?;
        Some(self.fields.swap_remove(index).1)
    }

    fn boolean(&mut self, key: &str) -> Result<Option<bool>> {
        let value = self.take(key);
        let read = |value: &str| match value {
            "true" => Ok(true),
            "false" => Ok(false),
            other => bail!("{key}={other:?} is neither true nor false"),
        };
        value.map(read).transpose()
    }

    fn id(&mut self, key: &str) -> Result<Option<u32>> {
        let value = self.take(key);
        let read = |value: &str| {
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            let id = value.parse().ok().filter(|_| digits);
            id.with_context(|| format!("{key}={value:?} is no number of a user or group"))
        };
        value.map(read).transpose()
    }

    fn finish(self, known: &str) -> Result<()> {
        match self.fields.first() {
            Some((key, _)) => bail!("unknown key {key:?} (must be one of: {known})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, source: &str, read_only: bool, recursive: bool) -> Volume {
        Volume {
            name: name.into(),
            kind: VolumeKind::Host { recursive },
            source: Some(source.into()),
            read_only,
        }
    }

    fn empty(name: &str, mode: u32, uid: u32, gid: u32) -> Volume {
        let fill = None;
        Volume {
            name: name.into(),
            kind: VolumeKind::Empty {
                mode,
                uid,
                gid,
                fill,
            },
            source: None,
            read_only: false,
        }
    }

    #[test]
    fn volumes() {
        for (text, expected) in [
            ("a,kind=host,source=/b", host("a", "/b", false, true)),
            (
                "a-1,source=/b//./c/,recursive=false,readOnly=true,kind=host",
                host("a-1", "/b/c", true, false),
            ),
            (
                "a,kind=host,source=/x y%2C$ä\\=z,readOnly=false,recursive=true",
                host("a", "/x y%2C$ä\\=z", false, true),
            ),
            ("a,kind=host,source=/", host("a", "/", false, true)),
            ("a,kind=empty", empty("a", 0o755, 0, 0)),
            (
                "a,kind=empty,mode=01777,uid=7,gid=4294967294",
                empty("a", 0o1777, 7, u32::MAX - 1),
            ),
        ] {
            assert_eq!(parse_volume(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn volumes_that_make_no_sense() {
        for (text, says) in [
            ("", "AC Name"),
            ("kind=host,source=/b", "AC Name"),
            ("A,kind=host,source=/b", "AC Name"),
            ("a", "kind is missing"),
            ("a,", "no KEY=VALUE"),
            ("a,kind=", "unknown kind"),
            ("a,kind=Host,source=/b", "unknown kind"),
            ("a,kind=host", "source is missing"),
            ("a,kind=host,source=", "absolute"),
            ("a,kind=host,source=b", "absolute"),
            ("a,kind=host,source=/b/../c", "\"..\""),
            ("a,kind=host,source=/b\nc", "newline"),
            ("a,kind=host,source=/b\u{9b}c", "newline"),
            ("a,kind=host,source=/b,c", "a comma cannot"),
            ("a,kind=host,source=/b,mode=0755", "no mode"),
            ("a,kind=host,source=/b,uid=0", "no mode"),
            ("a,kind=host,source=/b,gid=0", "no mode"),
            ("a,kind=host,source=/b,source=/b", "given twice"),
            ("a,kind=host,source=/b,readonly=true", "unknown key"),
            ("a,kind=host,source=/b,readOnly=yes", "neither true"),
            ("a,kind=host,source=/b,recursive=", "neither true"),
            ("a,kind=empty,source=/b", "has no source"),
            ("a,kind=empty,recursive=true", "not recursive"),
            ("a,kind=empty,mode=0789", "octal"),
            ("a,kind=empty,mode=+755", "octal"),
            ("a,kind=empty,mode=17777", "at most"),
            ("a,kind=empty,mode=", "octal"),
            ("a,kind=empty,uid=-1", "no number"),
            ("a,kind=empty,uid=+1", "no number"),
            ("a,kind=empty,gid=4294967296", "no number"),
            ("a,kind=empty,gid=4294967295", "is none"),
        ] {
            let error = format!("{:#}", parse_volume(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains('\n'), "{text}: {error}");
        }
        let long = "a".repeat(256);
        assert!(parse_volume(&format!("{long},kind=empty")).is_err());
        let long = format!("a,kind=host,source=/{}", "a".repeat(PATH_MAX));
        assert!(parse_volume(&long).is_err());
    }

    #[test]
    fn mounts() {
        let mount = parse_mount("target=/data/x,volume=a").unwrap();
        assert_eq!((&*mount.volume, &*mount.target), ("a", "/data/x"));
        for (text, says) in [
            ("", "no KEY=VALUE"),
            ("volume=a", "target is missing"),
            ("target=/a", "volume is missing"),
            ("volume=A,target=/a", "AC Name"),
            ("volume=a,target=a", "absolute"),
            ("volume=a,target=/", "whole rootfs"),
            ("volume=a,target=//.", "whole rootfs"),
            ("volume=a,target=/a/..", "\"..\""),
            ("volume=a,target=/a,target=/b", "given twice"),
            ("volume=a,target=/a,x=/b", "unknown key"),
        ] {
            let error = format!("{:#}", parse_mount(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
