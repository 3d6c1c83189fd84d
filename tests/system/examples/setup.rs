//! Examples of skim itself: its configuration, its installation.

use std::path::Path;

use serde_json::Value;

use super::table::How::Elsewhere;
use super::table::Need::{Directory, Does};
use super::table::{Row, SUCCEEDS, row};
use super::try_all;
use super::world::World;
use crate::support::command::{Outcome, run};

#[test]
fn examples_of_setup() {
    try_all(&mut World::new(false), ROWS);
}

const INSTALLED: &str = "install_skim in tests/lib/build.sh does it for these tests";
const TESTS: &str = "it is these tests";

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("skim version", &[], SUCCEEDS, |_, said| assert!(said.stdout.contains("systemd"), "{said:#?}")),
    row("skim version --format=json", &[], SUCCEEDS, |_, said| assert!(json(said).is_object(), "{said:#?}")),
    row("skim config", &[], SUCCEEDS, |_, said| assert!(json(said).is_object(), "{said:#?}")),
    row("skim config --local-config=/tmp/etc", &[Directory("/tmp/etc")], SUCCEEDS,
        |_, said| assert!(said.stdout.contains("/tmp/etc"), "{said:#?}")),
    row("skim completion bash >/etc/bash_completion.d/skim", &[Directory("/etc/bash_completion.d")], SUCCEEDS,
        |_, _| completes_in_bash("/etc/bash_completion.d/skim")),
    row("skim completion zsh >/usr/local/share/zsh/site-functions/_skim",
        &[Directory("/usr/local/share/zsh/site-functions")], SUCCEEDS,
        |_, _| begins_with("/usr/local/share/zsh/site-functions/_skim", "#compdef skim")),
    row("skim completion fish >/etc/fish/completions/skim.fish", &[Directory("/etc/fish/completions")], SUCCEEDS,
        |_, _| begins_with("/etc/fish/completions/skim.fish", "#")),
    row("umoci config --image docker.oci:1.0 --config.label skim.requires=containerd \
         --config.label \"skim.dropin=$(cat dropin)\"", &[Does("cp -rL docker.oci copy && rm docker.oci && mv copy docker.oci")],
        SUCCEEDS, |world, _| {
            let image = format!("oci:{}:1.0", world.directory.join("docker.oci").display());
            let label = "{{ index .Labels \"skim.requires\" }}";
            let shown = run("skopeo", ["inspect", "--format", label, &image]);
            assert_eq!(shown.line(), "containerd");
        }),
    row("sudo packaging/install", &[], Elsewhere(INSTALLED), |_, _| ()),
    row("sudo systemctl enable --now skim-gc.timer skim-update.timer", &[], Elsewhere("the tests of packages enable them"), |_, _| ()),
    row("skim --user run --rm hello.aci", &[], Elsewhere("user_scope: a_pod_of_a_user_runs_as_the_user"), |_, _| ()),
    row("skim --user run --detach web.aci --readonly-rootfs=false", &[],
        Elsewhere("user_scope: the_store_cannot_be_written_to_and_a_copy_can"), |_, _| ()),
    row("skim --user gc", &[], Elsewhere("user_scope: every test of a pod ends so"), |_, _| ()),
    row("sudo packaging/demo", &[], Elsewhere("it boots a machine of its own"), |_, _| ()),
    row("sudo tests/run", &[], Elsewhere(TESTS), |_, _| ()),
];

#[track_caller]
fn json(said: &Outcome) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
}

#[track_caller]
fn begins_with(path: &str, text: &str) {
    let content = std::fs::read_to_string(Path::new(path));
    let content = content.unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(content.starts_with(text), "{path}");
}

/// bash accepts the script, and offers verbs and their flags.
#[track_caller]
fn completes_in_bash(script: &str) {
    assert_eq!(run("bash", ["-n", script]).success().stderr, "");
    let ask = r#"
        set -e
        . "$1"
        complete -p skim
        ask() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _skim skim "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[*]}"
        }
        ask skim ""
        ask skim run-
        ask skim image ""
        ask skim gc --gr
    "#;
    let said = run("bash", ["-c", ask, "bash", script]).success().stdout;
    let lines: Vec<_> = said.lines().collect();
    let [specification, verbs, run, image, gc] = lines[..] else {
        panic!("{said}");
    };
    assert!(specification.ends_with(" skim"), "{said}");
    for verb in ["run", "prepare", "list", "gc", "cat-manifest"] {
        assert!(verbs.split(' ').any(|word| word == verb), "{verb}: {said}");
    }
    assert_eq!(run, "run-prepared");
    assert!(image.split(' ').any(|word| word == "relocations"), "{said}");
    assert_eq!(gc, "--grace-period");
}
