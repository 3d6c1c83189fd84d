//! Pods that are prepared, and run later; pods that are only planned.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::gc;
use crate::support::store::assert_one_line;
use crate::support::trace::{STATE, Trace};
use crate::support::tree::Tree;

fn prepare(image: &Path, flags: &[&str]) -> String {
    let mut command = vec!["prepare".into(), image.as_os_str().to_owned()];
    command.extend(flags.iter().map(Into::into));
    skim(command).line()
}

fn state(uuid: &str) -> String {
    let status = skim(["status", uuid]).success().stdout;
    let state = status.lines().find_map(|line| line.strip_prefix("state="));
    state.expect("a status has a state").to_owned()
}

#[test]
fn a_prepared_pod_leaves_nothing_on_the_host_but_its_directory_until_it_is_run() {
    let host = Host::new();
    let image = Image::busybox(&host, "later").build();
    let uuid = prepare(&image, &["--exec", "echo", "--", "now"]);
    assert_eq!(state(&uuid), "prepared");
    let trace = Trace::take();
    assert_eq!(trace.pods, [format!("prepared/{uuid}")]);
    assert!(
        trace.units.is_empty() && trace.mounts.is_empty(),
        "{trace:#?}"
    );
    assert_eq!(skim(["run-prepared", &uuid[..8]]).success().stdout, "now\n");
    assert_eq!(state(&uuid), "exited");
    assert_one_line(
        &skim(["run-prepared", &uuid]),
        "only a prepared one can be run",
    );
    gc();
    assert!(Trace::take().pods.is_empty());
}

#[test]
fn a_prepared_pod_runs_detached_and_is_removed_with_rm() {
    let host = Host::new();
    let image = Image::busybox(&host, "detached")
        .exec(&["/bin/sleep", "1000"])
        .build();
    let uuid = prepare(&image, &[]);
    assert_eq!(
        skim(["run-prepared", "--detach", "--rm", &uuid]).line(),
        uuid
    );
    assert_eq!(state(&uuid), "running");
    skim(["stop", &uuid]).success();
    crate::support::journal::until("the pod has removed itself", || {
        Trace::take().pods.is_empty()
    });
}

#[test]
fn of_two_that_run_a_prepared_pod_one_does() {
    let host = Host::new();
    let image = Image::busybox(&host, "both").build();
    let count = host.scratch().join("count");
    let script = format!("echo ran >>{}", count.display());
    let uuid = prepare(&image, &["--exec", "sh", "--", "-c", &script]);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let runs = [0, 1].map(|_| scope.spawn(|| skim(["run-prepared", &uuid])));
        runs.map(|run| run.join().expect("skim was run")).into()
    });
    let codes: Vec<_> = outcomes.iter().map(|outcome| outcome.code).collect();
    assert!(
        codes.contains(&Some(0)) && codes.contains(&Some(254)),
        "{outcomes:#?}"
    );
    assert_eq!(fs::read_to_string(&count).expect("it ran"), "ran\n");
}

#[test]
fn a_prepared_pod_that_cannot_be_mounted_stays_prepared() {
    let host = Host::new();
    let image = Image::busybox(&host, "kept").build();
    let uuid = prepare(&image, &[]);
    let tree = PathBuf::from(format!("{STATE}/images/trees"));
    let aside = PathBuf::from(format!("{STATE}/images/aside"));
    fs::rename(&tree, &aside).expect("cannot move the trees aside");
    let plan = PathBuf::from(format!("{STATE}/pods/prepared/{uuid}/pod"));
    let before = fs::read_to_string(&plan).expect("the pod has a plan");
    let outcome = skim(["run-prepared", "--interactive", &uuid]);
    // Opening the store made an empty directory for the trees.
    fs::remove_dir(&tree).expect("cannot remove the empty directory");
    fs::rename(&aside, &tree).expect("cannot move the trees back");
    assert_one_line(&outcome, "is gone from the store");
    assert_eq!(state(&uuid), "prepared");
    let after = fs::read_to_string(&plan).expect("the pod has a plan");
    assert_eq!(
        after, before,
        "what failed once is not asked for the next time"
    );
    skim(["run-prepared", &uuid]).success();
}

#[test]
fn a_dry_run_prints_the_units_that_a_run_writes_and_touches_nothing() {
    let host = Host::new();
    let image = Image::busybox(&host, "dry")
        .exec(&["/bin/sleep", "1000"])
        .build();
    let arguments = |verb: &[&str]| {
        let mut words: Vec<_> = verb.iter().map(Into::into).collect();
        words.push(image.clone().into_os_string());
        words.extend(["--property=Nice=5", "--memory=64M", "--set-env=A=b c%"].map(Into::into));
        words
    };
    let unknown = skim(arguments(&["run", "--dry-run"]));
    assert_one_line(
        &unknown,
        "it is not in the store: fetch it first (skim fetch)",
    );
    skim(["fetch".into(), image.clone().into_os_string()]).success();
    let before = Tree::read(STATE.as_ref());
    let printed = skim(arguments(&["run", "--dry-run"])).success().stdout;
    Tree::read(STATE.as_ref()).assert_like(&before, "the store");
    Trace::assert_none();

    let uuid = skim(arguments(&["run", "--detach"])).line();
    let id = uuid.replace('-', "");
    let dry = printed
        .lines()
        .find_map(|line| {
            line.strip_prefix("# /run/systemd/system/skim-")?
                .strip_suffix(".slice")
        })
        .expect("the slice is printed");
    let dry_uuid = printed
        .lines()
        .find_map(|line| line.strip_prefix("Description=skim pod "))
        .expect("the slice has a description");
    let expected = printed.replace(dry, &id).replace(dry_uuid, &uuid);
    let units = [format!("skim-{id}.slice"), format!("skim-{id}-dry.service")];
    let written = units.map(|unit| {
        let path = format!("/run/systemd/system/{unit}");
        let text = fs::read_to_string(&path).expect("cannot read the unit");
        format!("# {path}\n{text}")
    });
    assert_eq!(written.join("\n"), expected);
    skim(["stop", &uuid]).success();
}

#[test]
fn what_a_dry_run_prints_is_valid_to_systemd() {
    let host = Host::new();
    let image = Image::busybox(&host, "verified").build();
    skim(["fetch".into(), image.clone().into_os_string()]).success();
    let printed = skim(["run".into(), "--dry-run".into(), image.into_os_string()]).success();
    let directory = host.directory("units");
    let mut file = None;
    for line in printed.stdout.lines() {
        if let Some(path) = line.strip_prefix("# /run/systemd/system/") {
            file = Some(directory.join(path));
        } else if let Some(file) = &file {
            let text = fs::read_to_string(file).unwrap_or_default();
            fs::write(file, format!("{text}{line}\n")).expect("cannot write a unit");
        }
    }
    let service = file.expect("a unit is printed");
    // The program is in no overlay yet.
    let text = fs::read_to_string(&service).expect("the service was written");
    let start = text
        .find("ExecStart=")
        .expect("a service executes something");
    fs::write(&service, format!("{}ExecStart=/bin/true\n", &text[..start])).expect("cannot write");
    let service = service.into_os_string();
    let verified = run("systemd-analyze", ["verify".into(), service]);
    assert_eq!(verified.success().stderr, "");
}
