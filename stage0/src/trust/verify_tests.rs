use std::io::{Seek, Write};

use sequoia_openpgp::packet::{Marker, UserID};
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::types::{HashAlgorithm, ReasonForRevocation};

use super::super::testing::{DAY, How, builder, key, now, revoked, serialize, sign, sign_with};
use super::*;

const CONTENT: &[u8] = b"an image\r\nas it came";

/// The keyring with these keys.
fn keyring(keys: &[&Cert]) -> Keyring {
    Keyring::of(keys)
}

fn check(signature: &[u8], content: &[u8], keyring: &Keyring) -> Result<Verdict> {
    verify_stream(signature, content, keyring, now())
}

/// The error, and that it is one line.
fn refused(signature: &[u8], content: &[u8], keyring: &Keyring) -> String {
    let error = check(signature, content, keyring).unwrap_err();
    let error = format!("{error:#}");
    assert!(!error.contains('\n'), "{error}");
    error
}

fn signer(key: &Cert, user_id: &str) -> Signer {
    Signer {
        fingerprint: Fingerprint::of(key),
        user_id: Some(user_id.to_owned()),
    }
}

#[test]
fn good() {
    let key = key("A <a@example.com>");
    let keyring = keyring(&[&key]);
    let expected = Verdict {
        digest: Sha256::of(CONTENT),
        size: CONTENT.len() as u64,
        signature: Signature::Good(vec![signer(&key, "A <a@example.com>")]),
    };
    for armored in [true, false] {
        let how = How {
            armored,
            ..How::default()
        };
        let signature = sign(&[&key], CONTENT, &how);
        assert_eq!(check(&signature, CONTENT, &keyring).unwrap(), expected);
    }
}

#[test]
fn a_file_is_read_from_its_start_and_its_offset_stays() {
    let key = key("A");
    let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    let signature = sign(&[&key], &content, &How::default());
    let verdict = verify(&signature, &file, &keyring(&[&key]), now()).unwrap();
    assert_eq!(verdict.digest, Sha256::of(&content));
    assert_eq!(verdict.size, content.len() as u64);
    assert_eq!(file.stream_position().unwrap(), content.len() as u64);
}

#[test]
fn one_byte_is_changed() {
    let key = key("A");
    let keyring = keyring(&[&key]);
    let how = How {
        armored: false,
        ..How::default()
    };
    let signature = sign(&[&key], CONTENT, &how);
    for at in 0..CONTENT.len() {
        let mut content = CONTENT.to_vec();
        content[at] ^= 1;
        let error = refused(&signature, &content, &keyring);
        assert!(error.contains("its signature is bad"), "{error}");
    }
    for content in [b"".as_slice(), &CONTENT[1..], &[CONTENT, b"\n"].concat()] {
        refused(&signature, content, &keyring);
    }
    // Of the signature, which for the parts that it covers itself is never good (RFC 9580,
    // 4.2.1 and 5.2.3: the packet's length, then six octets before the hashed area, then that).
    let body = if signature[1] < 192 { 2 } else { 3 };
    let hashed = usize::from(u16::from_be_bytes([
        signature[body + 4],
        signature[body + 5],
    ]));
    for at in 0..signature.len() {
        let mut changed = signature.clone();
        changed[at] ^= 1;
        let verdict = check(&changed, CONTENT, &keyring);
        let is_good = verdict.is_ok_and(|v| matches!(v.signature, Signature::Good(_)));
        assert!(
            !is_good || at < body || at >= body + 6 + hashed,
            "byte {at}"
        );
    }
}

#[test]
fn an_unknown_key_is_named() {
    let (known, unknown) = (key("known"), key("unknown"));
    let signature = sign(&[&unknown], CONTENT, &How::default());
    let subkey = unknown.keys().subkeys().next().unwrap();
    let subkey = format!("{:x}", subkey.key().fingerprint());
    for keyring in [keyring(&[]), keyring(&[&known])] {
        let verdict = check(&signature, CONTENT, &keyring).unwrap();
        assert_eq!(verdict.digest, Sha256::of(CONTENT));
        assert_eq!(
            verdict.signature,
            Signature::UnknownKey(vec![subkey.clone()])
        );
    }
}

#[test]
fn keys_that_do_not_count() {
    let old = builder("old")
        .set_validity_period(5 * DAY)
        .generate()
        .unwrap()
        .0;
    let retired = revoked(&key("r"), ReasonForRevocation::KeyRetired, now() - 2 * DAY);
    let stolen = revoked(&key("s"), ReasonForRevocation::KeyCompromised, now());
    let good = key("good");
    let at = |days| How {
        time: now() - days * DAY,
        ..How::default()
    };
    let future = How {
        time: now() + DAY,
        ..How::default()
    };
    let weak = How {
        hash: HashAlgorithm::SHA1,
        ..How::default()
    };
    let text = How {
        kind: SignatureType::Text,
        ..How::default()
    };
    for (key, how, part) in [
        (&old, at(1), "does not count"),
        (&retired, at(1), "revoked"),
        (&stolen, at(1), "revoked"),
        (&stolen, at(9), "revoked"),
        (&good, at(100), "does not count"),
        (&good, future, "the signature by"),
        (&good, weak, "the signature by"),
        (&good, text, "over text"),
    ] {
        let signature = sign(&[key], CONTENT, &how);
        let error = refused(&signature, CONTENT, &keyring(&[key]));
        assert!(error.contains(part), "{part}: {error}");
        assert!(error.contains(Fingerprint::of(key).as_str()), "{error}");
    }
    // Made before the key expired or was replaced.
    for (key, how) in [(&old, at(8)), (&retired, at(8))] {
        let signature = sign(&[key], CONTENT, &how);
        let verdict = check(&signature, CONTENT, &keyring(&[key])).unwrap();
        assert!(matches!(verdict.signature, Signature::Good(_)));
    }
}

#[test]
fn a_key_that_may_not_sign() {
    let key = key("A");
    let primary = key.primary_key().key().clone();
    let primary = primary.parts_into_secret().unwrap().role_into_unspecified();
    let signature = sign_with(vec![primary], CONTENT, &How::default());
    let error = refused(&signature, CONTENT, &keyring(&[&key]));
    assert!(error.contains("not signing capable"), "{error}");
}

#[test]
fn several_signatures() {
    let (one, two, other) = (key("one"), key("two"), key("other"));
    let how = How::default();
    let keyring = keyring(&[&one, &two]);
    let both = sign(&[&one, &two, &one], CONTENT, &how);
    let good = Signature::Good(vec![signer(&one, "one"), signer(&two, "two")]);
    assert_eq!(check(&both, CONTENT, &keyring).unwrap().signature, good);
    // One that nobody here knows does no harm.
    let mixed = sign(&[&other, &one], CONTENT, &how);
    let good = Signature::Good(vec![signer(&one, "one")]);
    assert_eq!(check(&mixed, CONTENT, &keyring).unwrap().signature, good);
    // A bad one does.
    let binary = How {
        armored: false,
        ..how
    };
    let mut spoilt = sign(&[&one], CONTENT, &binary);
    spoilt.extend(sign(&[&two], b"another", &binary));
    assert!(refused(&spoilt, CONTENT, &keyring).contains("bad"));
    let many = sign(&[&one; MAX_PACKETS], CONTENT, &binary);
    check(&many, CONTENT, &keyring).unwrap();
    let many = sign(&[&one; MAX_PACKETS + 1], CONTENT, &binary);
    assert!(refused(&many, CONTENT, &keyring).contains("more than 16"));
}

#[test]
fn what_is_no_signature() {
    let key = key("A");
    let keyring = keyring(&[&key]);
    let signature = sign(&[&key], CONTENT, &How::default());
    let public = key.clone().strip_secret_key_material();
    let public = public.armored().to_vec().unwrap();
    let marker = serialize(vec![Marker::default().into()], false);
    let user_id = serialize(vec![UserID::from("A").into()], true);
    let large = vec![b'\n'; MAX_SIGNATURE as usize + 1];
    let tiny: Vec<u8> = [0xca, 0x00].repeat(1 << 18);
    for (content, part) in [
        (b"".as_slice(), "it is empty"),
        (b"garbage", "it holds nothing of OpenPGP"),
        (b"\n\n\n", ""),
        (&signature[..signature.len() / 2], ""),
        (&signature[..30], ""),
        (&public, "public key"),
        (&user_id, "no detached signature"),
        (&large, "at most 1048576"),
        (&tiny, ""),
    ] {
        let error = refused(content, CONTENT, &keyring);
        assert!(error.contains(part), "{part}: {error}");
    }
    // Of no meaning alone.
    let verdict = check(&marker, CONTENT, &keyring);
    assert!(verdict.is_err(), "{verdict:?}");
}

/// Made by GnuPG 2.2.40: `gpg --detach-sign`, with and without `--armor`.
#[test]
fn signatures_of_gnupg() {
    const SIGNED: &[u8] = b"signed by GnuPG\n";
    for (public, signature, user_id) in [
        (
            include_bytes!("testdata/ed25519.asc").as_slice(),
            include_bytes!("testdata/ed25519.sig.asc").as_slice(),
            "Edward <ed25519@example.com>",
        ),
        (
            include_bytes!("testdata/rsa.asc"),
            include_bytes!("testdata/rsa.sig"),
            "Ron <rsa@example.com>",
        ),
    ] {
        let keys = key::parse(public).unwrap();
        let keyring = keyring(&[&keys[0]]);
        key::check_usable(&keys[0], now()).unwrap();
        let good = Signature::Good(vec![signer(&keys[0], user_id)]);
        assert_eq!(check(signature, SIGNED, &keyring).unwrap().signature, good);
        assert!(refused(signature, b"signed by GnuPG", &keyring).contains("bad"));
    }
}
