//! The units that skim writes.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use crate::daemons::DockerPod;
use crate::support::command::run;
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::Pod;

/// Everything that was written to the runtime unit directory.
fn generated() -> Vec<PathBuf> {
    let directory = fs::read_dir("/run/systemd/system").expect("cannot list the unit directory");
    let units = directory.map(|entry| entry.expect("cannot read the unit directory").path());
    units
        .filter(|path| path.is_file() && path.to_string_lossy().contains("/skim-"))
        .collect()
}

#[track_caller]
fn assert_verified(least: usize) {
    let units = generated();
    assert!(units.len() >= least, "too few units: {units:?}");
    let mut args: Vec<OsString> = vec!["verify".into(), "--man=no".into()];
    args.extend(units.into_iter().map(PathBuf::into_os_string));
    let outcome = run("systemd-analyze", args).success();
    assert_eq!(outcome.stdout + &outcome.stderr, "");
}

#[test]
fn systemd_analyze_is_silent_on_the_units_of_dockers_pod() {
    let host = Host::new();
    let _docker = DockerPod::start(&host);
    assert_verified(3);
}

#[test]
fn systemd_analyze_is_silent_on_units_with_awkward_values() {
    let host = Host::new();
    let image = Image::busybox(&host, "awkward")
        .exec(&[
            "/bin/sh",
            "-c",
            "sleep 1000000",
            "%n",
            "$HOME \"'\\",
            "a\nb",
        ])
        .build();
    let requires = Image::busybox(&host, "second")
        .exec(&["/bin/sleep", "1000000"])
        .build();
    let _pod = Pod::start([
        image.as_os_str(),
        "--set-env=AWKWARD=%h ${X} \\ \" ' \n".as_ref(),
        "--property=LimitNOFILE=1024".as_ref(),
        "---".as_ref(),
        requires.as_os_str(),
    ]);
    assert_verified(3);
}

#[test]
fn systemd_analyze_is_silent_on_units_of_confined_apps() {
    let host = Host::new();
    let image = Image::busybox(&host, "confined")
        .user("4242", "4343")
        .exec(&["/bin/sleep", "1000000"])
        .build();
    let _pod = Pod::start([
        image.as_os_str(),
        "--root=image".as_ref(),
        "--memory=64M".as_ref(),
        "--caps-retain=CAP_CHOWN".as_ref(),
        "--seccomp=mode=remove,errno=ENOTSUP,reboot,@systemd/setuid".as_ref(),
    ]);
    assert_verified(2);
}
