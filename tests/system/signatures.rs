//! Signatures by GnuPG, the keys that are trusted, and what a policy asks for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::sources::layout_digest;
use crate::support::authority::Authority;
use crate::support::command::{Outcome, run};
use crate::support::host::Host;
use crate::support::registry::{Guard, Registry};
use crate::support::server::https;
use crate::support::store::{Store, assert_one_line, image};

const UNCHECKED: &str = "--insecure-options=image";

/// Whoever signs: a GnuPG with keys of its own.
pub(crate) struct Signer {
    pub(crate) home: PathBuf,
}

/// One key.
pub(crate) struct Key {
    pub(crate) fingerprint: String,
    /// The public key, in ASCII armour.
    pub(crate) file: PathBuf,
}

impl Signer {
    #[track_caller]
    pub(crate) fn new(host: &Host) -> Self {
        let home = host.directory("gnupg");
        run("chmod", ["0700".as_ref(), home.as_os_str()]).success();
        Self { home }
    }

    #[track_caller]
    fn gpg(&self, args: &[&str]) -> Outcome {
        let home = format!("--homedir={}", self.home.display());
        let fixed = [&home, "--batch", "--yes", "--quiet", "--passphrase="];
        run("gpg", fixed.into_iter().chain(args.iter().copied())).success()
    }

    #[track_caller]
    pub(crate) fn key(&self, name: &str, algorithm: &str) -> Key {
        let user = format!("{name}@example.com");
        self.gpg(&["--quick-generate-key", &user, algorithm, "sign", "never"]);
        let listed = self.gpg(&["--with-colons", "--list-keys", &user]).stdout;
        let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:"));
        let fingerprint = fingerprint.expect("a key has a fingerprint");
        let fingerprint = fingerprint.trim_matches(':').to_owned();
        let file = self.export(name, &user);
        Key { fingerprint, file }
    }

    #[track_caller]
    fn export(&self, name: &str, user: &str) -> PathBuf {
        let file = self.home.join(format!("{name}.asc"));
        let output = file.to_string_lossy();
        self.gpg(&["--armor", "--output", &output, "--export", user]);
        file
    }

    /// `FILE.asc` beside the file.
    #[track_caller]
    pub(crate) fn sign(&self, key: &Key, file: &Path) {
        let key = format!("--local-user={}", key.fingerprint);
        let file = file.to_string_lossy();
        self.gpg(&["--armor", &key, "--detach-sign", &file]);
    }

    /// Makes the key say that it is revoked.
    #[track_caller]
    fn revoke(&self, name: &str, key: &Key) -> PathBuf {
        let made = self.home.join("openpgp-revocs.d");
        let made = made.join(format!("{}.rev", key.fingerprint));
        let text = fs::read_to_string(made).expect("gpg has made it with the key");
        let file = self.home.join("revocation");
        // So that nobody imports it by mistake, a colon stands before it.
        fs::write(&file, text.replace(":-----BEGIN", "-----BEGIN")).expect("cannot write it");
        self.gpg(&["--import", &file.to_string_lossy()]);
        self.export(name, &key.fingerprint)
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let home = self.home.to_string_lossy();
        // Its agent goes with the directory, but not at once.
        let _killed = run("gpgconf", ["--homedir", &home, "--kill", "all"]);
    }
}

/// A directory with a copy of the app, and a store whose configuration is its own.
struct Case {
    directory: PathBuf,
    configuration: PathBuf,
    store: Store,
    signer: Signer,
}

impl Case {
    #[track_caller]
    fn new(host: &Host) -> Self {
        let directory = host.directory("files");
        for name in ["app.aci", "app-xz.aci"] {
            fs::copy(image(name), directory.join(name)).expect("cannot copy an image");
        }
        let configuration = host.directory("etc");
        // Who may write there decides what is trusted.
        run("chmod", ["0755".as_ref(), configuration.as_os_str()]).success();
        Self {
            store: Store::new(host, "signed")
                .flag(format!("--local-config={}", configuration.display())),
            directory,
            configuration,
            signer: Signer::new(host),
        }
    }

    fn app(&self) -> PathBuf {
        self.directory.join("app.aci")
    }

    #[track_caller]
    fn trust(&self, scope: &str, key: &Path) {
        let key = key.to_string_lossy();
        self.store.skim(["trust", scope, "--yes", &key]).success();
    }

    /// A rule of the policy, as JSON.
    #[track_caller]
    fn policy(&self, rules: &str) {
        let directory = self.configuration.join("policy.d");
        fs::create_dir_all(&directory).expect("cannot make a directory");
        let text =
            format!(r#"{{ "skimKind": "policy", "skimVersion": "v1", "rules": [ {rules} ] }}"#);
        fs::write(directory.join("tests.json"), text).expect("cannot write the policy");
    }
}

/// What gpg makes here, gpg accepts, until the key is revoked.
#[test]
fn gpg_itself_verifies_what_it_has_signed() {
    let host = Host::new();
    let case = Case::new(&host);
    for algorithm in ["rsa3072", "ed25519"] {
        let key = case.signer.key(algorithm, algorithm);
        case.signer.sign(&key, &case.app());
        let (app, home) = (case.app(), case.signer.home.to_string_lossy().into_owned());
        let (app, home) = (app.to_string_lossy(), format!("--homedir={home}"));
        let verify = || run("gpg", [&home, "--verify", &format!("{app}.asc"), &app]);
        let good = verify().success();
        assert!(good.stderr.contains(&key.fingerprint), "{good:#?}");
        case.signer.revoke("revoked", &key);
        assert!(verify().stderr.contains("revoked"));
    }
}

const SIGNED: &str = r#"{ "prefix": "example.com", "accept": ["signature"] }"#;

#[test]
fn an_image_without_a_signature_is_accepted_unless_the_policy_asks_for_one() {
    let host = Host::new();
    let case = Case::new(&host);
    let id = case.store.fetch([case.app()]);
    case.policy(r#"{ "prefix": "example.com/ap", "accept": ["signature"] }"#);
    assert_eq!(case.store.fetch([case.app()]), id);
    case.store.skim(["image", "rm", &id]).success();
    case.policy(SIGNED);
    case.store.refuse("signature", [case.app()]);
    assert!(case.store.images().is_empty());
    let app = case.app();
    case.store.fetch([UNCHECKED.as_ref(), app.as_os_str()]);
}

#[test]
fn a_good_signature_by_a_trusted_key_opens() {
    let host = Host::new();
    for algorithm in ["rsa3072", "ed25519"] {
        let case = Case::new(&host);
        case.policy(SIGNED);
        let key = case.signer.key("owner", algorithm);
        case.trust("--prefix=example.com/app", &key.file);
        for name in ["app.aci", "app-xz.aci"] {
            let file = case.directory.join(name);
            case.store.refuse("signature", [&file]);
            case.signer.sign(&key, &file);
            let id = case.store.fetch([&file]);
            case.store.skim(["image", "rm", &id]).success();
        }
        for directory in [&case.directory, &case.configuration, &case.signer.home] {
            fs::remove_dir_all(directory).expect("cannot remove a directory");
        }
        fs::remove_dir_all(case.store.directory()).expect("cannot remove the store");
    }
}

#[test]
fn an_unknown_key_is_named_and_how_to_trust_it() {
    let host = Host::new();
    let case = Case::new(&host);
    let key = case.signer.key("stranger", "ed25519");
    case.signer.sign(&key, &case.app());
    let digits = &key.fingerprint[24..];
    case.store.refuse(digits, [case.app()]);
    case.store.refuse("skim trust", [case.app()]);
    let app = case.app();
    case.store.fetch([UNCHECKED.as_ref(), app.as_os_str()]);
}

#[test]
fn a_key_is_trusted_for_its_prefix_by_path_component() {
    let host = Host::new();
    let case = Case::new(&host);
    let key = case.signer.key("owner", "ed25519");
    case.signer.sign(&key, &case.app());
    for other in [
        "example.com/ap",
        "example.com/other",
        "example.com/app/below",
    ] {
        case.trust(&format!("--prefix={other}"), &key.file);
        case.store.refuse("example.com/app", [case.app()]);
    }
    case.trust("--prefix=example.com", &key.file);
    case.store.fetch([case.app()]);
}

/// rkt's own test of trust, in its order: no key, a key for another prefix, somebody else's key, the
/// right one, and a root key.
#[test]
fn rkt_trust() {
    let host = Host::new();
    let case = Case::new(&host);
    case.policy(SIGNED);
    let [owner, other] = ["owner", "other"].map(|name| case.signer.key(name, "ed25519"));
    case.store.refuse("signature", [case.app()]);
    case.signer.sign(&owner, &case.app());
    case.store.refuse(&owner.fingerprint[24..], [case.app()]);
    case.trust("--prefix=wrong.example", &owner.file);
    case.store.refuse("example.com/app", [case.app()]);
    case.trust("--prefix=example.com/app", &other.file);
    case.store.refuse("example.com/app", [case.app()]);
    case.trust("--prefix=example.com/app", &owner.file);
    let id = case.store.fetch([case.app()]);
    case.store.skim(["image", "rm", &id]).success();
    case.signer.sign(&other, &case.app());
    case.trust("--root", &other.file);
    assert_eq!(case.store.fetch([case.app()]), id);
}

#[test]
fn a_root_key_is_trusted_for_every_image() {
    let host = Host::new();
    let case = Case::new(&host);
    case.policy(SIGNED);
    let key = case.signer.key("root", "ed25519");
    case.signer.sign(&key, &case.app());
    case.trust("--root", &key.file);
    case.store.fetch([case.app()]);
}

#[test]
fn the_key_of_somebody_else_does_not_open() {
    let host = Host::new();
    let case = Case::new(&host);
    let (owner, other) = (
        case.signer.key("owner", "ed25519"),
        case.signer.key("other", "ed25519"),
    );
    case.trust("--prefix=example.com", &owner.file);
    case.signer.sign(&other, &case.app());
    case.store.refuse(&other.fingerprint[24..], [case.app()]);
}

#[test]
fn a_bad_signature_is_fatal_whatever_the_policy() {
    let host = Host::new();
    let case = Case::new(&host);
    let key = case.signer.key("owner", "ed25519");
    case.trust("--prefix=example.com", &key.file);
    case.signer.sign(&key, &case.app());
    // Another image than was signed: a byte of a file's content.
    let mut content = fs::read(case.app()).expect("it can be read");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(case.app(), content).expect("it can be written");
    case.store.refuse("signature", [case.app()]);
    case.policy(r#"{ "prefix": "*", "accept": ["any"] }"#);
    case.store.refuse("signature", [case.app()]);
    for garbage in ["", "no signature", "-----BEGIN PGP SIGNATURE-----\n"] {
        fs::write(case.directory.join("app.aci.asc"), garbage).expect("cannot write it");
        case.store.refuse("signature", [case.app()]);
    }
}

#[test]
fn a_revoked_key_does_not_open() {
    let host = Host::new();
    let case = Case::new(&host);
    let key = case.signer.key("owner", "ed25519");
    case.signer.sign(&key, &case.app());
    let revoked = case.signer.revoke("revoked", &key);
    // It may be refused already where it is to be trusted.
    let text = revoked.to_string_lossy();
    case.store.skim(["trust", "--root", "--yes", &text]);
    case.store.refuse("", [case.app()]);
}

#[test]
fn a_key_that_is_trusted_no_more_does_not_open() {
    let host = Host::new();
    let case = Case::new(&host);
    let key = case.signer.key("owner", "ed25519");
    case.signer.sign(&key, &case.app());
    case.trust("--prefix=example.com", &key.file);
    let fingerprint = key.fingerprint.to_lowercase();
    let listed = case.store.skim(["trust", "list"]).success().stdout;
    assert!(listed.to_lowercase().contains(&fingerprint), "{listed}");
    let args = ["trust", "remove", "--prefix=example.com", &fingerprint];
    case.store.skim(args).success();
    case.store.refuse(&key.fingerprint[24..], [case.app()]);
}

#[test]
fn a_signature_may_lie_elsewhere() {
    let host = Host::new();
    let case = Case::new(&host);
    case.policy(SIGNED);
    let key = case.signer.key("owner", "ed25519");
    case.trust("--prefix=example.com", &key.file);
    case.signer.sign(&key, &case.app());
    let elsewhere = host.scratch().join("elsewhere.asc");
    fs::rename(case.directory.join("app.aci.asc"), &elsewhere).expect("cannot move it");
    case.store.refuse("signature", [case.app()]);
    let mut flag = std::ffi::OsString::from("--signature=");
    flag.push(&elsewhere);
    case.store.fetch([flag.as_os_str(), case.app().as_os_str()]);
    let absent = case.store.skim([
        "fetch".as_ref(),
        "--quiet".as_ref(),
        "--signature=/nonexistent.asc".as_ref(),
        case.app().as_os_str(),
    ]);
    assert_one_line(&absent, "/nonexistent.asc");
}

#[test]
fn the_signature_of_an_image_by_https_lies_beside_it() {
    let host = Host::new();
    let case = Case::new(&host);
    let authority = Authority::new(host.directory("ca"));
    let _trusted = authority.trusted();
    let server = https(&case.directory, &authority);
    let url = format!("https://127.0.0.1:{}/app.aci", server.port());
    case.policy(SIGNED);
    case.store.refuse("signature", [&url]);
    let key = case.signer.key("owner", "ed25519");
    case.signer.sign(&key, &case.app());
    case.store.refuse(&key.fingerprint[24..], [&url]);
    case.trust("--prefix=example.com/app", &key.file);
    case.store.fetch([&url]);
    server.wait_for(|line| line.contains("app.aci.asc").then_some(()));
}

/// What came before the policy, or around it, does not run either.
#[test]
fn an_image_in_the_store_is_judged_when_it_is_run() {
    let host = Host::new();
    let case = Case::new(&host);
    let id = case.store.fetch([case.app()]);
    case.policy(SIGNED);
    let outcome = case.store.skim(["run", "--quiet", &id]);
    assert_one_line(&outcome, "signature");
}

#[test]
fn a_policy_may_ask_for_images_that_are_pinned_by_digest() {
    let host = Host::new();
    let case = Case::new(&host);
    let registry = Registry::start(&host, Guard::None);
    registry.push("oci:/opt/images/app.oci:1.0", "app:1.0", &[]);
    let http = "--insecure-options=http";
    let digest = layout_digest("app.oci", "1.0");
    let pinned = registry.image(&format!("app@{digest}"));
    case.policy(r#"{ "prefix": "*", "accept": ["pinned"] }"#);
    case.store
        .refuse("digest", [http, &registry.image("app:1.0")]);
    case.store.fetch([http, &pinned]);
    let id = digest.replace(':', "-");
    case.store.skim(["image", "rm", &id]).success();
    case.policy(&format!(r#"{{ "prefix": "*", "digests": ["{digest}"] }}"#));
    case.store.fetch([http, &registry.image("app:1.0")]);
    case.store.skim(["image", "rm", &id]).success();
    let other = format!("sha256:{}", "0".repeat(64));
    case.policy(&format!(r#"{{ "prefix": "*", "digests": ["{other}"] }}"#));
    case.store.refuse("", [http, &pinned]);
}

#[test]
fn a_broken_policy_stops_everything() {
    let host = Host::new();
    let case = Case::new(&host);
    case.policy(r#"{ "prefix": "example.com", "accept": ["whatever"] }"#);
    case.store.refuse("tests.json", [case.app()]);
    case.policy("} no JSON {");
    case.store.refuse("tests.json", [case.app()]);
}

#[test]
fn a_private_key_or_none_is_not_trusted() {
    let host = Host::new();
    let case = Case::new(&host);
    let key = case.signer.key("owner", "ed25519");
    let secret = host.scratch().join("secret.asc");
    let secret = secret.to_string_lossy();
    let args = [
        "--armor",
        "--output",
        &secret,
        "--export-secret-keys",
        &key.fingerprint,
    ];
    case.signer.gpg(&args);
    let garbage = host.scratch().join("garbage.asc");
    fs::write(&garbage, "garbage").expect("cannot write a file");
    for file in [&secret, &garbage.to_string_lossy(), "/nonexistent.asc"] {
        assert_one_line(&case.store.skim(["trust", "--root", "--yes", file]), file);
    }
    let listed = case.store.skim(["trust", "list"]).success().stdout;
    assert!(!listed.contains(&key.fingerprint), "{listed}");
}
