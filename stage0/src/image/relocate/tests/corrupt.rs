//! Programs with damaged headers: never a panic, never a file half patched, never much memory.

use std::fs;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::fixture::Image;

/// What the whole test process may use at most, whatever headers claim.
const MAX_RESIDENT_KIB: u64 = 512 * 1024;

struct Fixture {
    image: Image,
    program: Vec<u8>,
}

/// A tree with a loader, and a program whose relocation works.
static FIXTURE: LazyLock<Fixture> = LazyLock::new(fixture);

fn fixture() -> Fixture {
    let image = Image::new();
    image.add_loader_and_libc();
    image.compile("program", "int main(void) { return 0; }", &[]);
    let program = image.read("program");
    fs::remove_file(image.at("program")).unwrap();
    Fixture { image, program }
}

/// Where the headers and tables are that decide what is read and written.
fn interesting(program: &[u8]) -> Vec<std::ops::Range<usize>> {
    let word = |at: usize| u64::from_le_bytes(program[at..at + 8].try_into().unwrap()) as usize;
    let mut ranges = vec![0..64, word(0x28)..program.len()];
    let segments = usize::from(u16::from_le_bytes([program[56], program[57]]));
    for at in (0..segments).map(|index| word(0x20) + index * 56) {
        ranges.push(at..at + 56);
        // PT_DYNAMIC, PT_INTERP.
        if matches!(program[at], 2 | 3) {
            ranges.push(word(at + 8)..word(at + 8) + word(at + 32));
        }
    }
    ranges
}

fn check(content: &[u8]) -> Result<(), TestCaseError> {
    let image = &FIXTURE.image;
    image.write("program", content, 0o755);
    let report = image.relocate();
    let changed = report
        .changes
        .iter()
        .any(|change| change.path == "/program");
    let left = report.left.iter().any(|left| left.path == "/program");
    prop_assert!(!(changed && left));
    if !changed {
        prop_assert!(image.read("program") == content, "left half patched");
    }
    Ok(())
}

#[test]
fn a_segment_that_is_not_in_the_file_does_not_make_it_long() {
    let Fixture { image, mut program } = fixture();
    let relro = 0x6474_e552_u32.to_le_bytes();
    let at = program.windows(4).position(|bytes| bytes == relro).unwrap();
    program[at + 32..at + 40].copy_from_slice(&(64_u64 << 20).to_le_bytes());
    image.write("far", &program, 0o755);
    let report = image.relocate();
    let left = report.left.iter().find(|left| left.path == "/far").unwrap();
    assert!(left.reason.contains("past the end"), "{}", left.reason);
    assert!(image.read("far") == program);
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn damaged_programs_are_patched_whole_or_not_at_all() {
    check(&FIXTURE.program).unwrap();
    assert!(
        FIXTURE.image.read("program") != FIXTURE.program,
        "the fixture is relocated"
    );
    let ranges = interesting(&FIXTURE.program);
    let flip = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        any::<u8>(),
    );
    let value = prop_oneof![Just(0), Just(0xff), Just(0x7f), any::<u8>()];
    let damage = (
        prop::collection::vec((flip, value), 0..6),
        prop::option::of(any::<prop::sample::Index>()),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&damage, |(flips, cut)| {
        let mut program = FIXTURE.program.clone();
        for ((range, at, length), value) in flips {
            let range = range.get(&ranges);
            let at = range.start + at.index(range.len());
            let end = (at + usize::from(length) % 9).min(range.end);
            program[at..end].fill(value);
        }
        if let Some(cut) = cut {
            program.truncate(cut.index(program.len()));
        }
        check(&program)
    });
    outcome.unwrap();
    let peak = peak_kib();
    assert!(peak < MAX_RESIDENT_KIB, "used {peak} KiB");
}
