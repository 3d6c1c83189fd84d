//! Names in archives, and paths in an image's tree.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, bail, ensure};

/// The path that an entry's name means: relative to the archive's top, components parted by one
/// slash, empty for the top itself.
///
/// Refuses what leads elsewhere, and names that are not text in one line: skim shows paths of an
/// image in its records, its messages and its units, where such a name could not be told from
/// another one. (A symbolic link's target is content, and may hold any bytes.)
pub fn normalize(name: &[u8]) -> Result<Vec<u8>> {
    let shown = name.escape_ascii();
    ensure!(!name.is_empty(), "an entry has no name");
    ensure!(!name.contains(&0), "the name \"{shown}\" holds a zero byte");
    ensure!(
        !name.contains(&b'\n'),
        "the name \"{shown}\" holds a newline"
    );
    ensure!(
        std::str::from_utf8(name).is_ok(),
        "the name \"{shown}\" is not valid UTF-8"
    );
    ensure!(!name.starts_with(b"/"), "the name \"{shown}\" is absolute");
    let mut path = Vec::with_capacity(name.len());
    for component in components(name) {
        if component == b".." {
            bail!("the name \"{shown}\" leads upwards");
        }
        push(&mut path, component);
    }
    Ok(path)
}

/// The components of a path, without those that mean nothing.
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|component| !matches!(*component, b"" | b"."))
}

/// Splits a path into its directory, empty for the root, and its last component.
pub fn split(path: &[u8]) -> (&[u8], &OsStr) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], OsStr::from_bytes(&path[slash + 1..])),
        None => (&[], OsStr::from_bytes(path)),
    }
}

/// Appends a component to a path.
pub fn push(path: &mut Vec<u8>, component: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(component);
}

/// The path of what is called `name` in a directory.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    push(&mut path, name);
    path
}

/// Takes the last component away; the root is its own parent.
pub fn pop(path: &mut Vec<u8>) {
    path.truncate(split(path).0.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_and_put_together() {
        assert_eq!(normalize(b"./a//b/./c/").unwrap(), b"a/b/c");
        assert_eq!(normalize(b"./").unwrap(), b"");
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], OsStr::new("c")));
        assert_eq!(split(b"a"), (&b""[..], OsStr::new("a")));
        assert_eq!(join(b"", b"a"), b"a");
        let mut path = join(b"a", b"b");
        for left in [&b"a"[..], b"", b""] {
            pop(&mut path);
            assert_eq!(path, left);
        }
    }

    #[test]
    fn names_that_are_not_one_line_of_text_are_refused() {
        let cases: [(&[u8], &str); 7] = [
            (b"", "no name"),
            (b"a\0", "zero byte"),
            (b"a\nb", "newline"),
            (b"a/\xff", "UTF-8"),
            (b"/a", "absolute"),
            (b"a/..", "upwards"),
            (b"..", "upwards"),
        ];
        for (name, why) in cases {
            let text = normalize(name).unwrap_err().to_string();
            assert!(text.contains(why) && !text.contains('\n'), "{text}");
        }
        assert_eq!(
            normalize("é \t\"\\".as_bytes()).unwrap(),
            "é \t\"\\".as_bytes()
        );
    }
}
