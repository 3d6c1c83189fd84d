//! What a user may call an image by on the command line.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::id::{APPC, IdPrefix, OCI};
use super::name::check_identifier;

/// How the user named an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A file: its name ends in `.aci`, or it is clearly a path.
    File(PathBuf),
    /// An image in the store, by its ID or the beginning of it.
    Id(IdPrefix),
    /// An image in the store, by its name.
    Name(NameReference),
}

/// The name of an image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameReference {
    /// The image's name, an AC Identifier.
    pub name: String,
    /// The value of its label `version`, where the user gave one.
    pub version: Option<String>,
}

impl Reference {
    /// Parses what stands on the command line.
    ///
    /// A name such as `example.com/app` may be a relative path as well; it is parsed as a
    /// name, and the store falls back to the file where it holds no such image.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(!text.is_empty(), "an image reference cannot be empty");
        ensure!(
            !text.contains('\0'),
            "an image reference cannot hold a zero byte"
        );
        if let Some((scheme, _)) = text.split_once("://") {
            bail!(
                "cannot fetch {text:?}: {scheme}:// references are not supported; give a file, an image ID or an image name"
            );
        }
        let is_path = ["/", "./", "../"]
            .iter()
            .any(|start| text.starts_with(start));
        if is_path || text.ends_with(".aci") {
            return Ok(Self::File(text.into()));
        }
        if IdPrefix::is_meant_by(text) && !text.contains('/') {
            return Ok(Self::Id(IdPrefix::parse(text)?));
        }
        match NameReference::parse(text) {
            Ok(name) => Ok(Self::Name(name)),
            Err(_) if text.contains('/') => Ok(Self::File(text.into())),
            Err(error) => Err(error).with_context(|| {
                format!("{text:?} is neither a file (NAME.aci, or a path with a /), an image ID ({APPC}HEX or {OCI}HEX) nor an image name")
            }),
        }
    }
}

impl NameReference {
    /// Parses `NAME` or `NAME:VERSION`.
    fn parse(text: &str) -> Result<Self> {
        let (name, version) = match text.split_once(':') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        check_identifier(name)?;
        if let Some(version) = version {
            ensure!(
                !version.is_empty()
                    && !version.contains(|c: char| c.is_control() || "/,".contains(c)),
                "{version:?} is no image version"
            );
        }
        Ok(Self {
            name: name.to_owned(),
            version: version.map(str::to_owned),
        })
    }
}

impl fmt::Display for NameReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(formatter, "{}:{version}", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(name: &str, version: Option<&str>) -> Reference {
        Reference::Name(NameReference {
            name: name.to_owned(),
            version: version.map(str::to_owned),
        })
    }

    #[test]
    fn files() {
        for text in [
            "docker.aci",
            "/a",
            "./a",
            "../a",
            "example.com/a.aci",
            "Build/app",
            "a b/c",
            "./sha512-ab",
            "dir/ä:ö",
        ] {
            assert_eq!(
                Reference::parse(text).unwrap(),
                Reference::File(text.into())
            );
        }
    }

    #[test]
    fn ids() {
        let id = Reference::Id(IdPrefix::parse("sha512-abcd").unwrap());
        assert_eq!(Reference::parse("sha512-abcd").unwrap(), id);
        for bad in ["sha512-", "sha512-a", "sha512-ABCD"] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(Reference::parse("docker").unwrap(), name("docker", None));
        assert_eq!(
            Reference::parse("example.com/app:1.0-2").unwrap(),
            name("example.com/app", Some("1.0-2"))
        );
    }

    #[test]
    fn nothing_else() {
        for bad in [
            "",
            "Docker",
            "a:",
            "a\0b",
            "docker://busybox",
            "https://e.com/a.aci",
            "--exec",
        ] {
            let error = Reference::parse(bad).unwrap_err();
            assert!(!format!("{error:#}").contains('\n'), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn names_come_back_as_written(text in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}(:[a-z0-9.]{1,8})?") {
            prop_assume!(!text.ends_with(".aci"));
            match Reference::parse(&text).unwrap() {
                Reference::Name(name) => prop_assert_eq!(name.to_string(), text),
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn no_input_panics(text in "\\PC{0,40}") {
            let _ = Reference::parse(&text);
        }
    }
}
