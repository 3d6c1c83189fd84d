//! Panics of a library that trusts what it reads.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread is expected.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`; `None` where that panics, of which nobody is told: an image that is odd would
/// fill the terminal with what looks like a fault of skim's.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |panic| {
            if !EXPECTED.get() {
                hook(panic);
            }
        }));
    });
    EXPECTED.set(true);
    // What the work leaves behind is thrown away.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(false);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_work_alone() {
        assert_eq!(caught(|| 1), Some(1));
        let mut expected = false;
        let outcome = caught(|| {
            expected = EXPECTED.get();
            let none: [u8; 0] = [];
            none[std::hint::black_box(0)]
        });
        assert_eq!((outcome, expected, EXPECTED.get()), (None, true, false));
    }
}
