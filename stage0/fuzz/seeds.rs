//! Every seed of the fuzz targets, run through what the targets do.

#[path = "harness/mod.rs"]
mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What the names of seeds start with that skim refuses, or finds fault with.
const BAD: &str = "bad-";

#[test]
fn seeds_are_what_they_are_called() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut wrong = Vec::new();
    for (target, run) in harness::TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(seeds.join(target)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let result = run(&fs::read(&path).unwrap()).map_err(|error| format!("{error:#}"));
            // Some are for this architecture alone.
            if result.is_err() != name.starts_with(BAD) && cfg!(target_arch = "x86_64") {
                wrong.push(format!("{target}/{name}: {result:?}"));
            }
            count += 1;
        }
        assert!(count > 0, "{target} has no seeds");
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn all_seeds_are_of_a_target() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let found = fs::read_dir(&seeds).unwrap();
    let found: BTreeSet<_> = found.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(
        found,
        harness::TARGETS.map(|(target, _)| target.into()).into()
    );
}
