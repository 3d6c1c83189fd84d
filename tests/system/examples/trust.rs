//! Examples of signatures and keys.

use std::path::{Path, PathBuf};

use super::table::How::{Reads, Typed};
use super::table::Need::{Does, Key};
use super::table::{How, Row, SUCCEEDS, row};
use super::try_all;
use super::world::World;
use crate::support::command::skim;
use crate::support::terminal::Step::{Expect, Send};

#[test]
fn examples_of_trust() {
    try_all(&mut World::new(false), ROWS);
}

/// Somebody compares the fingerprint.
const YES: How = Typed(&[Expect("(yes/no)"), Send("yes\n")]);

const TRUST_APP: &str = "skim trust --yes --prefix=example.com/app key.asc";

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("gpg --armor --detach-sign app.aci", &[Key], SUCCEEDS, |world, _| {
        assert!(world.has("app.aci.asc"));
        let image = world.directory.join("app.aci");
        let signed = skim(["fetch".as_ref(), image.as_os_str()]);
        assert_eq!(signed.code, Some(254), "nobody trusts the key yet: {signed:#?}");
        trust(world, "root.d");
        skim(["fetch".as_ref(), image.as_os_str()]).success();
        skim(["trust", "remove", "--root", &world.key().fingerprint]).success();
    }),
    row("skim trust --prefix=example.com/app key.asc", &[Key], YES,
        |world, _| assert!(key(world, "prefix.d/example.com/app").exists())),
    row("skim trust --prefix=example.com key.asc", &[Key], YES,
        |world, _| assert!(key(world, "prefix.d/example.com").exists())),
    row("gpg --export me@example.com | skim trust --root --yes -", &[Key], SUCCEEDS,
        |world, _| assert!(key(world, "root.d").exists())),
    row("skim trust list", &[Key, Does(TRUST_APP)], SUCCEEDS, |world, said| {
        let listed = said.stdout.to_lowercase().replace(' ', "");
        assert!(listed.contains(&world.key().fingerprint.to_lowercase()), "{said:#?}");
        assert!(said.stdout.contains("me@example.com"), "{said:#?}");
    }),
    row("skim trust list --format=json", &[Key, Does(TRUST_APP)], SUCCEEDS,
        |_, said| assert!(said.stdout.starts_with('['), "{said:#?}")),
    row("skim trust remove --prefix=example.com/app FINGERPRINT", &[Key, Does(TRUST_APP)], SUCCEEDS,
        |world, _| assert!(!key(world, "prefix.d/example.com/app").exists())),
    row("skim trust remove --prefix=example.com FINGERPRINT",
        &[Key, Does("skim trust --yes --prefix=example.com key.asc")], SUCCEEDS,
        |world, _| assert!(!key(world, "prefix.d/example.com").exists())),
    row("skim trust remove --root FINGERPRINT", &[Key, Does("skim trust --yes --root key.asc")], Reads(""),
        |world, _| assert!(!key(world, "root.d").exists())),
];

/// The file of the key where it is trusted.
fn key(world: &World, place: &str) -> PathBuf {
    let fingerprint = world.key().fingerprint.to_lowercase();
    Path::new("/etc/skim/trustedkeys")
        .join(place)
        .join(fingerprint)
}

#[track_caller]
fn trust(world: &World, place: &str) {
    let file = world.key().file.to_string_lossy();
    skim(["trust", "--yes", "--root", &file]).success();
    assert!(key(world, place).exists());
}
