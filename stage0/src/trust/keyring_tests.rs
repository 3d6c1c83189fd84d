use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::types::ReasonForRevocation;
use tempfile::TempDir;

use super::super::testing::{key, now, revoked};
use super::*;

/// The two directories, empty.
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

    /// Writes a file beneath `trustedkeys`.
    fn put(&self, which: &str, dir: &str, name: &str, content: &[u8]) -> PathBuf {
        let dir = self.root.path().join(which).join("trustedkeys").join(dir);
        config::write(&dir, name, content).unwrap()
    }

    fn put_key(&self, which: &str, dir: &str, key: &Cert) -> PathBuf {
        self.put(which, dir, Fingerprint::of(key).as_str(), &armored(key))
    }

    /// For what a key is trusted.
    fn scopes(&self, key: &Cert) -> Vec<String> {
        let keyring = Keyring::load(&self.directories).unwrap();
        let fingerprint = Fingerprint::of(key);
        let entries = keyring.entries_of(&fingerprint);
        entries.map(|entry| entry.scope.to_string()).collect()
    }

    fn fault(&self) -> String {
        let error = Keyring::load(&self.directories).unwrap_err();
        format!("{error:#}")
    }
}

fn armored(key: &Cert) -> Vec<u8> {
    let key = key.clone().strip_secret_key_material();
    key.armored().to_vec().unwrap()
}

#[test]
fn places() {
    let fixture = Fixture::new();
    let (one, two) = (key("one"), key("two"));
    assert!(fixture.scopes(&one).is_empty());
    fixture.put_key("local", "prefix.d/example.com/etc", &one);
    fixture.put_key("system", "prefix.d/example.com", &one);
    fixture.put_key("system", "root.d", &one);
    let binary = two.clone().strip_secret_key_material().to_vec().unwrap();
    let name = Fingerprint::of(&two);
    fixture.put("local", "root.d", name.as_str(), &binary);
    fixture.put("local", "root.d", ".hidden", b"x");
    let scopes = [
        "all images",
        "images beneath example.com",
        "images beneath example.com/etc",
    ];
    assert_eq!(fixture.scopes(&one), scopes);
    assert_eq!(fixture.scopes(&two), ["all images"]);
    let keyring = Keyring::load(&fixture.directories).unwrap();
    let subkey = one.keys().subkeys().next().unwrap().key().key_handle();
    assert_eq!(keyring.keys_of(&[subkey]).count(), 1);
    assert_eq!(keyring.keys_of(&[two.keyid().into()]).count(), 1);
    assert_eq!(keyring.keys_of(&[key("x").key_handle()]).count(), 0);
}

#[test]
fn a_mask_is_for_its_place_alone() {
    let fixture = Fixture::new();
    let (one, two) = (key("one"), key("two"));
    for key in [&one, &two] {
        fixture.put_key("system", "root.d", key);
        fixture.put_key("system", "prefix.d/example.com", key);
    }
    let name = Fingerprint::of(&one);
    fixture.put("local", "prefix.d/example.com", name.as_str(), b"");
    let mask = fixture
        .put("local", "root.d", "x", b"")
        .with_file_name(Fingerprint::of(&two).as_str());
    fs::remove_file(mask.with_file_name("x")).unwrap();
    symlink("/dev/null", mask).unwrap();
    assert_eq!(fixture.scopes(&one), ["all images"]);
    assert_eq!(fixture.scopes(&two), ["images beneath example.com"]);
    let scan = scan(&fixture.directories);
    let masked = scan
        .entries
        .iter()
        .filter(|entry| entry.masked_by.is_some());
    assert_eq!((scan.entries.len(), masked.count()), (4, 2));
}

#[test]
fn a_mask_heals_a_fault_of_the_vendors() {
    let fixture = Fixture::new();
    let name = Fingerprint::of(&key("one"));
    fixture.put("system", "root.d", name.as_str(), b"garbage");
    assert!(fixture.fault().contains("no OpenPGP key"));
    fixture.put("local", "root.d", name.as_str(), b"");
    Keyring::load(&fixture.directories).unwrap();
}

#[test]
fn the_administrators_copy_is_taken() {
    let fixture = Fixture::new();
    let key = key("one");
    fixture.put(
        "system",
        "root.d",
        Fingerprint::of(&key).as_str(),
        b"garbage",
    );
    let own = fixture.put_key("local", "root.d", &key);
    let scan = scan(&fixture.directories);
    assert_eq!(scan.entries.len(), 1);
    assert_eq!(scan.entries[0].path, own);
}

#[test]
fn a_revocation_in_one_place_counts_in_all() {
    let fixture = Fixture::new();
    let one = key("one");
    fixture.put_key("local", "prefix.d/a", &one);
    let gone = revoked(&one, ReasonForRevocation::KeyCompromised, now());
    fixture.put_key("system", "prefix.d/b", &gone);
    let keyring = Keyring::load(&fixture.directories).unwrap();
    let found = keyring.key(&Fingerprint::of(&one)).unwrap();
    assert!(key::is_compromised(found));
}

#[test]
fn links_are_followed_and_loops_end() {
    let fixture = Fixture::new();
    let one = key("one");
    let path = fixture.put_key("system", "prefix.d/a", &one);
    let outside = fixture.root.path().join("key");
    fs::rename(&path, &outside).unwrap();
    symlink(&outside, &path).unwrap();
    assert_eq!(fixture.scopes(&one), ["images beneath a"]);
    symlink(".", path.with_file_name("loop")).unwrap();
    assert!(fixture.fault().contains("symbolic links"));
    symlink(".", path.with_file_name("more")).unwrap();
    let faults = scan(&fixture.directories).faults;
    assert!(faults.len() < MAX_FILES);
    let mut faults = faults.iter().map(|fault| format!("{fault:#}"));
    assert!(faults.any(|fault| fault.contains("more than")));
}

#[test]
fn faults() {
    let one = key("one");
    let name = Fingerprint::of(&one);
    let name = name.as_str();
    let two = [armored(&one), armored(&key("two"))].concat();
    let secret = one.as_tsk().armored().to_vec().unwrap();
    let large = vec![b'x'; MAX_KEY_FILE as usize + 1];
    let good = armored(&one);
    let upper = name.to_uppercase();
    let other = "0".repeat(40);
    for (dir, file, content, part) in [
        ("root.d", name, b"garbage".as_slice(), "no OpenPGP key"),
        ("root.d", name, &two, "2 keys"),
        ("root.d", name, &secret, "secret key"),
        ("root.d", name, &large, "more than"),
        ("root.d", &other, &good, "its name must say"),
        ("root.d", &upper, &good, "its name must be"),
        ("root.d", "README", &good, "its name must be"),
        ("prefix.d", name, &good, "named like a prefix"),
        ("prefix.d/Example.com", name, &good, "no prefix"),
        ("root.d/x", name, &good, "its name must be"),
        (&format!("root.d/{other}"), name, &good, "no file"),
    ] {
        let fixture = Fixture::new();
        fixture.put("local", dir, file, content);
        let fault = fixture.fault();
        assert!(fault.contains(part), "{dir}/{file}: {fault}");
        assert!(!fault.contains('\n'), "{fault}");
    }
}

#[test]
fn what_others_may_write_is_not_trusted() {
    let one = key("one");
    for part in ["", "trustedkeys", "trustedkeys/prefix.d/a", "file"] {
        let fixture = Fixture::new();
        let path = fixture.put_key("local", "prefix.d/a/b", &one);
        let open = match part {
            "file" => path,
            part => fixture.directories.local.join(part),
        };
        let mut mode = fs::metadata(&open).unwrap().permissions();
        mode.set_mode(mode.mode() | 0o020);
        fs::set_permissions(&open, mode).unwrap();
        let fault = fixture.fault();
        assert!(fault.contains("written to by others"), "{part}: {fault}");
    }
}
