//! Several skims at once.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use crate::support::command::{Outcome, limited, run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::Pod;
use crate::support::systemd;
use crate::support::trace::STATE;

const AT_ONCE: usize = 4;

/// Starts the same command several times and waits for all.
#[track_caller]
fn all_at_once(args: &[&str]) -> Vec<Outcome> {
    let start = |_| {
        limited("skim")
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cannot run skim")
    };
    let children: Vec<Child> = (0..AT_ONCE).map(start).collect();
    children
        .into_iter()
        .map(|child| {
            child
                .wait_with_output()
                .expect("cannot wait for skim")
                .into()
        })
        .collect()
}

/// The name of a file that is in no other image, nor in one of an earlier run.
fn only_in(name: &str) -> String {
    format!("only-in-{name}-{}", std::process::id())
}

/// An image with a file of its own, big enough that the imports meet.
fn image(host: &Host, name: &str) -> PathBuf {
    let image = Image::busybox(host, name).file(&only_in(name), vec![b'x'; 16 << 20], 0o644);
    image.exec(&["/bin/sleep", "1000000"]).build()
}

/// The copies of an image's own file in skim's directory, pods left out.
#[track_caller]
fn trees(name: &str) -> Vec<String> {
    let args = [
        STATE,
        "-path",
        &format!("{STATE}/pods"),
        "-prune",
        "-o",
        "-name",
        &only_in(name),
        "-print",
    ];
    run("find", args)
        .success()
        .stdout
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn imports_of_one_image_at_once_end_with_one_tree() {
    let host = Host::new();
    let image = image(&host, "imported");
    let path = image.to_str().expect("the path is UTF-8");
    let outcomes = all_at_once(&["fetch", path]);
    let ids: Vec<_> = outcomes.into_iter().map(Outcome::line).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let trees = trees("imported");
    assert_eq!(trees.len(), 1, "{trees:?}");
}

#[test]
fn runs_of_one_new_image_at_once_are_pods_of_one_tree() {
    let host = Host::new();
    let image = image(&host, "run-at-once");
    let path = image.to_str().expect("the path is UTF-8");
    let pods: Vec<_> = all_at_once(&["run", "--detach", path])
        .into_iter()
        .map(|outcome| Pod {
            uuid: outcome.line(),
        })
        .collect();
    for pod in &pods {
        assert_eq!(
            systemd::state(&pod.service("run-at-once")),
            "active (running)"
        );
        assert_eq!(pod.tree("run-at-once"), pods[0].tree("run-at-once"));
    }
    assert_eq!(trees("run-at-once").len(), 1);
}

#[test]
fn collectors_at_once_both_succeed() {
    let host = Host::new();
    let image = image(&host, "collected");
    for _ in 0..AT_ONCE {
        Pod::start([&image]).stop();
    }
    for outcome in all_at_once(&["gc", "--grace-period=0s"]) {
        outcome.success();
    }
    crate::support::trace::Trace::assert_none();
}

/// The slice above all pods goes with the last pod in it: the next one may come just then.
#[test]
fn pods_that_start_as_the_last_one_ends_start() {
    let host = Host::new();
    let image = Image::busybox(&host, "in-a-row").exec(&["/bin/true"]);
    let image = image.build();
    for _ in 0..20 {
        skim(["run".as_ref(), image.as_os_str()]).success();
    }
}
