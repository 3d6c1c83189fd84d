//! Pod files: the generator, and pods that run as services of systemd.

mod sockets;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::command::{Outcome, run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal::{self, Cursor};
use crate::support::pod::gc;
use crate::support::systemd;
use crate::support::trace::Trace;

/// Where the generator writes.
const GENERATED: &str = "/run/systemd/generator";

/// Files of the configuration that go when the test ends, and the units that are made of them.
struct Files<'a> {
    /// It goes after the files, and looks for what is left then.
    _host: &'a Host,
    paths: Vec<PathBuf>,
    units: Vec<String>,
}

impl<'a> Files<'a> {
    fn new(host: &'a Host) -> Self {
        Self {
            _host: host,
            paths: Vec::new(),
            units: Vec::new(),
        }
    }

    /// Writes a file, a path beneath the root.
    #[track_caller]
    fn put(&mut self, path: &str, text: &str) {
        self.take_note(path);
        fs::write(path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    #[track_caller]
    fn mask(&mut self, path: &str) {
        self.take_note(path);
        symlink("/dev/null", path).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn take_note(&mut self, path: &str) {
        let parent = Path::new(path).parent().expect("a file has a directory");
        fs::create_dir_all(parent).expect("cannot make a directory");
        if parent.to_string_lossy().ends_with(".skim.d") {
            self.paths.push(parent.to_path_buf());
        } else {
            self.paths.push(path.into());
        }
    }

    /// The pod file /etc/skim/NAME.skim, and what is to be stopped in the end.
    #[track_caller]
    fn pod(&mut self, name: &str, text: &str) {
        self.put(&format!("/etc/skim/{name}.skim"), text);
        self.units.push(format!("{name}.service"));
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        let stop = ["stop".to_owned()]
            .into_iter()
            .chain(self.units.iter().cloned());
        run("systemctl", stop);
        for path in &self.paths {
            // A test may have taken it away itself.
            let _gone = match path.is_dir() {
                true => fs::remove_dir_all(path),
                false => fs::remove_file(path),
            };
        }
        reload();
        run("systemctl", ["reset-failed"]).success();
    }
}

#[track_caller]
fn reload() {
    run("systemctl", ["daemon-reload"]).success();
}

#[track_caller]
fn systemctl(verb: &str, unit: &str) -> Outcome {
    run("systemctl", [verb, unit])
}

/// The pods that there are, as `skim list` has them.
#[track_caller]
fn pods() -> Vec<String> {
    let list = skim(["list", "--quiet"]).success().stdout;
    list.lines().map(str::to_owned).collect()
}

/// The one pod that there is.
#[track_caller]
fn pod() -> String {
    match &pods()[..] {
        [pod] => pod.clone(),
        pods => panic!("expected one pod: {pods:?}"),
    }
}

fn sleeper(host: &Host, name: &str) -> String {
    let image = Image::busybox(host, name)
        .exec(&["/bin/sleep", "1000000"])
        .build();
    image.display().to_string()
}

#[test]
fn a_pod_file_is_a_service_that_starts_restarts_and_stops_without_a_trace() {
    let host = Host::new();
    let image = sleeper(&host, "sleeper");
    let mut files = Files::new(&host);
    files.pod(
        "pf-web",
        &format!("[App web]\nImage={image}\n[App other]\nImage={image}\n"),
    );
    reload();
    assert_eq!(
        systemd::property("pf-web.service", "SourcePath"),
        "/etc/skim/pf-web.skim"
    );
    systemctl("start", "pf-web").success();
    assert_eq!(systemd::state("pf-web.service"), "active (running)");
    let first = pod();
    let status = skim(["status", &first]).success().stdout;
    assert!(
        status.contains("state=running\n") && status.contains("ready="),
        "{status}"
    );
    let holder = systemd::main_pid("pf-web.service");
    assert!(
        status.contains(&format!("pid={holder}\n")),
        "{holder}: {status}"
    );

    let cursor = Cursor::now();
    systemctl("restart", "pf-web").success();
    let second = pod();
    assert_ne!(first, second);
    assert_eq!(systemd::reloads_since(&cursor), 1, "the sweep reloads once");

    let refused = systemctl("reload", "pf-web");
    assert_ne!(refused.code, Some(0), "{refused:#?}");
    assert_eq!(systemd::state("pf-web.service"), "active (running)");

    systemctl("stop", "pf-web").success();
    Trace::assert_none();
}

#[test]
fn a_second_pod_of_a_name_is_refused() {
    let host = Host::new();
    let image = sleeper(&host, "sleeper");
    let mut files = Files::new(&host);
    files.pod("pf-one", &format!("[App web]\nImage={image}\n"));
    files.units.push("skim-pod@pf-one.service".to_owned());
    reload();
    systemctl("start", "pf-one").success();
    assert_ne!(systemctl("start", "skim-pod@pf-one").code, Some(0));
    let status = systemd::property("skim-pod@pf-one.service", "StatusText");
    assert!(
        status.contains("of pf-one runs already: stop it first"),
        "{status:?}"
    );
    assert_eq!(pods().len(), 1);
    let scope = [
        "--scope",
        "--quiet",
        "--collect",
        "skim",
        "service",
        "run",
        "pf-other",
    ];
    let outside = run("systemd-run", scope);
    assert_eq!(outside.code, Some(254));
    assert!(
        outside.stderr.contains("start the pod's unit"),
        "{outside:#?}"
    );
}

#[test]
fn of_two_units_that_start_a_pod_at_once_one_does() {
    let host = Host::new();
    let image = sleeper(&host, "sleeper");
    let mut files = Files::new(&host);
    files.pod("pf-once", &format!("[App web]\nImage={image}\n"));
    let units = ["pf-once.service", "skim-pod@pf-once.service"];
    files.units.push(units[1].to_owned());
    reload();
    for _ in 0..3 {
        let both = run("systemctl", ["start", units[0], units[1]]);
        assert_eq!(both.code, Some(1), "{both:#?}");
        let (runs, others): (Vec<_>, _) = units
            .iter()
            .partition(|unit| systemd::state(unit) == "active (running)");
        assert_eq!((runs.len(), pods().len()), (1, 1), "{runs:?} {:?}", pods());
        let status = systemd::property(others[0], "StatusText");
        assert!(status.contains("of pf-once runs already"), "{status:?}");
        run("systemctl", ["stop", runs[0]]).success();
        run("systemctl", ["reset-failed", others[0]]).success();
    }
}

#[test]
fn two_pods_run_side_by_side() {
    let host = Host::new();
    let image = sleeper(&host, "sleeper");
    let mut files = Files::new(&host);
    files.pod("pf-a", &format!("[App web]\nImage={image}\n"));
    files.pod("pf-b", &format!("[App web]\nImage={image}\n"));
    reload();
    run("systemctl", ["start", "pf-a", "pf-b"]).success();
    assert_eq!(pods().len(), 2);
    systemctl("stop", "pf-a").success();
    assert_eq!(systemd::state("pf-b.service"), "active (running)");
    assert_eq!(pods().len(), 1);
}

#[test]
fn the_unit_fails_as_its_app_does() {
    let host = Host::new();
    let image = Image::busybox(&host, "failing")
        .exec(&["/bin/sh", "-c", "exit 23"])
        .build();
    let mut files = Files::new(&host);
    files.pod(
        "pf-fail",
        &format!("[App web]\nImage={}\n", image.display()),
    );
    reload();
    systemctl("start", "pf-fail");
    journal::until("the unit has failed", || {
        systemd::state("pf-fail.service") == "failed (failed)"
    });
    assert_eq!(systemd::number("pf-fail.service", "ExecMainStatus"), 23);
    Trace::assert_none();
}

#[test]
fn values_are_data_and_drop_ins_change_them() {
    let host = Host::new();
    let directory = host.directory("wörk %n $HOME");
    let out = directory.join("out put");
    let script = format!(
        "printf '%s|' \"$A\" \"$B\" \"$@\" > '{}'; exec sleep 1000000",
        out.display()
    );
    let image = Image::busybox(&host, "values").build();
    let renamed = directory.join("ï mage%i.aci");
    fs::rename(image, &renamed).expect("cannot rename the image");
    let mut files = Files::new(&host);
    files.pod(
        "pf-values",
        &format!(
            "[Pod]\nEnvironment=A=1 B=1\n[App web]\nImage=\"{}\"\nExec=/bin/sh -c \"{}\" sh\n\
             Arguments='a b' %n \"100%%\" $HOME \"{{x}}\"\n",
            renamed.display(),
            script.replace('\\', "\\\\").replace('"', "\\\"")
        ),
    );
    files.put(
        "/run/skim/pf-values.skim.d/50-b.conf",
        "[App web]\nEnvironment=\"B=two words\"\n",
    );
    files.put(
        "/usr/lib/skim/pf-values.skim.d/50-b.conf",
        "[App web]\nEnvironment=B=vendor\n",
    );
    files.mask("/etc/skim/pf-values.skim.d/60-no.conf");
    files.put(
        "/usr/lib/skim/pf-values.skim.d/60-no.conf",
        "[App web]\nEnvironment=A=masked\n",
    );
    reload();
    systemctl("start", "pf-values").success();
    journal::until("the app has written", || out.exists());
    journal::until("the app has written all", || {
        fs::read_to_string(&out).is_ok_and(|text| text.ends_with("{x}|"))
    });
    let text = fs::read_to_string(&out).expect("it was written");
    assert_eq!(text, "1|two words|a b|%n|100%%|$HOME|{x}|");
}

#[test]
fn a_masked_pod_file_has_no_unit() {
    let host = Host::new();
    let image = sleeper(&host, "sleeper");
    let mut files = Files::new(&host);
    files.put(
        "/usr/lib/skim/pf-mask.skim",
        &format!("[App web]\nImage={image}\n"),
    );
    reload();
    assert_eq!(systemd::property("pf-mask.service", "LoadState"), "loaded");
    files.mask("/etc/skim/pf-mask.skim");
    reload();
    assert_eq!(
        systemd::property("pf-mask.service", "LoadState"),
        "not-found"
    );
}

#[test]
fn a_faulty_pod_file_fails_with_the_reason_in_its_status() {
    let host = Host::new();
    let image = sleeper(&host, "sleeper");
    let mut files = Files::new(&host);
    let right = format!("[Install]\nWantedBy=multi-user.target\n[App web]\nImage={image}\n");
    files.pod("pf-faulty", &format!("{right}Memory=lots\n"));
    files.pod("pf-good", &right);
    reload();
    for name in ["pf-faulty", "pf-good"] {
        let link = format!("{GENERATED}/multi-user.target.wants/{name}.service");
        assert!(Path::new(&link).exists(), "{link}");
    }
    assert_ne!(systemctl("start", "pf-faulty").code, Some(0));
    let status = run("systemctl", ["status", "--no-pager", "--full", "pf-faulty"]).stdout;
    let reason = "/etc/skim/pf-faulty.skim:5: [App web] Memory=: ";
    assert!(status.contains(&format!("Status: \"{reason}")), "{status}");
    let checked = skim(["check", "pf-faulty"]);
    assert_eq!(checked.code, Some(254));
    assert!(checked.stdout.starts_with(reason), "{checked:#?}");
    systemctl("start", "pf-good").success();

    // Once it is right, systemd has to be told.
    files.pod("pf-faulty", &right);
    assert_ne!(systemctl("start", "pf-faulty").code, Some(0));
    let status = systemd::property("pf-faulty.service", "StatusText");
    assert!(status.contains("systemctl daemon-reload"), "{status}");
    reload();
    systemctl("start", "pf-faulty").success();
}

#[test]
fn install_makes_links_and_aliases() {
    let host = Host::new();
    let image = sleeper(&host, "sleeper");
    let mut files = Files::new(&host);
    files.pod(
        "pf-install",
        &format!(
            "[App web]\nImage={image}\n[Install]\nWantedBy=pf-test.target\nAlias=pf-alias.service\n"
        ),
    );
    files.put(
        "/run/systemd/system/pf-test.target",
        "[Unit]\nDescription=test\n",
    );
    reload();
    systemctl("start", "pf-test.target").success();
    journal::until("the pod is up", || {
        systemd::state("pf-alias.service") == "active (running)"
    });
    assert_eq!(
        systemd::property("pf-alias.service", "Id"),
        "pf-install.service"
    );
    systemctl("stop", "pf-test.target").success();
}

#[test]
fn the_template_runs_pod_files_and_pod_manifests() {
    let host = Host::new();
    let image = sleeper(&host, "manifested");
    skim(["fetch", &image]).success();
    let mut files = Files::new(&host);
    files.put(
        "/etc/skim/pf-tmpl.skim",
        &format!("[Pod]\nGenerate=no\n[App web]\nImage={image}\n"),
    );
    let manifest = r#"{"acVersion": "0.8.11", "acKind": "PodManifest", "apps": [
        {"name": "web", "image": {"name": "example.com/manifested"}}]}"#;
    files.put("/run/skim/pf-json.json", manifest);
    for name in ["pf-tmpl", "pf-json"] {
        files.units.push(format!("skim-pod@{name}.service"));
    }
    reload();
    assert!(!Path::new(GENERATED).join("pf-tmpl.service").exists());
    for name in ["pf-tmpl", "pf-json"] {
        let unit = format!("skim-pod@{name}.service");
        systemctl("start", &unit).success();
        assert_eq!(systemd::state(&unit), "active (running)");
        assert_eq!(pods().len(), 1);
        systemctl("stop", &unit).success();
        Trace::assert_none();
    }
}

#[test]
fn a_reload_goes_to_the_apps_that_can() {
    let host = Host::new();
    let out = host.scratch().join("reloaded");
    let image = sleeper(&host, "sleeper");
    let mut files = Files::new(&host);
    files.pod(
        "pf-reload",
        &format!(
            "[App web]\nImage={image}\n[App other]\nImage={image}\nExecReload=/bin/touch {}\n",
            out.display()
        ),
    );
    reload();
    systemctl("start", "pf-reload").success();
    systemctl("reload", "pf-reload").success();
    assert!(out.exists());
}

#[test]
fn a_pod_whose_holder_was_killed_is_started_again_and_swept() {
    let host = Host::new();
    let image = sleeper(&host, "sleeper");
    let mut files = Files::new(&host);
    files.pod(
        "pf-killed",
        &format!("[App web]\nImage={image}\n[Service]\nRestart=on-failure\nRestartSec=0\n"),
    );
    reload();
    systemctl("start", "pf-killed").success();
    let (first, holder) = (pod(), systemd::main_pid("pf-killed.service"));
    run("kill", ["-KILL", &holder.to_string()]).success();
    journal::until("another pod is up, and alone", || {
        let state = systemd::state("pf-killed.service");
        state == "active (running)" && matches!(&pods()[..], [pod] if *pod != first)
    });
    gc();
}

#[test]
fn check_tells_what_is_wrong_and_what_would_be_made() {
    let host = Host::new();
    let image = sleeper(&host, "sleeper");
    let mut files = Files::new(&host);
    files.put(
        "/etc/skim/pf-check.skim",
        &format!("[App web]\nImage={image}\nSocket=80\n"),
    );
    let right = skim(["check", "pf-check"]).success().stdout;
    assert!(
        right.starts_with("pf-check: right (/etc/skim/pf-check.skim)\n"),
        "{right}"
    );
    let units = skim(["check", "--dry-run", "pf-check"]).success().stdout;
    for part in [
        "# /run/systemd/generator/pf-check.service\n",
        "# /run/systemd/generator/pf-check-web.socket\n",
        "ListenStream=80\n",
    ] {
        assert!(units.contains(part), "{units}");
    }
    let json = skim(["check", "--format=json"]).success().stdout;
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    let names: Vec<_> = json
        .as_array()
        .into_iter()
        .flatten()
        .map(|file| &file["name"])
        .collect();
    assert!(names.contains(&&Value::from("pf-check")), "{names:?}");
    let file = host.scratch().join("loose.skim");
    fs::write(&file, "[App web]\nImgae=x\n").expect("cannot write");
    let faulty = skim(["check".as_ref(), file.as_os_str()]);
    assert_eq!(faulty.code, Some(254));
    assert!(
        faulty.stdout.contains("loose.skim:2: [App web] Imgae=: "),
        "{faulty:#?}"
    );
    // That its units are another pod's shows before it is installed.
    let name = host.scratch().join("pf.skim");
    fs::write(
        &name,
        format!("[App check-web]\nImage={image}\nSocket=81\n"),
    )
    .expect("cannot write");
    let taken = skim(["check".as_ref(), name.as_os_str()]);
    let why = "pf.skim: pf-check-web.socket is made of the pod file pf-check, too";
    assert_eq!(taken.code, Some(254), "{taken:#?}");
    assert!(taken.stdout.contains(why), "{taken:#?}");
    let dry = skim(["check".as_ref(), "--dry-run".as_ref(), name.as_os_str()]);
    assert_eq!((dry.code, &dry.stdout), (Some(254), &taken.stdout));
    let missing = skim(["check", "pf-none"]);
    assert!(
        missing.stderr.contains("there is no pod file pf-none.skim"),
        "{missing:#?}"
    );
}
