//! Keys and signatures for tests.

use std::time::{Duration, SystemTime};

use sequoia_openpgp::armor::{Kind, Writer};
use sequoia_openpgp::cert::{CertBuilder, CertRevocationBuilder};
use sequoia_openpgp::packet::key::{SecretParts, UnspecifiedRole};
use sequoia_openpgp::packet::{Key, signature::SignatureBuilder};
use sequoia_openpgp::serialize::Serialize;
use sequoia_openpgp::types::{HashAlgorithm, ReasonForRevocation, SignatureType};
use sequoia_openpgp::{Cert, Packet};

/// A day.
pub const DAY: Duration = Duration::from_secs(86400);

/// The time at which the tests take place.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// What makes a key with a signing subkey, ten days old, that does not expire.
pub fn builder(user_id: &str) -> CertBuilder<'static> {
    CertBuilder::new()
        .set_creation_time(now() - 10 * DAY)
        .add_userid(user_id)
        .add_signing_subkey()
}

/// Such a key.
pub fn key(user_id: &str) -> Cert {
    builder(user_id).generate().unwrap().0
}

/// The key, revoked at `time`.
pub fn revoked(key: &Cert, reason: ReasonForRevocation, time: SystemTime) -> Cert {
    let primary = key.primary_key().key().clone();
    let mut signer = primary.parts_into_secret().unwrap().into_keypair().unwrap();
    let revocation = CertRevocationBuilder::new()
        .set_reason_for_revocation(reason, b"")
        .unwrap()
        .set_signature_creation_time(time)
        .unwrap()
        .build(&mut signer, key, None)
        .unwrap();
    key.clone().insert_packets(revocation).unwrap().0
}

/// The secret part of the key's signing subkey.
pub fn signing_key(key: &Cert) -> Key<SecretParts, UnspecifiedRole> {
    let subkey = key.keys().subkeys().next().unwrap().key().clone();
    subkey.parts_into_secret().unwrap().role_into_unspecified()
}

/// How to sign.
#[derive(Clone)]
pub struct How {
    /// The digest.
    pub hash: HashAlgorithm,
    /// When.
    pub time: SystemTime,
    /// Binary or text.
    pub kind: SignatureType,
    /// Whether it is armored.
    pub armored: bool,
}

impl Default for How {
    fn default() -> Self {
        Self {
            hash: HashAlgorithm::SHA512,
            time: now() - DAY,
            kind: SignatureType::Binary,
            armored: true,
        }
    }
}

/// A detached signature by each of the keys.
pub fn sign(keys: &[&Cert], content: &[u8], how: &How) -> Vec<u8> {
    let keys = keys.iter().map(|key| signing_key(key)).collect();
    sign_with(keys, content, how)
}

/// As [`sign`], by any key.
pub fn sign_with(
    keys: Vec<Key<SecretParts, UnspecifiedRole>>,
    content: &[u8],
    how: &How,
) -> Vec<u8> {
    let packets = keys.into_iter().map(|key| {
        let builder = SignatureBuilder::new(how.kind)
            .set_hash_algo(how.hash)
            .set_signature_creation_time(how.time)
            .unwrap();
        let signature = builder.sign_message(&mut key.into_keypair().unwrap(), content);
        Packet::from(signature.unwrap())
    });
    serialize(packets.collect(), how.armored)
}

/// The packets as a file.
pub fn serialize(packets: Vec<Packet>, armored: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if armored {
        let mut writer = Writer::new(&mut out, Kind::Signature).unwrap();
        packets
            .iter()
            .for_each(|packet| packet.serialize(&mut writer).unwrap());
        writer.finalize().unwrap();
    } else {
        packets
            .iter()
            .for_each(|packet| packet.serialize(&mut out).unwrap());
    }
    out
}
