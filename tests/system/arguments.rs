//! Arguments and environment values arrive byte for byte: unit files are a language, values are
//! data.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::command::skim;
use crate::support::host::Host;
use crate::support::image::Image;

/// What means something to systemd, a shell, or a parser of flags.
const AWKWARD: [&str; 26] = [
    "%",
    "%%",
    "%n %h %H",
    "$",
    "$$",
    "$HOME",
    "${HOME}",
    "\"",
    "'",
    "\"quoted\"",
    "\\",
    "\\\\",
    "\\n",
    "\\x41",
    "line\nbreak",
    "ends with \\",
    "trailing blank ",
    " ",
    "tab\there",
    "; rm",
    ";",
    "\u{e9}\u{1f980}\u{2028}",
    "-leading",
    "--",
    "@-:+!",
    "#comment",
];

/// The strings that the program wrote down, each ended by a NUL.
#[track_caller]
fn strings(directory: &Path, name: &str) -> Vec<String> {
    let bytes = fs::read(directory.join(name)).expect("the app wrote down what it was given");
    let text = String::from_utf8(bytes).expect("the app was given UTF-8");
    text.split_terminator('\0').map(str::to_owned).collect()
}

#[track_caller]
fn variable(environment: &[String], name: &str) -> String {
    let prefix = format!("{name}=");
    let values: Vec<_> = environment
        .iter()
        .filter_map(|entry| entry.strip_prefix(&prefix))
        .collect();
    assert_eq!(values.len(), 1, "{name} is set {} times", values.len());
    values[0].to_owned()
}

#[test]
fn arguments_of_the_command_line_arrive_byte_for_byte() {
    let host = Host::new();
    let dump = host.directory("dump");
    let image = Image::busybox(&host, "arguments")
        .exec(&["/bin/dump"])
        .build();
    let mut args: Vec<OsString> = vec!["run".into(), image.into()];
    args.push(format!("--set-env=DUMP_DIR={}", dump.display()).into());
    args.push("--".into());
    args.extend(AWKWARD.map(Into::into));
    args.push("".into());
    skim(args).success();
    let argv = strings(&dump, "argv");
    assert!(argv[0].ends_with("/rootfs/bin/dump"), "{}", argv[0]);
    assert_eq!(argv[1..], [&AWKWARD[..], &[""]].concat());
}

#[test]
fn arguments_of_the_image_arrive_byte_for_byte() {
    let host = Host::new();
    let dump = host.directory("dump");
    let exec = [&["/bin/dump"], &AWKWARD[..]].concat();
    let image = Image::busybox(&host, "arguments").exec(&exec);
    let image = image.app(
        "environment",
        json!([{ "name": "DUMP_DIR", "value": dump }]),
    );
    crate::apps::run_app(image).success();
    assert_eq!(strings(&dump, "argv")[1..], exec[1..]);
}

#[test]
fn a_bare_program_name_stays_argv0() {
    let host = Host::new();
    let dump = host.directory("dump");
    let image = Image::busybox(&host, "bare").exec(&["dump", "this"]);
    let image = image.app(
        "environment",
        json!([{ "name": "DUMP_DIR", "value": dump }]),
    );
    crate::apps::run_app(image).success();
    assert_eq!(strings(&dump, "argv"), ["dump", "this"]);
}

#[test]
fn an_absolute_program_name_finds_the_program_on_the_host() {
    let host = Host::new();
    let dump = host.directory("dump");
    let image = Image::busybox(&host, "absolute").exec(&["/bin/dump"]);
    let image = image.app(
        "environment",
        json!([{ "name": "DUMP_DIR", "value": dump }]),
    );
    crate::apps::run_app(image).success();
    let argv0 = strings(&dump, "argv").remove(0);
    assert!(argv0.ends_with("/apps/absolute/rootfs/bin/dump"), "{argv0}");
}

#[test]
fn environment_of_the_command_line_arrives_byte_for_byte() {
    let host = Host::new();
    let dump = host.directory("dump");
    let image = Image::busybox(&host, "environment")
        .exec(&["/bin/dump"])
        .build();
    let mut args: Vec<OsString> = vec!["run".into(), image.into()];
    args.push(format!("--set-env=DUMP_DIR={}", dump.display()).into());
    args.extend(
        AWKWARD
            .iter()
            .enumerate()
            .map(|(i, value)| format!("--set-env=V{i}={value}").into()),
    );
    args.push("--set-env=EMPTY=".into());
    skim(args).success();
    let environment = strings(&dump, "environ");
    for (i, value) in AWKWARD.iter().enumerate() {
        assert_eq!(variable(&environment, &format!("V{i}")), *value);
    }
    assert_eq!(variable(&environment, "EMPTY"), "");
}

#[test]
fn environment_of_the_image_arrives_byte_for_byte() {
    let host = Host::new();
    let dump = host.directory("dump");
    let mut variables = vec![json!({ "name": "DUMP_DIR", "value": dump })];
    variables.extend(
        AWKWARD
            .iter()
            .enumerate()
            .map(|(i, value)| json!({ "name": format!("V{i}"), "value": value })),
    );
    let image = Image::busybox(&host, "environment")
        .exec(&["/bin/dump"])
        .app("environment", json!(variables));
    crate::apps::run_app(image).success();
    let environment = strings(&dump, "environ");
    for (i, value) in AWKWARD.iter().enumerate() {
        assert_eq!(variable(&environment, &format!("V{i}")), *value);
    }
}

#[test]
fn the_users_environment_wins_over_the_images_and_defaults_are_there() {
    let host = Host::new();
    let dump = host.directory("dump");
    let image = Image::busybox(&host, "precedence").exec(&["/bin/dump"]);
    let image = image.app(
        "environment",
        json!([{ "name": "WHO", "value": "image" }, { "name": "KEPT", "value": "image" }]),
    );
    let set = format!("--set-env=DUMP_DIR={}", dump.display());
    skim([
        "run".as_ref(),
        image.build().as_os_str(),
        set.as_ref(),
        "--set-env=WHO=user".as_ref(),
    ])
    .success();
    let environment = strings(&dump, "environ");
    assert_eq!(variable(&environment, "WHO"), "user");
    assert_eq!(variable(&environment, "KEPT"), "image");
    assert_eq!(variable(&environment, "AC_APP_NAME"), "precedence");
    for (name, value) in [
        ("SHELL", "/bin/sh"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("HOME", "/root"),
    ] {
        assert_eq!(variable(&environment, name), value);
    }
}

#[test]
fn the_exec_flag_replaces_the_images_exec() {
    let host = Host::new();
    let dump = host.directory("dump");
    let image = Image::busybox(&host, "replaced")
        .exec(&["/bin/false", "not this"])
        .build();
    let set = format!("--set-env=DUMP_DIR={}", dump.display());
    let flags = ["--exec=/bin/dump", &set, "--", "this"];
    skim(
        ["run".as_ref(), image.as_os_str()]
            .into_iter()
            .chain(flags.map(AsRef::as_ref)),
    )
    .success();
    assert_eq!(strings(&dump, "argv")[1..], ["this"]);
}
