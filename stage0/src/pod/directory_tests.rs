use super::*;

const A: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
const B: &str = "6ba7b811-9dad-11d1-80b4-00c04fd430c8";

#[test]
fn a_pod_s_way_through_the_stages() {
    let root = tempfile::tempdir().unwrap();
    let pods = Pods::new(root.path());
    assert_eq!(pods.list().unwrap(), []);
    let mut pod = pods.create(A).unwrap();
    assert_eq!(pods.find("6BA7").unwrap().state, State::Preparing);
    pods.move_to(&mut pod, Stage::Run).unwrap();
    let found = pods.find(A).unwrap();
    assert_eq!(found.state, State::Running);
    assert!(pods.try_lock(&found).unwrap().is_none());
    drop(pod);
    let found = pods.find(A).unwrap();
    assert_eq!(found.state, State::Exited);
    let mut pod = pods.try_lock(&found).unwrap().unwrap();
    pods.move_to(&mut pod, Stage::Garbage).unwrap();
    assert!(pods.find(A).is_err(), "garbage is not the user's");
    pods.delete(&pod).unwrap();
    assert_eq!(pods.list().unwrap(), []);
}

/// Walks the table in the head of `state.rs`, every line of it, on disk.
#[test]
fn every_transition_of_the_table_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let pods = Pods::new(root.path());
    let state = || Ok::<_, anyhow::Error>(pods.look(A)?.map(|found| found.state));
    let relock = || pods.try_lock(&pods.look(A).unwrap().unwrap()).unwrap();
    let delete = |pod: LockedPod| pods.delete(&pod).unwrap();

    // By run: prepare, run, exited, exited garbage, gone.
    assert_eq!(state().unwrap(), None);
    let mut pod = pods.create(A).unwrap();
    assert_eq!(state().unwrap(), Some(State::Preparing));
    pods.move_to(&mut pod, Stage::Run).unwrap();
    assert_eq!(state().unwrap(), Some(State::Running));
    assert!(relock().is_none());
    drop(pod);
    assert_eq!(state().unwrap(), Some(State::Exited));
    let mut pod = relock().unwrap();
    pods.move_to(&mut pod, Stage::ExitedGarbage).unwrap();
    assert_eq!(state().unwrap(), Some(State::ExitedDeleting));
    drop(pod);
    assert_eq!(state().unwrap(), Some(State::ExitedGarbage));
    delete(relock().unwrap());
    assert_eq!(state().unwrap(), None);

    // By prepare and run-prepared; a prepared pod's lock is free.
    let mut pod = pods.create(A).unwrap();
    pods.move_to(&mut pod, Stage::Prepared).unwrap();
    assert_eq!(state().unwrap(), Some(State::Prepared));
    drop(pod);
    assert_eq!(state().unwrap(), Some(State::Prepared));
    let mut pod = relock().unwrap();
    pods.move_to(&mut pod, Stage::Run).unwrap();
    assert_eq!(state().unwrap(), Some(State::Running));
    pods.move_to(&mut pod, Stage::Prepared).unwrap();
    assert_eq!(state().unwrap(), Some(State::Prepared));
    delete(pod);

    // What broke off or expired: to garbage, and gone.
    for (stage, left) in [
        (Stage::Embryo, State::Embryo),
        (Stage::Prepare, State::AbortedPrepare),
        (Stage::Prepared, State::Prepared),
    ] {
        let mut pod = pods.create(A).unwrap();
        pods.move_to(&mut pod, stage).unwrap();
        drop(pod);
        assert_eq!(state().unwrap(), Some(left));
        let mut pod = relock().unwrap();
        pods.move_to(&mut pod, Stage::Garbage).unwrap();
        assert_eq!(state().unwrap(), Some(State::Deleting));
        drop(pod);
        assert_eq!(state().unwrap(), Some(State::Garbage));
        delete(relock().unwrap());
        assert_eq!(state().unwrap(), None);
    }
}

#[test]
fn a_lock_on_a_pod_that_was_moved_on_meanwhile_is_none() {
    let root = tempfile::tempdir().unwrap();
    let pods = Pods::new(root.path());
    let mut pod = pods.create(A).unwrap();
    pods.move_to(&mut pod, Stage::Prepared).unwrap();
    let found = pods.find(A).unwrap();
    assert!(is_same(&pod.lock, &found.path).unwrap());
    pods.move_to(&mut pod, Stage::Run).unwrap();
    // What was opened at the old path before the move.
    assert!(!is_same(&pod.lock, &found.path).unwrap());
    drop(pod);
    assert!(pods.try_lock(&found).unwrap().is_none());
    let moved = pods.find(A).unwrap();
    let hold = pods.hold(&moved).unwrap().unwrap();
    assert_eq!(pods.find(A).unwrap().state, State::Exited);
    assert!(pods.try_lock(&moved).unwrap().is_none());
    drop(hold);
    assert!(pods.hold(&found).unwrap().is_none());
    // Another pod of this path is another one.
    fs::create_dir(&found.path).unwrap();
    let lock = File::open(pods.run_path(A)).unwrap();
    assert!(!is_same(&lock, &found.path).unwrap());
}

#[test]
fn a_pod_that_moves_meanwhile_is_listed_once_and_not_missed() {
    let root = tempfile::tempdir().unwrap();
    let pods = Pods::new(root.path());
    let _pods = [pods.create(B).unwrap(), pods.create(A).unwrap()];
    // As a reader sees it who was between the two directories when it was renamed.
    fs::create_dir(pods.run_path(A)).unwrap();
    let listed = pods.list().unwrap();
    let listed: Vec<_> = listed.iter().map(|pod| (&*pod.uuid, pod.stage)).collect();
    assert_eq!(listed, [(A, Stage::Run), (B, Stage::Prepare)]);
    assert_eq!(pods.find("6ba7b810").unwrap().stage, Stage::Run);
    let looks = std::cell::Cell::new(0);
    let missed_at_first = || {
        looks.set(looks.get() + 1);
        Ok((looks.get() == 2).then_some(()))
    };
    assert_eq!(once_more(missed_at_first).unwrap(), Some(()));
    assert_eq!(once_more(|| Ok(None::<()>)).unwrap(), None);
}

#[test]
fn prefixes_must_be_unique() {
    let root = tempfile::tempdir().unwrap();
    let pods = Pods::new(root.path());
    let _pods = [pods.create(A).unwrap(), pods.create(B).unwrap()];
    let message = |prefix| format!("{:#}", pods.find(prefix).unwrap_err());
    assert_eq!(message("6ba7"), "ambiguous uuid \"6ba7\", 2 matches");
    assert!(message("7").starts_with("no matches found for \"7\""));
    assert!(message("").starts_with("UUID cannot be empty"));
    assert_eq!(pods.find("6ba7b811").unwrap().uuid, B);
}

#[test]
fn uuids_are_told_from_other_names() {
    assert!(is_uuid(A));
    for other in ["", "6ba7b810", &A.to_uppercase(), &A.replace('-', "0")] {
        assert!(!is_uuid(other), "{other}");
    }
}
