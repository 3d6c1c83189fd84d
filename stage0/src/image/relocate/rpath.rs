//! Library search paths, as ld.so(8) reads them.

use super::elf::Machine;
use super::libraries::{platform, triplets};

/// The longest search path that is written.
const MAX_RPATH: usize = 64 * 1024;
/// How many entries of a file's own search path count: far more than linkers emit.
const MAX_ENTRIES: usize = 256;

/// Bytes that end an entry of a search path for glibc (`:`) or musl (`:` and newline), or begin
/// a token of ld.so (`$`): a path that holds one cannot be written.
pub(super) fn is_expressible(path: &[u8]) -> bool {
    !path
        .iter()
        .any(|byte| matches!(byte, b':' | b'$' | b'\n' | 0))
}

/// Whether a search path has an entry that names a place of its own, not one relative to the
/// file.
pub(super) fn has_absolute_entry(search_path: &[u8]) -> bool {
    entries(search_path).any(|entry| entry.starts_with(b"/"))
}

/// The directories of the image that a search path of a file in `origin` may mean, best first.
///
/// `$ORIGIN` is the file's directory. `$LIB` means what the image's loader was built with, so
/// each usual value is tried, and `$PLATFORM` is the machine's plain name. Entries that are
/// relative to the working directory of whoever starts the program are dropped.
pub(super) fn candidates(search_path: &[u8], origin: &[u8], machine: Machine) -> Vec<Vec<u8>> {
    let mut candidates = Vec::new();
    for entry in entries(search_path).take(MAX_ENTRIES) {
        let entry = replace(entry, b"ORIGIN", origin);
        let entry = replace(&entry, b"PLATFORM", platform(machine).as_bytes());
        if !entry.starts_with(b"/") {
            continue;
        }
        let multiarch = triplets(machine)
            .iter()
            .map(|triplet| format!("lib/{triplet}"));
        for lib in multiarch.chain(["lib64".to_owned(), "lib".to_owned()]) {
            let candidate = replace(&entry, b"LIB", lib.as_bytes());
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
    }
    candidates
}

/// The search path of these directories of the image below `final_root`, without repeats and
/// without those that no search path can name. `None` if it would be too long.
pub(super) fn search_path<'a>(
    final_root: &[u8],
    directories: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Vec<u8>> {
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut path = Vec::new();
    for directory in directories {
        if seen.contains(&directory) || !is_expressible(directory) {
            continue;
        }
        seen.push(directory);
        if !path.is_empty() {
            path.push(b':');
        }
        path.extend_from_slice(&below(final_root, directory));
        if path.len() > MAX_RPATH {
            return None;
        }
    }
    Some(path)
}

/// The host's path of a path of the image.
pub(super) fn below(final_root: &[u8], path: &[u8]) -> Vec<u8> {
    match path {
        b"/" => final_root.to_vec(),
        path => [final_root, path].concat(),
    }
}

/// The path of the image that a path of the host below `final_root` is; any other path as it is.
pub(super) fn above<'p>(final_root: &[u8], path: &'p [u8]) -> &'p [u8] {
    match path.strip_prefix(final_root) {
        Some(b"") => b"/",
        Some(rest) if rest.starts_with(b"/") => rest,
        _ => path,
    }
}

fn entries(search_path: &[u8]) -> impl Iterator<Item = &[u8]> {
    search_path
        .split(|&byte| byte == b':')
        .filter(|entry| !entry.is_empty())
}

/// Replaces `$NAME` and `${NAME}` in an entry.
fn replace(entry: &[u8], name: &[u8], value: &[u8]) -> Vec<u8> {
    let braced = [b"${", name, b"}"].concat();
    let plain = [b"$", name].concat();
    let mut result = Vec::new();
    let mut rest = entry;
    while let Some(&byte) = rest.first() {
        let after = rest.strip_prefix(&*braced).or_else(|| {
            let after = rest.strip_prefix(&*plain)?;
            // `$LIBX` is no token.
            let is_longer = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            (!after.first().is_some_and(is_longer)).then_some(after)
        });
        match after {
            Some(after) => {
                result.extend_from_slice(value);
                rest = after;
            }
            None => {
                result.push(byte);
                rest = &rest[1..];
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AMD64: Machine = Machine {
        number: 62,
        wide: true,
    };

    #[test]
    fn expands_the_tokens_of_the_loader() {
        for (search_path, expected) in [
            ("$ORIGIN/../lib", vec!["/opt/a/../lib"]),
            ("${ORIGIN}", vec!["/opt/a"]),
            ("/usr/lib/x:/y", vec!["/usr/lib/x", "/y"]),
            (":lib:.:", vec![]),
            ("/x/$PLATFORM", vec!["/x/x86_64"]),
            (
                "/usr/$LIB/x",
                vec!["/usr/lib/x86_64-linux-gnu/x", "/usr/lib64/x", "/usr/lib/x"],
            ),
            ("/x/$ORIGINAL", vec!["/x/$ORIGINAL"]),
            ("/x/$", vec!["/x/$"]),
        ] {
            let found = candidates(search_path.as_bytes(), b"/opt/a", AMD64);
            let expected: Vec<_> = expected
                .into_iter()
                .map(|s| s.as_bytes().to_vec())
                .collect();
            assert_eq!(found, expected, "{search_path}");
        }
    }

    #[test]
    fn absolute_entries_are_told_from_relative_ones() {
        assert!(has_absolute_entry(b"$ORIGIN:/usr/lib/x"));
        assert!(!has_absolute_entry(b"$ORIGIN/../lib:lib"));
        assert!(!has_absolute_entry(b""));
    }

    #[test]
    fn joins_directories_below_the_root() {
        let directories: [&[u8]; 5] = [b"/lib", b"/a:b", b"/lib", b"/", b"/c$LIB"];
        let path = search_path(b"/store/rootfs", directories).unwrap();
        assert_eq!(path, b"/store/rootfs/lib:/store/rootfs");
        let long = vec![b'x'; MAX_RPATH];
        assert_eq!(search_path(b"/s", [&*long]), None);
    }

    #[test]
    fn a_search_path_without_end_is_cut() {
        let endless: String = (0..10_000).map(|number| format!("/{number}:")).collect();
        assert_eq!(
            candidates(endless.as_bytes(), b"/", AMD64).len(),
            MAX_ENTRIES
        );
    }

    #[test]
    fn tells_the_host_s_paths_from_the_image_s() {
        for (path, expected) in [
            ("/store/rootfs/lib", "/lib"),
            ("/store/rootfs", "/"),
            ("/store/rootfs2/lib", "/store/rootfs2/lib"),
            ("/lib", "/lib"),
        ] {
            assert_eq!(
                above(b"/store/rootfs", path.as_bytes()),
                expected.as_bytes()
            );
        }
    }

    proptest! {
        #[test]
        fn every_entry_is_below_the_root(
            directories in proptest::collection::vec("(/[a-z:$\\n]{1,6}){1,3}", 0..8),
        ) {
            let directories = directories.iter().map(String::as_bytes);
            let path = search_path(b"/store/rootfs", directories).unwrap();
            for entry in entries(&path) {
                prop_assert!(entry.starts_with(b"/store/rootfs/"));
                prop_assert!(is_expressible(entry));
            }
        }

        #[test]
        fn candidates_are_absolute(search_path in any::<Vec<u8>>()) {
            for candidate in candidates(&search_path, b"/o", AMD64) {
                prop_assert!(candidate.starts_with(b"/"));
            }
        }
    }
}
