//! Services whose pod file is gone: when their versions go, too. Pure.

use super::versions::Versions;

/// How old the newest version is at least, in seconds: who has just made one may only be at work
/// on the pod file.
const GRACE: u64 = 24 * 60 * 60;

/// What there is of a service besides its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traces {
    /// Whether there is a pod file of its name, be it masked.
    pub has_file: bool,
    /// Whether there is, or may be, a pod of it, in any state.
    pub has_pod: bool,
}

/// Whether nobody needs these versions any more at `now`, in seconds since 1970.
pub fn is_forgotten(traces: Traces, versions: &Versions, now: u64) -> bool {
    let newest = versions.all().iter().map(|version| version.time).max();
    // One without a version may be about to get its first.
    !traces.has_file
        && !traces.has_pod
        && newest.is_some_and(|newest| now.saturating_sub(newest) > GRACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::id::ImageId;
    use crate::service::versions::{Pin, Pins};

    #[test]
    fn versions_go_where_there_is_nothing_else_and_they_are_old() {
        const MADE: u64 = 1_000_000;
        let pin = Pin {
            reference: "r".into(),
            image: ImageId::from_digest(&[1; 64]),
        };
        let mut versions = Versions::default();
        versions.started(Pins::from([("web".to_owned(), pin)]), MADE);
        for (has_file, has_pod, now, expected) in [
            (false, false, MADE + GRACE + 1, true),
            (false, false, MADE + GRACE, false),
            (false, false, MADE - 1, false),
            (true, false, MADE + GRACE + 1, false),
            (false, true, MADE + GRACE + 1, false),
        ] {
            let traces = Traces { has_file, has_pod };
            let is = is_forgotten(traces, &versions, now);
            assert_eq!(is, expected, "{traces:?} {now}");
        }
        let nothing = Traces {
            has_file: false,
            has_pod: false,
        };
        assert!(!is_forgotten(nothing, &Versions::default(), u64::MAX));
    }
}
