//! Where an entry of an appc image belongs.

use anyhow::{Result, bail};

use crate::image::unpack::path::{components, normalize};

/// Where an entry belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The archive's top, `./`.
    Top,
    /// The image manifest.
    Manifest,
    /// The directory `rootfs` or what is beneath it: the path from there, components parted by
    /// one slash, empty for `rootfs` itself.
    Rootfs(Vec<u8>),
}

impl Place {
    /// The place of an entry with this name.
    pub fn of(name: &[u8]) -> Result<Self> {
        let path = normalize(name)?;
        let parts: Vec<&[u8]> = components(&path).collect();
        match parts.split_first() {
            None => Ok(Self::Top),
            Some((&b"manifest", [])) => Ok(Self::Manifest),
            Some((&b"rootfs", below)) => Ok(Self::Rootfs(below.join(&b'/'))),
            Some(_) => bail!(
                "\"{}\" is neither the manifest nor beneath rootfs/",
                name.escape_ascii()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places() {
        let rootfs = |path: &[u8]| Place::Rootfs(path.to_vec());
        let cases: [(&[u8], Place); 9] = [
            (b"./", Place::Top),
            (b".", Place::Top),
            (b"manifest", Place::Manifest),
            (b"./manifest", Place::Manifest),
            (b"rootfs", rootfs(b"")),
            (b"./rootfs/", rootfs(b"")),
            (b"rootfs/a//./b/", rootfs(b"a/b")),
            (b"rootfs/manifest", rootfs(b"manifest")),
            (b"rootfs/\xc3\xa4 ", rootfs(b"\xc3\xa4 ")),
        ];
        for (name, place) in cases {
            assert_eq!(Place::of(name).unwrap(), place, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let cases: [&[u8]; 14] = [
            b"",
            b"/rootfs/a",
            b"rootfs/../a",
            b"..",
            b"rootfs/a/..",
            b"rootfs-evil/a",
            b"rootfsx",
            b"etc/passwd",
            b"manifest/a",
            b"rootfs/a\0b",
            b"/",
            b"../rootfs",
            b"rootfs/a\nb",
            b"rootfs/\xff",
        ];
        for name in cases {
            let error = Place::of(name).expect_err(&name.escape_ascii().to_string());
            assert!(!error.to_string().contains('\n'));
        }
    }

    proptest! {
        #[test]
        fn no_path_leads_out(name in proptest::collection::vec(
            prop_oneof![Just(b'/'), Just(b'.'), Just(b'a'), any::<u8>()], 0..30))
        {
            let mut whole = b"rootfs/".to_vec();
            whole.extend(name);
            if let Ok(Place::Rootfs(path)) = Place::of(&whole) {
                prop_assert!(!path.starts_with(b"/"));
                prop_assert!(path.is_empty() || path.split(|b| *b == b'/')
                    .all(|part| !part.is_empty() && part != b"." && part != b".."));
            }
        }
    }
}
