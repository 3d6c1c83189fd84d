//! Where an image's signature is found: beside it, under its name and `.asc`.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::verify::MAX_SIGNATURE;

/// What the name of a signature has more than that of the image.
const SUFFIX: &str = ".asc";

/// The path of the signature of the image at `image`.
pub fn path(image: &Path) -> PathBuf {
    let mut path = OsString::from(image);
    path.push(SUFFIX);
    path.into()
}

/// The URL of the signature of the image at `url`: its path is longer, its query the same.
pub fn url(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (path, rest) = url.split_at(end);
    format!("{path}{SUFFIX}{rest}")
}

/// Reads the file of a signature; `None` where there is none.
///
/// # Errors
/// Where it cannot be read, is no regular file, or is too large.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    read_file(path).with_context(|| format!("cannot read the signature {}", path.display()))
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        fd => fd?,
    };
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    ensure!(kind.is_file(), "it is no regular file");
    let mut content = Vec::new();
    File::from(fd)
        .take(MAX_SIGNATURE + 1)
        .read_to_end(&mut content)?;
    ensure!(
        content.len() as u64 <= MAX_SIGNATURE,
        "it has more than {MAX_SIGNATURE} bytes"
    );
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_the_image() {
        assert_eq!(path(Path::new("a/x.aci")), Path::new("a/x.aci.asc"));
        for (image, signature) in [
            ("https://e.com/x.aci", "https://e.com/x.aci.asc"),
            (
                "https://e.com/x.aci?t=a.b/c",
                "https://e.com/x.aci.asc?t=a.b/c",
            ),
            ("https://e.com/x.aci#y?z", "https://e.com/x.aci.asc#y?z"),
        ] {
            assert_eq!(url(image), signature);
        }
    }

    #[test]
    fn files() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.asc");
        assert_eq!(read(&path).unwrap(), None);
        std::fs::write(&path, "signature").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"signature");
        std::fs::write(&path, vec![0; MAX_SIGNATURE as usize + 1]).unwrap();
        assert!(read(&path).is_err());
        assert!(read(root.path()).is_err());
    }
}
