//! Examples of pods.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::table::How::{Ends, Reads, Says, Typed};
use super::table::Need::{
    Absent, Directory, Does, Exited, Id, Prepared, Running, Stored, UuidFile,
};
use super::table::{Row, SUCCEEDS, row};
use super::try_all;
use super::world::{UUID_FILE, World};
use crate::support::command::{Outcome, skim};
use crate::support::terminal::Step::{Expect, Send};

const DOCKER: &[&str] = &["docker.aci"];
const WEB: &[&str] = &["web.aci"];
const BOTH: &[&str] = &["web.aci", "db.aci"];
const BRIEF: &[&str] = &["brief.aci"];

const ONE: &str = "6ba7b810";
const OTHER: &str = "550e8400";

#[test]
fn examples_of_pods() {
    try_all(&mut World::new(false), ROWS);
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("skim run hello.aci", &[], SUCCEEDS, |_, said| {
        says(said, "hello from hello, uid 33");
        is_in_state("exited");
    }),
    row("skim run ./saved.tar", &[], SUCCEEDS, |_, said| says(said, "args: one two words")),
    row("skim run --interactive tools.aci --exec sh", &[], TYPED, |_, said| says(said, "42")),
    row("echo hi | skim run --interactive tools.aci --exec cat", &[], SUCCEEDS,
        |_, said| assert_eq!(said.stdout, "hi\n")),
    row("skim run web.aci --set-env PORT=80 -- --verbose --- db.aci", &[], Says("database"), |_, said| {
        says(said, "serving on port 80 --verbose");
        stopped(said);
    }),
    row("skim run db.aci --volume data,kind=host,source=/srv/db --mount volume=data,target=/var/lib/db \
         --memory 2G -- --datadir={volume:data}", &[Directory("/srv/db")], Says("database"), keeps_rows),
    row("skim run db.aci --volume data,kind=host,source=/srv/db --mount volume=data,target=/var/lib/db \
         -- --datadir={volume:data}", &[Directory("/srv/db")], Says("database"), keeps_rows),
    row("skim run web.aci --volume cache,kind=empty,mode=0700,uid=33,gid=33 \
         --mount volume=cache,target=/var/cache", &[], Says("serving"), |_, said| stopped(said)),
    row("skim run web.aci --memory=512M --cpu=500m --caps-retain=CAP_NET_BIND_SERVICE --user=www-data",
        &[], Says("serving"), |_, said| stopped(said)),
    row("skim run web.aci --seccomp=mode=retain,errno=EPERM,@systemd/system-service --no-new-privileges",
        &[], Says("serving"), |_, said| stopped(said)),
    row("skim run --dry-run web.aci", &[Stored("web.aci")], SUCCEEDS, |_, said| {
        says(said, "ExecStart=");
        assert_eq!(pods(), Vec::<Value>::new());
    }),
    row("skim run --dry-run docker.aci containerd.aci", &[Stored("docker.aci containerd.aci")], SUCCEEDS,
        |_, said| {
            says(said, "-containerd.service");
            assert_eq!(pods(), Vec::<Value>::new());
        }),
    row("skim run --pod-manifest=pod.json", &[Id("ID", "hello.aci"), Does(POD_MANIFEST)], SUCCEEDS,
        |_, said| says(said, "hello from greeter, uid 33")),
    row("skim run --rm hello.aci --name=one hello.aci --name=two --exec=/bin/sh -- -c 'echo hm >&2; exit 7'",
        &[], Ends(7), |_, said| {
            says(said, "two | hm");
            assert!(said.stderr.contains("app two failed: exited with code 7"), "{said:#?}");
            assert_eq!(pods(), Vec::<Value>::new());
        }),
    row("skim prepare docker.aci containerd.aci", &[], SUCCEEDS, |_, said| {
        assert_eq!(said.stdout.lines().count(), 1, "{said:#?}");
        is_in_state("prepared");
    }),
    row("skim run-prepared --detach 6ba7b810", &[Prepared(ONE, WEB)], SUCCEEDS, |_, said| {
        assert_eq!(said.stdout.trim_end(), uuid());
        is_in_state("running");
    }),
    row("skim run-prepared --detach 550e8400", &[Prepared(OTHER, WEB)], SUCCEEDS, |_, _| is_in_state("running")),
    row("skim run-prepared 6ba7b810", &[Prepared(ONE, WEB)], Says("serving"), |_, said| stopped(said)),
    row("skim list", &[Running(ONE, DOCKER)], SUCCEEDS, |world, said| {
        says(said, &world.uuid(ONE)[..8]);
        says(said, "example.com/docker:28.0");
    }),
    row("skim list --format=json", &[Running(ONE, DOCKER)], SUCCEEDS, |world, said| {
        assert_eq!(json(said)[0]["name"], world.uuid(ONE));
    }),
    row("skim list --quiet --state=running --app=docker", &[Running(ONE, DOCKER), Running(OTHER, WEB)],
        SUCCEEDS, |world, said| assert_eq!(said.stdout.trim_end(), world.uuid(ONE))),
    row("skim status 6ba7b810", &[Running(ONE, DOCKER)], SUCCEEDS, |_, said| {
        says(said, "state=running");
        says(said, "unit-docker=skim-");
    }),
    row("skim status 6ba7b810 --wait-ready=30s", &[Running(ONE, DOCKER)], SUCCEEDS, |_, said| says(said, "ready=true")),
    row("skim status 6ba7b810 --wait", &[Running(ONE, BRIEF)], SUCCEEDS, |_, said| says(said, "app-brief=0")),
    row("skim status --wait 550e8400", &[Running(OTHER, BRIEF)], SUCCEEDS, |_, said| says(said, "state=exited")),
    row("skim status --uuid-file=/run/web.uuid --format=json", &[Running(ONE, WEB), UuidFile(ONE)], SUCCEEDS,
        |world, said| assert_eq!(json(said)["name"], world.uuid(ONE))),
    row("skim logs 6ba7b810", &[Running(ONE, BOTH)], SUCCEEDS, |_, said| {
        says(said, "serving on port 8080");
        says(said, "database");
    }),
    row("skim logs -f 6ba7b810 docker", &[Running(ONE, DOCKER)], Says("up"), |_, _| is_in_state("running")),
    row("skim logs --uuid-file=/run/web.uuid web", &[Running(ONE, BOTH), UuidFile(ONE)], SUCCEEDS, |_, said| {
        says(said, "serving on port 8080");
        assert!(!said.stdout.contains("database"), "{said:#?}");
    }),
    row("skim enter 6ba7b810", &[Running(ONE, WEB)], Reads("echo $((6 * 7)) $AC_APP_NAME\n"),
        |_, said| says(said, "42 web")),
    row("skim enter --uuid-file=/run/web.uuid -- id", &[Running(ONE, WEB), UuidFile(ONE)], SUCCEEDS,
        |_, said| says(said, "uid=0(root)")),
    row("skim cat-manifest 6ba7b810", &[Running(ONE, WEB)], SUCCEEDS, is_manifest),
    row("skim cat-manifest 550e8400", &[Prepared(OTHER, WEB)], SUCCEEDS, is_manifest),
    row("skim cat-manifest --pretty-print=false 6ba7b810", &[Exited(ONE, WEB)], SUCCEEDS, |world, said| {
        is_manifest(world, said);
        assert_eq!(said.stdout.lines().count(), 1, "{said:#?}");
    }),
    row("skim export 6ba7b810 web.aci", &[Exited(ONE, WEB), Absent("web.aci")], SUCCEEDS, |world, _| {
        let exported = world.directory.join("web.aci");
        let full = ["fetch".as_ref(), "--full".as_ref(), exported.as_os_str()];
        assert!(skim(full).line().starts_with("sha512-"));
    }),
    row("skim export --app=db 6ba7b810 db.aci", &[Exited(ONE, BOTH), Absent("db.aci")], SUCCEEDS,
        |world, _| assert!(world.has("db.aci"))),
    row("skim export --app=docker 550e8400 docker.aci",
        &[Exited(OTHER, &["docker.aci", "containerd.aci"]), Absent("docker.aci")], SUCCEEDS,
        |world, _| assert!(world.has("docker.aci"))),
    row("skim run ./web.aci", &[Exited(ONE, WEB), Absent("web.aci"), Does("skim export $(skim list -q) web.aci")],
        Says("serving"), |_, said| {
            assert_eq!(said.code, Some(0), "{said:#?}");
            let states: Vec<_> = pods().iter().map(|pod| pod["state"].clone()).collect();
            assert_eq!(states, ["exited", "exited"]);
        }),
    row("skim stop 6ba7b810", &[Running(ONE, WEB)], SUCCEEDS, |world, said| {
        says(said, world.uuid(ONE));
        assert_eq!(world.state(ONE), "exited");
    }),
    row("skim stop --force 6ba7b810 550e8400", &[Running(ONE, WEB), Running(OTHER, DOCKER)], SUCCEEDS, |world, _| {
        assert_eq!(world.state(ONE), "exited");
        assert_eq!(world.state(OTHER), "exited");
    }),
    row("skim stop --uuid-file=/run/web.uuid", &[Running(ONE, WEB), UuidFile(ONE)], SUCCEEDS,
        |world, _| assert_eq!(world.state(ONE), "exited")),
    row("skim rm 6ba7b810 550e8400", &[Exited(ONE, WEB), Prepared(OTHER, DOCKER)], SUCCEEDS,
        |_, _| assert_eq!(pods(), Vec::<Value>::new())),
    row("skim rm --uuid-file=/run/web.uuid", &[Exited(ONE, WEB), UuidFile(ONE)], SUCCEEDS, |_, _| {
        assert_eq!(pods(), Vec::<Value>::new());
        assert!(Path::new(UUID_FILE).exists());
    }),
    row("skim gc --dry-run", &[Exited(ONE, WEB)], SUCCEEDS, |world, said| {
        says(said, &format!("would remove {} (exited)", world.uuid(ONE)));
        assert_eq!(world.state(ONE), "exited");
    }),
    row("skim gc --mark-only", &[Exited(ONE, WEB)], SUCCEEDS,
        |world, _| assert_eq!(world.state(ONE), "exited garbage")),
    row("skim gc --grace-period=30m", &[Exited(ONE, WEB)], SUCCEEDS,
        |world, _| assert_eq!(world.state(ONE), "exited garbage")),
    row("skim gc", &[Exited(ONE, WEB), Running(OTHER, DOCKER)], SUCCEEDS, |world, said| {
        says(said, &format!("removed {}", world.uuid(ONE)));
        assert_eq!(uuid(), world.uuid(OTHER));
    }),
];

/// A shell is asked for a sum.
const TYPED: super::table::How = Typed(&[Send("echo $((6 * 7))\n"), Expect("42"), Send("exit\n")]);

/// A pod of hello.aci.
const POD_MANIFEST: &str = r#"
    cat >pod.json <<JSON
{ "acKind": "PodManifest", "acVersion": "0.8.11",
  "apps": [ { "name": "greeter", "image": { "id": "$(skim image list --full --no-legend --fields=id)" } } ] }
JSON
"#;

#[track_caller]
fn says(said: &Outcome, text: &str) {
    assert!(said.stdout.contains(text), "{text:?} is not in {said:#?}");
}

/// A pod that ended by Ctrl-C has not failed.
#[track_caller]
fn stopped(said: &Outcome) {
    assert_eq!(said.code, Some(0), "{said:#?}");
    is_in_state("exited");
}

#[track_caller]
fn keeps_rows(_: &World, said: &Outcome) {
    stopped(said);
    let rows = fs::read_to_string("/srv/db/rows").expect("the app wrote them");
    assert_eq!(rows, "rows\n");
    fs::remove_file("/srv/db/rows").expect("cannot remove a file");
}

#[track_caller]
fn is_manifest(_: &World, said: &Outcome) {
    assert_eq!(json(said)["acKind"], "PodManifest");
    assert_eq!(json(said)["apps"][0]["name"], "web");
}

#[track_caller]
fn json(said: &Outcome) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
}

#[track_caller]
fn pods() -> Vec<Value> {
    let outcome = skim(["list", "--format=json"]).success();
    serde_json::from_str(&outcome.stdout).expect("skim printed no JSON")
}

/// The UUID of the one pod that there is.
#[track_caller]
fn uuid() -> String {
    skim(["list", "--quiet"]).line()
}

#[track_caller]
fn is_in_state(state: &str) {
    let pods = pods();
    assert_eq!(pods.len(), 1, "{pods:#?}");
    assert_eq!(pods[0]["state"], state, "{pods:#?}");
}
