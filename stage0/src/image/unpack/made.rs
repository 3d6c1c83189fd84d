//! What the present layer made, remembered in little memory.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// How many hashes are kept apart until they are sorted in among the others.
const RECENT: usize = 1 << 15;

/// A set of paths, as hashes of 64 bits: 8 bytes for each path, however long it is.
///
/// The hash is keyed by chance, so nobody can choose two paths that collide. For a million paths
/// the odds that any two do are one to 37 million, and then an image is refused, no more.
#[derive(Default)]
pub struct Made {
    key: RandomState,
    /// In order.
    sorted: Vec<u64>,
    recent: HashSet<u64>,
}

impl Made {
    /// Adds a path; false if it was there already.
    pub fn insert(&mut self, path: &[u8]) -> bool {
        if self.contains(path) {
            return false;
        }
        self.recent.insert(self.key.hash_one(path));
        if self.recent.len() >= RECENT {
            // Not by doubling: this is the one large part of it.
            self.sorted.reserve_exact(self.recent.len());
            self.sorted.extend(self.recent.drain());
            self.sorted.sort_unstable();
        }
        true
    }

    /// Whether a path was added.
    pub fn contains(&self, path: &[u8]) -> bool {
        if self.sorted.is_empty() && self.recent.is_empty() {
            return false;
        }
        let hash = self.key.hash_one(path);
        self.recent.contains(&hash) || self.sorted.binary_search(&hash).is_ok()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.sorted.clear();
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_again_however_many() {
        let mut made = Made::default();
        let path = |number: usize| format!("some/directory/{number}").into_bytes();
        assert!(!made.contains(&path(0)));
        for number in 0..3 * RECENT {
            assert!(made.insert(&path(number)));
        }
        assert!((0..3 * RECENT).all(|number| made.contains(&path(number))));
        assert!((3 * RECENT..4 * RECENT).all(|number| !made.contains(&path(number))));
        assert!(!made.insert(&path(1)));
        made.clear();
        assert!(!made.contains(&path(1)));
    }
}
