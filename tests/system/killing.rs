//! Imports and removals that were killed, at many moments.

use std::ffi::OsString;

use crate::support::command::{Outcome, limited};
use crate::support::host::Host;
use crate::support::store::{Store, app_tree};
use crate::support::tree::Tree;

/// What an import is made of, as strace(1) names it (`?` where not every architecture has it):
/// every call by which something appears, goes, or is brought to the disk.
const RARE: [&str; 6] = [
    "?rename,?renameat,renameat2",
    "fsync,fdatasync,syncfs,sync_file_range",
    "?mkdir,mkdirat",
    "?link,linkat",
    "?unlink,unlinkat,?rmdir",
    "flock,?ftruncate",
];

/// What it does often.
const OFTEN: [&str; 4] = [
    "?open,openat,openat2",
    "write,writev,pwrite64,copy_file_range,sendfile",
    "?chown,fchown,?lchown,fchownat,?chmod,fchmod,fchmodat,utimensat",
    "read,pread64",
];

/// Which of the rare calls it is killed at: each of the first ones, then some.
const EACH: [u32; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 24, 40];
const SOME: [u32; 10] = [1, 2, 3, 5, 9, 20, 40, 80, 160, 320];

/// Runs `skim ARGS…`, killed as it calls one of `calls` for the `number`th time in one of its
/// threads.
#[track_caller]
fn killed_at(store: &Store, calls: &str, number: u32, args: &[&str]) -> Outcome {
    let inject = format!("inject={calls}:signal=KILL:when={number}");
    let trace = format!("trace={calls}");
    let output = limited("strace")
        .args(["--follow-forks", "--quiet=all", "--output=/dev/null"])
        .args(["-e", &trace, "-e", &inject, "skim"])
        .arg(store.dir())
        .args(args.iter().map(OsString::from))
        .output();
    output.expect("cannot run strace").into()
}

/// Whether it was killed; else it has come to its end, as it calls less often than that.
#[track_caller]
fn was_killed(outcome: &Outcome) -> bool {
    match outcome.code {
        Some(0) => false,
        None | Some(137) => true,
        _ => panic!("neither killed nor done: {outcome:#?}"),
    }
}

#[test]
fn strace_kills_at_the_call_that_is_named() {
    let host = Host::new();
    let store = Store::new(&host, "strace");
    for calls in RARE.into_iter().chain(OFTEN) {
        let list = killed_at(&store, calls, 60_000, &["image", "list"]);
        assert!(!was_killed(&list), "{calls}");
    }
    let list = killed_at(&store, OFTEN[0], 1, &["image", "list"]);
    assert!(was_killed(&list));
}

/// Every point at which it is worth to kill: the calls, and which of them.
fn points() -> impl Iterator<Item = (&'static str, u32)> {
    let rare = RARE
        .into_iter()
        .flat_map(|calls| EACH.map(|number| (calls, number)));
    let often = OFTEN
        .into_iter()
        .flat_map(|calls| SOME.map(|number| (calls, number)));
    rare.chain(often)
}

/// Kills the import of `source` at every point, each time with a store of its own. After each
/// the list can be read and shows the whole image or none, and the next import completes.
#[track_caller]
fn kill_imports_of(source: &str) {
    let host = Host::new();
    let expected = app_tree(&host);
    let (mut kills, mut spared) = (0, None);
    for (calls, number) in points() {
        // It does not call these so often.
        if spared == Some(calls) {
            continue;
        }
        let what = format!("killed at call {number} of {calls}");
        let store = Store::new(
            &host,
            &format!("{}-{number}", calls.replace(['?', ','], "")),
        );
        if was_killed(&killed_at(
            &store,
            calls,
            number,
            &["fetch", "--quiet", source],
        )) {
            kills += 1;
        } else {
            spared = Some(calls);
        }
        for image in store.images() {
            let id = image["id"].as_str().expect("an image has an ID");
            store.tree(id).assert_like(&expected, &what);
        }
        let id = store.fetch([source]);
        store.tree(&id).assert_like(&expected, &what);
        assert_eq!(store.images().len(), 1, "{what}");
        store.assert_no_debris();
        std::fs::remove_dir_all(store.directory()).expect("cannot remove the store");
    }
    // As often as that at least: it is not that strace does nothing.
    assert!(kills > 30, "it was killed {kills} times only");
}

#[test]
fn an_import_of_an_aci_may_be_killed_at_any_moment() {
    kill_imports_of("/opt/images/app-xz.aci");
}

#[test]
fn an_import_of_an_oci_archive_may_be_killed_at_any_moment() {
    kill_imports_of("oci-archive:/opt/images/app.oci.tar");
}

#[test]
fn an_import_of_a_docker_archive_may_be_killed_at_any_moment() {
    kill_imports_of("docker-archive:/opt/images/app.docker.tar");
}

#[test]
fn a_removal_may_be_killed_at_any_moment() {
    let host = Host::new();
    let source = "oci:/opt/images/app.oci:1.0";
    let expected = app_tree(&host);
    let mut kills = 0;
    for calls in [RARE[0], RARE[4], RARE[1], OFTEN[0]] {
        for number in EACH {
            let store = Store::new(&host, &format!("{}-{number}", &calls[..5]));
            let id = store.fetch([source]);
            let killed = killed_at(&store, calls, number, &["image", "rm", &id]);
            if was_killed(&killed) {
                kills += 1;
            }
            for image in store.images() {
                assert_eq!(image["id"], id.as_str());
                store.tree(&id).assert_like(&expected, "half removed");
            }
            let again = store.fetch([source]);
            store.tree(&again).assert_like(&expected, "fetched again");
            store.skim(["image", "rm", &again]).success();
            store.skim(["image", "gc", "--grace-period=0s"]).success();
            assert!(store.images().is_empty());
            for directory in ["blobs", "trees", "tmp", "partial"] {
                let names = store.names(directory);
                assert!(names.is_empty(), "{calls} {number}: {directory}: {names:?}");
            }
            std::fs::remove_dir_all(store.directory()).expect("cannot remove the store");
        }
    }
    assert!(kills > 8, "it was killed {kills} times only");
}

#[test]
fn a_repair_may_be_killed_at_any_moment() {
    let host = Host::new();
    let expected = app_tree(&host);
    let store = Store::new(&host, "repaired");
    let id = store.fetch(["oci:/opt/images/app.oci:1.0"]);
    for calls in [RARE[0], RARE[1], RARE[4], OFTEN[1]] {
        for number in [1, 2, 3, 5, 8] {
            let file = store.tree_path(&id).join("srv/app/replaced");
            std::fs::write(&file, "changed").expect("cannot change a file");
            let repair = ["image", "verify", "--repair", &id];
            killed_at(&store, calls, number, &repair);
            assert_eq!(store.images().len(), 1);
            store.skim(repair).success();
            store.tree(&id).assert_like(&expected, "repaired");
            store.assert_no_debris();
        }
    }
}

/// A listing of what an image's user sees while it is imported again and again.
#[test]
fn a_killed_import_of_an_image_that_is_there_takes_nothing_away() {
    let host = Host::new();
    let source = "oci:/opt/images/app.oci:1.0";
    let store = Store::new(&host, "there");
    let id = store.fetch([source]);
    let before = Tree::read(&store.tree_path(&id));
    for (calls, number) in points().filter(|(_, number)| *number <= 5) {
        killed_at(&store, calls, number, &["fetch", "--quiet", source]);
        assert_eq!(store.images().len(), 1);
        store.tree(&id).assert_like(&before, calls);
    }
    store.fetch([source]);
    store.assert_no_debris();
}
