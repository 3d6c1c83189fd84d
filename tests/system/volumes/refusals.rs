//! Volumes that are refused: one line, code 254, nothing left.

use serde_json::json;

use super::*;
use crate::support::command::Outcome;
use crate::support::trace::{STATE, Trace};

#[track_caller]
pub(super) fn assert_refused(outcome: &Outcome, says: &str) {
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    assert!(outcome.stderr.contains(says), "{says:?} in {outcome:#?}");
    Trace::assert_none();
}

/// `skim run --quiet IMAGE FLAG`
fn run_with(image: &Path, flag: &str) -> [OsString; 4] {
    ["run".into(), "--quiet".into(), image.into(), flag.into()]
}

#[test]
fn volumes_and_mounts_that_make_no_sense() {
    let host = Host::new();
    let image = sleeper(&host, "refused").file("file", "", 0o644).build();
    let before = mounts::others();
    let empty = "--volume=v,kind=empty";
    for (says, flags) in [
        ("AC Name", &["--volume=V,kind=empty"][..]),
        ("kind is missing", &["--volume=v"]),
        ("unknown kind", &["--volume=v,kind=nfs"]),
        ("absolute", &["--volume=v,kind=host,source=relative"]),
        ("source is missing", &["--volume=v,kind=host"]),
        (
            "\"/no/such\" does not exist",
            &["--volume=v,kind=host,source=/no/such"],
        ),
        ("no mode", &["--volume=v,kind=host,source=/etc,mode=0755"]),
        ("has no source", &["--volume=v,kind=empty,source=/etc"]),
        ("unknown key", &["--volume=v,kind=empty,size=1"]),
        ("given twice", &["--volume=v,kind=empty,mode=0,mode=0"]),
        ("newline", &["--volume=v,kind=host,source=/a\nb"]),
        ("duplicate volume name", &[empty, "--volume=v,kind=empty"]),
        (
            "dangling mount point \"/p\": volume \"v\" not found",
            &["--mount=volume=v,target=/p"],
        ),
        ("absolute", &[empty, "--mount=volume=v,target=p"]),
        ("whole rootfs", &[empty, "--mount=volume=v,target=/"]),
        ("\"..\"", &[empty, "--mount=volume=v,target=/a/../b"]),
        ("no directory", &[empty, "--mount=volume=v,target=/file/x"]),
        (
            "the target is none",
            &[empty, "--mount=volume=v,target=/file"],
        ),
        (
            "no directory",
            &[
                "--volume=v,kind=host,source=/etc/passwd",
                "--mount=volume=v,target=/etc",
            ],
        ),
        (
            "two volumes",
            &[
                empty,
                "--mount=volume=v,target=/a",
                "--mount=volume=v,target=//a/",
            ],
        ),
        (
            "no such volume, only v",
            &[
                empty,
                "--mount=volume=v,target=/a",
                "--set-env=X={volume:w}",
            ],
        ),
        ("the app has no volumes", &["--set-env=X={volume:w}"]),
    ] {
        let mut args: Vec<OsString> = vec!["run".into(), "--quiet".into(), image.clone().into()];
        args.extend(flags.iter().map(OsString::from));
        assert_refused(&skim(args), says);
    }
    assert_eq!(mounts::others(), before);
}

#[test]
fn a_mount_point_that_is_a_file_of_the_image() {
    let host = Host::new();
    let points = json!([{ "name": "p", "path": "/etc/passwd" }]);
    let image = sleeper(&host, "refused").app("mountPoints", points).build();
    assert_refused(&skim(run_with(&image, "--name=refused")), "no directory");
}

#[test]
fn skim_s_own_directory_is_no_volume() {
    let host = Host::new();
    let image = sleeper(&host, "refused").build();
    // Another name of the same directory.
    let alias = Mounted::bind(Path::new(STATE), host.directory("alias"));
    let own = [
        STATE,
        &format!("{STATE}/images"),
        &alias.path().to_string_lossy(),
    ]
    .map(str::to_owned);
    for source in own {
        for recursive in ["true", "false"] {
            let volume = format!("--volume=v,kind=host,source={source},recursive={recursive}");
            let outcome = skim(run_with(&image, &volume));
            assert_eq!(outcome.code, Some(254), "{outcome:#?}");
            assert!(
                outcome.stderr.contains("skim's own directory"),
                "{outcome:#?}"
            );
        }
    }
    drop(alias);
    for source in ["/", "/var", "/var/lib"] {
        let volume = format!("--volume=v,kind=host,source={source}");
        assert_refused(&skim(run_with(&image, &volume)), "add recursive=false");
    }
}
