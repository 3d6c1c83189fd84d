//! Tests of the versions of a service.

use super::*;

const POD: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

fn id(byte: u8) -> ImageId {
    ImageId::from_digest(&[byte; 64])
}

/// One app, called `reference`, of the image `byte`.
fn web(reference: &str, byte: u8) -> Pins {
    let pin = Pin {
        reference: reference.to_owned(),
        image: id(byte),
    };
    Pins::from([("web".to_owned(), pin)])
}

fn file(reference: &str) -> References {
    references(&web(reference, 0))
}

/// A service that has been started with image 1 and updated to each of `others`.
fn updated(others: &[u8], keep: usize) -> Versions {
    let mut versions = Versions::default();
    assert!(versions.started(web("r", 1), 10));
    for byte in others {
        versions.stage(web("r", *byte), POD, 20).unwrap();
        versions.switch().unwrap();
        versions.accept(keep).unwrap();
        assert_whole(&versions);
    }
    versions
}

/// Fails one update to the image `byte`.
fn fail(versions: &mut Versions, byte: u8, reason: Option<&str>) {
    versions.stage(web("r", byte), POD, 30).unwrap();
    versions.switch().unwrap();
    versions.go_back(reason, 3).unwrap();
    assert_whole(versions);
}

fn numbers(versions: &Versions) -> Vec<u64> {
    versions
        .all()
        .iter()
        .map(|version| version.number)
        .collect()
}

fn current(versions: &Versions) -> u64 {
    versions.current().unwrap().number
}

/// What is written is read again.
#[track_caller]
fn assert_whole(versions: &Versions) {
    let json = versions.to_json().unwrap();
    assert_eq!(&Versions::parse(&json).unwrap(), versions);
}

#[test]
fn a_start_takes_what_it_took_before() {
    let mut versions = Versions::default();
    assert_eq!(versions.pinned("web", "r"), None);
    assert!(versions.started(web("r", 1), 10));
    assert_eq!(versions.pinned("web", "r"), Some(&id(1)));
    assert_eq!(versions.pinned("web", "other"), None);
    assert_eq!(versions.pinned("db", "r"), None);
    assert!(!versions.started(web("r", 1), 11));
    assert_eq!(numbers(&versions), [1]);
}

#[test]
fn another_reference_counts_at_the_next_start() {
    let mut versions = updated(&[], 3);
    assert!(versions.started(web("s", 2), 11));
    assert_eq!((current(&versions), numbers(&versions)), (2, vec![1, 2]));
    assert_eq!(versions.pinned("web", "r"), None);
    // Another name of the same image is no new version.
    assert!(versions.started(web("t", 2), 12));
    assert_eq!(current(&versions), 2);
    assert_eq!(versions.pinned("web", "t"), Some(&id(2)));
    // An app that comes or goes is one.
    let mut two = web("t", 2);
    two.insert("db".into(), two["web"].clone());
    assert!(versions.started(two, 13));
    assert_eq!(current(&versions), 3);
}

#[test]
fn an_update_is_staged_switched_to_and_accepted() {
    let mut versions = updated(&[], 3);
    assert_eq!(versions.candidate(&web("r", 1)), Candidate::Current);
    assert_eq!(versions.candidate(&web("r", 2)), Candidate::New);
    versions.stage(web("r", 2), POD, 20).unwrap();
    assert_eq!(current(&versions), 1);
    assert!(versions.stage(web("r", 3), POD, 20).is_err());
    assert_whole(&versions);
    assert!(versions.clone().accept(3).is_err());
    versions.switch().unwrap();
    assert_eq!(current(&versions), 2);
    // A start meanwhile has nothing to say.
    assert!(!versions.started(web("s", 4), 21));
    versions.accept(3).unwrap();
    assert_eq!((current(&versions), versions.trial()), (2, None));
    assert_eq!(versions.pinned("web", "r"), Some(&id(2)));
}

/// The timer must not try by itself what has failed once, whatever came between.
#[test]
fn what_failed_is_known_after_a_retry_by_hand_that_was_broken_off() {
    let mut versions = updated(&[], 3);
    fail(&mut versions, 2, Some("it failed"));
    fail(&mut versions, 2, None);
    let known = versions.candidate(&web("r", 2));
    assert!(
        matches!(known, Candidate::Rejected(version) if version.rejected.as_deref() == Some("it failed"))
    );
    assert_eq!((current(&versions), numbers(&versions)), (1, vec![1, 3]));
    // What is not known to fail stays unknown.
    fail(&mut versions, 4, None);
    assert_eq!(versions.candidate(&web("r", 4)), Candidate::New);
}

#[test]
fn what_failed_is_known_and_not_taken_again() {
    let mut versions = updated(&[], 3);
    fail(&mut versions, 2, Some("it exited with 1"));
    assert_eq!(current(&versions), 1);
    match versions.candidate(&web("r", 2)) {
        Candidate::Rejected(version) => {
            assert_eq!(version.rejected.as_deref(), Some("it exited with 1"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(versions.candidate(&web("r", 3)), Candidate::New);
    // Asked for by hand it has a new number, and may come up.
    versions.stage(web("r", 2), POD, 40).unwrap();
    versions.switch().unwrap();
    versions.accept(3).unwrap();
    assert_eq!((current(&versions), numbers(&versions)), (3, vec![1, 3]));
    assert!(versions.all().iter().all(|one| one.rejected.is_none()));
}

#[test]
fn what_was_broken_off_leaves_nothing() {
    let before = updated(&[2], 3);
    let mut versions = before.clone();
    fail(&mut versions, 5, None);
    assert_eq!(numbers(&versions), numbers(&before));
    assert_eq!(current(&versions), current(&before));
    // But its number.
    versions.stage(web("r", 5), POD, 40).unwrap();
    assert_eq!(numbers(&versions), [1, 2, 4]);
    // Staged and not switched to.
    assert_eq!(versions.go_back(None, 3), Some(4));
    assert_eq!(versions.go_back(None, 3), None);
}

#[test]
fn a_rollback_holds_until_another_version_or_reference() {
    let mut versions = updated(&[2, 3], 5);
    let target = versions.rollback_target(None, &file("r")).unwrap().number;
    assert_eq!(target, 2);
    versions.stage_known(2, file("r"), POD).unwrap();
    versions.switch().unwrap();
    versions.accept(5).unwrap();
    assert_eq!(versions.pinned("web", "r"), Some(&id(2)));
    // What the tag means still is not what the timer goes back to.
    assert!(
        matches!(versions.candidate(&web("r", 3)), Candidate::Rejected(version) if version.number == 3)
    );
    assert_eq!(versions.candidate(&web("r", 4)), Candidate::New);
    // And further back.
    assert_eq!(
        versions.rollback_target(None, &file("r")).unwrap().number,
        1
    );
    // And to the newest by hand, whatever it is marked as; that is no reason against the others.
    assert_eq!(
        versions
            .rollback_target(Some(3), &file("r"))
            .unwrap()
            .number,
        3
    );
    versions.stage_known(3, file("r"), POD).unwrap();
    versions.switch().unwrap();
    versions.accept(5).unwrap();
    assert!(versions.all().iter().all(|one| one.rejected.is_none()));
}

#[test]
fn a_rollback_takes_the_references_of_the_file_as_it_is_now() {
    let mut versions = updated(&[], 3);
    versions.started(web("new-name", 2), 20);
    versions.stage_known(1, file("new-name"), POD).unwrap();
    versions.switch().unwrap();
    versions.accept(3).unwrap();
    // A restart does not undo it, another change of the file does.
    assert_eq!(versions.pinned("web", "new-name"), Some(&id(1)));
    assert_eq!(versions.pinned("web", "r"), None);
}

#[test]
fn a_rollback_that_fails_rejects_its_version() {
    let mut versions = updated(&[2], 3);
    versions.stage_known(1, file("r"), POD).unwrap();
    versions.switch().unwrap();
    versions.go_back(Some("no"), 3);
    assert_eq!(current(&versions), 2);
    assert_eq!(versions.get(1).unwrap().rejected.as_deref(), Some("no"));
    // Broken off it stays what it was.
    let mut versions = updated(&[2], 3);
    versions.stage_known(1, file("r"), POD).unwrap();
    versions.go_back(None, 3);
    assert_eq!(versions.get(1).unwrap().rejected, None);
}

#[test]
fn there_may_be_nothing_to_roll_back_to() {
    let mut two = file("r");
    two.insert("db".into(), "r".into());
    for (versions, number, file, says) in [
        (Versions::default(), None, file("r"), "never run"),
        (updated(&[], 3), None, file("r"), "no version before 1"),
        (
            updated(&[2], 3),
            Some(7),
            file("r"),
            "no version 7, only 1, 2",
        ),
        (updated(&[2], 3), Some(2), file("r"), "is the current one"),
        (updated(&[2], 3), None, two, "no image for the app db"),
    ] {
        let error = versions.rollback_target(number, &file).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn so_many_versions_are_kept() {
    for (keep, kept) in [
        (0, vec![5]),
        (1, vec![5]),
        (2, vec![4, 5]),
        (3, vec![3, 4, 5]),
        (9, vec![1, 2, 3, 4, 5]),
    ] {
        assert_eq!(numbers(&updated(&[2, 3, 4, 5], keep)), kept, "{keep}");
    }
    // Failures do not push out what can be rolled back to, and only the newest is known.
    let mut versions = updated(&[2, 3], 3);
    for byte in 10..15 {
        fail(&mut versions, byte, Some("no"));
    }
    assert_eq!(numbers(&versions), [1, 2, 3, 8]);
    assert_eq!(versions.images().count(), 4);
    // The current one stays, however old.
    versions.stage_known(1, file("r"), POD).unwrap();
    versions.switch().unwrap();
    versions.accept(1).unwrap();
    assert_eq!(current(&versions), 1);
    assert_eq!(numbers(&versions), [1, 8]);
}

#[test]
fn so_many_versions_are_kept_of_a_service_that_does_not_run() {
    for (keep, kept) in [(1, vec![5]), (3, vec![3, 4, 5]), (9, vec![1, 2, 3, 4, 5])] {
        let mut versions = updated(&[], keep);
        for byte in 2..=5 {
            versions.make_current(web("r", byte), Why::Update, 20, keep);
            assert_whole(&versions);
        }
        assert_eq!((current(&versions), numbers(&versions)), (5, kept));
    }
}

#[test]
fn what_is_no_state_is_refused() {
    let good = updated(&[2], 3);
    let json = String::from_utf8(good.to_json().unwrap()).unwrap();
    for (from, to, says) in [
        ("{", "[", "understood"),
        ("\"number\": 1,", "\"number\": 2,", "disorder"),
        ("\"last\": 2", "\"last\": 1", "not in it"),
        (
            "\"current\": {\n    \"number\": 2",
            "\"current\": {\n    \"number\": 9",
            "not in it",
        ),
    ] {
        let bad = json.replacen(from, to, 1);
        assert_ne!(bad, json, "{from}");
        let error = format!("{:#}", Versions::parse(bad.as_bytes()).unwrap_err());
        assert!(error.contains(says), "{error}");
    }
}
