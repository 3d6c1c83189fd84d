//! An image's `pathWhitelist`: the paths that alone are to be there (appc specification,
//! aci.md, "Image Manifest Schema").
//!
//! The list is complete: a directory that is listed does not bring what is beneath it, as in
//! appc's own renderer. Directories above a listed path stay, as it could not be there without
//! them. (That renderer leaves all other directories of the image as well, empty; here they go,
//! as the specification asks.) A listed path that the image does not have is no error.

use std::collections::BTreeSet;
use std::ops::Bound;

use anyhow::{Context, Result, ensure};

use super::unpack::path;

/// A list of paths that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whitelist {
    /// From the root, without the slash that they start with.
    paths: BTreeSet<Vec<u8>>,
}

impl Whitelist {
    /// Checks the list as it stands in a manifest; `None` if it is empty, which means that all
    /// is kept.
    pub fn new(list: &[String]) -> Result<Option<Self>> {
        let paths = list.iter().map(|path| parse(path)).collect::<Result<_>>()?;
        Ok((!list.is_empty()).then_some(Self { paths }))
    }

    /// Whether what is at `path`, from the root and without a slash there, is kept.
    pub fn keeps(&self, path: &[u8], is_directory: bool) -> bool {
        path.is_empty() || self.paths.contains(path) || (is_directory && self.leads_to_any(path))
    }

    /// Whether a listed path is beneath this one.
    fn leads_to_any(&self, path: &[u8]) -> bool {
        let start = [path, b"/"].concat();
        let from = (Bound::Included(start.as_slice()), Bound::Unbounded);
        let next = self.paths.range::<[u8], _>(from).next();
        next.is_some_and(|next| next.starts_with(&start))
    }
}

fn parse(listed: &str) -> Result<Vec<u8>> {
    let context = || format!("pathWhitelist: {listed:?}");
    let relative = listed
        .strip_prefix('/')
        .with_context(|| format!("pathWhitelist: {listed:?} is no absolute path"))?;
    let relative = relative.trim_start_matches('/');
    ensure!(
        relative.len() < 4096,
        "pathWhitelist: a path has more than 4095 bytes"
    );
    match relative {
        "" => Ok(Vec::new()),
        _ => path::normalize(relative.as_bytes()).with_context(context),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &[&str]) -> Result<Option<Whitelist>> {
        Whitelist::new(
            &paths
                .iter()
                .map(|path| (*path).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn what_is_listed_and_what_is_above_stays() {
        let list = list(&["/a/b/c", "//d/", "/./e//f", "/a/b.c/x"])
            .unwrap()
            .unwrap();
        for (path, directory) in [
            ("", true),
            ("a", true),
            ("a/b", true),
            ("a/b/c", false),
            ("a/b/c", true),
            ("a/b.c", true),
            ("d", true),
            ("d", false),
            ("e/f", false),
        ] {
            assert!(list.keeps(path.as_bytes(), directory), "{path}");
        }
        for (path, directory) in [
            ("a", false),
            ("a/b", false),
            ("a/b/c/d", false),
            ("a/b/", true),
            ("a/bb", true),
            ("d/x", false),
            ("e/ff", false),
            ("A", true),
        ] {
            assert!(!list.keeps(path.as_bytes(), directory), "{path}");
        }
    }

    #[test]
    fn lists_are_checked() {
        assert_eq!(list(&[]).unwrap(), None);
        assert!(list(&["/"]).unwrap().unwrap().keeps(b"", true));
        for bad in ["", "a", "./a", "/a/../b", "/..", "/a\nb", "/a\0"] {
            let text = format!("{:#}", list(&["/ok", bad]).unwrap_err());
            assert!(text.starts_with("pathWhitelist: "), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
        let long = format!("/{}", "a".repeat(4096));
        assert!(list(&[&long]).is_err());
    }
}
