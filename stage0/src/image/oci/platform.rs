//! What an image is built for, in the words of OCI: those of Go (image-spec, image-index.md,
//! "Platform").

use std::fmt;

use anyhow::{Result, ensure};

/// An operating system, an architecture and, where it matters, a variant of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`; others exist.
    pub os: String,
    /// Such as `amd64`, `arm64`, `arm`.
    pub architecture: String,
    /// Such as `v7`.
    pub variant: Option<String>,
}

impl Platform {
    /// A platform, with the spellings that are in use made one.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = architecture.to_ascii_lowercase();
        let (architecture, implied) = match architecture.as_str() {
            "x86_64" | "x86-64" => ("amd64", None),
            "i386" | "i686" => ("386", None),
            "aarch64" => ("arm64", None),
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v6")),
            other => (other, None),
        };
        let variant = variant.filter(|variant| !variant.is_empty()).or(implied);
        Self {
            os: os.to_ascii_lowercase(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_ascii_lowercase),
        }
    }

    /// This host's.
    pub fn host() -> Self {
        let big = cfg!(target_endian = "big");
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" if big => ("arm64be", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" if big => ("armbe", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if big => ("ppc64", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self::new("linux", architecture, variant)
    }

    /// How well an image for `image` suits this host: 0 is best, `None` not at all.
    ///
    /// An ARM processor runs what was built for an older one. An image for `amd64` that names a
    /// variant is taken for want of a better one: which of them the processor is, is not told.
    pub fn rank(&self, image: &Self) -> Option<u32> {
        if (&image.os, &image.architecture) != (&self.os, &self.architecture) {
            return None;
        }
        let version = |variant: &Option<String>, default: u32| match variant {
            None => Some(default),
            Some(variant) => variant.strip_prefix('v')?.parse::<u32>().ok(),
        };
        match self.architecture.as_str() {
            "arm" => version(&self.variant, 7)?.checked_sub(version(&image.variant, 7)?),
            "arm64" => version(&self.variant, 8)?.checked_sub(version(&image.variant, 8)?),
            "amd64" => version(&image.variant, 1)?.checked_sub(1),
            _ => Some(u32::from(image.variant != self.variant)),
        }
    }

    /// Checks that an image for `image` can run here.
    ///
    /// # Errors
    /// Where it cannot.
    pub fn check(&self, image: &Self) -> Result<()> {
        let os = &image.os;
        ensure!(*os == self.os, "bad os {os:?} (must be one of: [linux])");
        let (image_text, host_text) = (image.to_string(), self.to_string());
        ensure!(
            self.rank(image).is_some(),
            "the image is for {image_text:?}, but this host is {host_text:?}: take the image built for this host"
        );
        Ok(())
    }

    /// Whether it says nothing, as buildkit's for what goes with an image and is none.
    pub(super) fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `os/architecture[/variant]`.
    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/');
        let mut next = || parts.next();
        Platform::new(next().unwrap(), next().unwrap(), next())
    }

    #[test]
    fn ranks() {
        for (host, image, expected) in [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/amd64", "linux/x86_64", Some(0)),
            ("linux/amd64", "linux/amd64/v1", Some(0)),
            ("linux/amd64", "linux/amd64/v3", Some(2)),
            ("linux/amd64", "linux/amd64/v0", None),
            ("linux/amd64", "linux/386", None),
            ("linux/amd64", "windows/amd64", None),
            ("linux/arm64/v8", "linux/arm64", Some(0)),
            ("linux/arm64/v8", "linux/aarch64/v8", Some(0)),
            ("linux/arm64/v8", "linux/arm64/v9", None),
            ("linux/arm64/v8", "linux/arm/v7", None),
            ("linux/arm/v7", "linux/arm", Some(0)),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v7", "linux/arm/v5", Some(2)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm/v6", "linux/armhf", None),
            ("linux/arm/v7", "linux/arm/vx", None),
            ("linux/riscv64", "linux/riscv64", Some(0)),
            ("linux/ppc64le", "linux/ppc64", None),
        ] {
            assert_eq!(
                platform(host).rank(&platform(image)),
                expected,
                "{host} {image}"
            );
        }
        assert_eq!(Platform::host().rank(&Platform::host()), Some(0));
    }

    #[test]
    fn refusals_name_both() {
        let host = platform("linux/arm/v6");
        let text = host
            .check(&platform("linux/arm/v7"))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("\"linux/arm/v7\", but this host is \"linux/arm/v6\""),
            "{text}"
        );
        let text = host
            .check(&platform("win\ndows/arm"))
            .unwrap_err()
            .to_string();
        assert_eq!(text, "bad os \"win\\ndows\" (must be one of: [linux])");
    }
}
