use std::io::Write;
use std::path::PathBuf;

use sequoia_openpgp::Cert;
use sequoia_openpgp::types::ReasonForRevocation;
use tempfile::TempDir;

use super::prefix::Scope;
use super::testing::{How, key, now, revoked, sign};
use super::*;
use crate::config;
use crate::image::blob::Sha256;

const CONTENT: &[u8] = b"an image";

/// A host with a configuration of its own.
struct Fixture {
    root: TempDir,
    directories: Directories,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let directories = Directories {
            administrator: None,
            system: root.path().join("system"),
            local: root.path().join("local"),
        };
        Self { root, directories }
    }

    fn trust(&self, prefix: &str, key: &Cert) -> PathBuf {
        let scope = match prefix {
            "*" => Scope::Root,
            prefix => Scope::Prefix(Prefix::parse(prefix).unwrap()),
        };
        edit::add(&self.directories, &scope, key).unwrap()
    }

    fn policy(&self, rules: &str) {
        let content =
            format!(r#"{{"skimKind": "policy", "skimVersion": "v1", "rules": [{rules}]}}"#);
        let dir = self.directories.local.join("policy.d");
        config::write(&dir, "p.json", content.as_bytes()).unwrap();
    }

    fn open(&self, insecure: bool) -> Trust {
        Trust::open(&self.directories, insecure, now()).unwrap()
    }

    /// Both steps, for an image that is signed by this key, or not.
    fn admit(&self, name: &str, signed_by: Option<&Cert>, insecure: bool) -> Result<()> {
        let trust = self.open(insecure);
        let mut file = tempfile::tempfile_in(self.root.path())?;
        file.write_all(CONTENT)?;
        let verdict = match signed_by {
            Some(key) => Some(trust.verify(&sign(&[key], CONTENT, &How::default()), &file)?),
            None => None,
        };
        let evidence = Evidence {
            ids: &[id()],
            pinned: false,
            signature: verdict.as_ref().map(|verdict| &verdict.signature),
        };
        trust.admit(name, &evidence)
    }

    fn refused(&self, name: &str, signed_by: Option<&Cert>) -> String {
        let error = self.admit(name, signed_by, false).unwrap_err();
        let error = format!("{error:#}");
        assert!(!error.contains('\n'), "{error}");
        error
    }
}

fn id() -> ImageId {
    ImageId::of_oci(&Sha256::of(CONTENT))
}

#[test]
fn keys_and_names() {
    let fixture = Fixture::new();
    let (one, root, other) = (key("One <1@example.com>"), key("root"), key("other"));
    let path = fixture.trust("example.com/etc", &one);
    fixture.trust("*", &root);
    for (name, key) in [
        ("example.com/etc", None),
        ("example.com/etc", Some(&one)),
        ("example.com/etc/x", Some(&one)),
        ("example.com/etcd", Some(&root)),
        ("b", Some(&root)),
    ] {
        fixture.admit(name, key, false).unwrap();
    }
    // Wrong prefix: which key, for what it is trusted, and what to do.
    let error = fixture.refused("example.com/etcd", Some(&one));
    for part in [
        "One <1@example.com>",
        key::Fingerprint::of(&one).as_str(),
        "images beneath example.com/etc,",
        &format!("skim trust --prefix=example.com/etcd {}", path.display()),
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // Unknown key: which, and what to do.
    let error = fixture.refused("example.com/etc", Some(&other));
    let subkey = other.keys().subkeys().next().unwrap();
    for part in [
        &format!("{:x}", subkey.key().fingerprint()),
        "skim trust --prefix=example.com/etc KEYFILE",
        "--insecure-options=image",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    for (name, key) in [("example.com/etcd", &one), ("a", &other)] {
        fixture.admit(name, Some(key), true).unwrap();
    }
}

#[test]
fn what_the_policy_asks_for() {
    let fixture = Fixture::new();
    let (one, other) = (key("one"), key("other"));
    fixture.trust("*", &one);
    let rule = |rest: &str| format!(r#"{{"prefix": "*", {rest}}}"#);
    let listed = format!(r#""digests": ["sha256:{}"]"#, Sha256::of(CONTENT).hex());
    let elsewhere = format!(r#""digests": ["sha256:{}"]"#, Sha256::of(b"x").hex());
    // Which of: no signature, a good one, one by an unknown key; each pinned, too.
    for (rest, accepted) in [
        (
            r#""accept": ["any"]"#,
            [true, true, false, true, true, false],
        ),
        (
            r#""accept": ["signature"]"#,
            [false, true, false, false, true, false],
        ),
        (
            r#""accept": ["pinned"]"#,
            [false, false, false, true, true, true],
        ),
        (
            r#""accept": ["signature", "pinned"]"#,
            [false, true, false, true, true, true],
        ),
        (r#""accept": []"#, [false; 6]),
        (&listed, [true; 6]),
        (&elsewhere, [false; 6]),
    ] {
        fixture.policy(&rule(rest));
        let signatures = [
            None,
            Some(Signature::Good(vec![Signer {
                fingerprint: key::Fingerprint::of(&one),
                user_id: None,
            }])),
            Some(Signature::UnknownKey(vec![format!(
                "{:x}",
                other.fingerprint()
            )])),
        ];
        let mut found = Vec::new();
        for pinned in [false, true] {
            for signature in &signatures {
                let evidence = Evidence {
                    ids: &[id()],
                    pinned,
                    signature: signature.as_ref(),
                };
                let result = fixture.open(false).admit("a", &evidence);
                found.push(result.is_ok());
                if let Err(error) = result {
                    let error = format!("{error:#}");
                    assert!(!error.contains('\n'), "{error}");
                }
                fixture.open(true).admit("a", &evidence).unwrap();
            }
        }
        assert_eq!(found, accepted, "{rest}");
    }
}

#[test]
fn a_refusal_names_the_rule() {
    let fixture = Fixture::new();
    fixture.policy(r#"{"prefix": "a", "accept": ["signature", "pinned"]}"#);
    let error = fixture.refused("a/b", None);
    for part in [
        "local/policy.d/p.json",
        "prefix a ",
        "a good signature or to be named by its digest",
        "NAME.aci.asc",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    fixture.admit("b", None, false).unwrap();
    fixture.admit("a/b", None, true).unwrap();
}

#[test]
fn nothing_passes_over_a_bad_signature() {
    let fixture = Fixture::new();
    let one = key("one");
    fixture.trust("*", &one);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"another image").unwrap();
    let signature = sign(&[&one], CONTENT, &How::default());
    for insecure in [false, true] {
        assert!(fixture.open(insecure).verify(&signature, &file).is_err());
    }
}

#[test]
fn a_signature_of_old_is_judged_by_the_keys_of_today() {
    let fixture = Fixture::new();
    let one = key("one");
    let path = fixture.trust("a", &one);
    let signature = Signature::Good(vec![Signer {
        fingerprint: key::Fingerprint::of(&one),
        user_id: None,
    }]);
    let evidence = Evidence {
        ids: &[id()],
        pinned: false,
        signature: Some(&signature),
    };
    fixture.open(false).admit("a", &evidence).unwrap();
    for (reason, good) in [
        (ReasonForRevocation::KeyRetired, true),
        (ReasonForRevocation::KeyCompromised, false),
    ] {
        fixture.trust("a", &revoked(&one, reason, now()));
        let result = fixture.open(false).admit("a", &evidence);
        assert_eq!(result.is_ok(), good, "{reason}");
    }
    std::fs::remove_file(path).unwrap();
    let error = fixture.open(false).admit("a", &evidence).unwrap_err();
    assert!(format!("{error:#}").contains("not trusted here"));
}

#[test]
fn a_faulty_configuration_lets_nothing_pass() {
    let fixture = Fixture::new();
    fixture.policy("{");
    for insecure in [false, true] {
        assert!(Trust::open(&fixture.directories, insecure, now()).is_err());
    }
    let fixture = Fixture::new();
    let one = key("one");
    let path = fixture.trust("a", &one);
    std::fs::write(path, "garbage").unwrap();
    assert!(
        fixture
            .refused("a", Some(&one))
            .contains("which keys are trusted")
    );
    // Whoever asks for no signature does not ask for the keys.
    fixture.admit("a", None, false).unwrap();
}
