//! Signatures of Docker's manifests of schema 1, as registries of old want them: with a key that nobody has seen before
//! and nobody will see again, so that they say nothing but that the manifest is whole.
//!
//! The form is a JSON Web Signature (RFC 7515) inside of the document that it signs: `formatLength` says how much of the
//! document was there before, and `formatTail` how it ended.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::error::{Error, Exit};

/// What stands before a point of the curve P-256 in a public key (RFC 5480).
const KEY_HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The manifest with a signature.
pub(super) fn sign(manifest: &[u8]) -> Result<Vec<u8>, Error> {
    let unfit = || Error::new(Exit::Content, "the manifest cannot be signed: it is no JSON object with anything in it");
    let object = serde_json::from_slice::<Value>(manifest).ok().filter(|value| {
        value.as_object().is_some_and(|object| !object.is_empty() && !object.contains_key("signatures"))
    });
    object.ok_or_else(unfit)?;
    // An object ends with a brace, and before that there is something that is no white space.
    let end = manifest.trim_ascii_end().strip_suffix(b"}").ok_or_else(unfit)?.trim_ascii_end().len();
    let (head, tail) = manifest.split_at(end);
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let protected = encode(json!({"formatLength": end, "formatTail": encode(tail), "time": time}).to_string());
    let signature = signature(&format!("{protected}.{}", encode(manifest)), &protected)?;
    Ok([head, format!(",\"signatures\":[{signature}]}}").as_bytes()].concat())
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn signature(content: &str, protected: &str) -> Result<Value, Error> {
    let failed = |_| Error::new(Exit::Local, "the system gives no key to sign with");
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(failed)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random);
    let key = key.map_err(|_| failed(ring::error::Unspecified))?;
    let signed = key.sign(&random, content.as_bytes()).map_err(failed)?;
    let point = key.public_key().as_ref();
    // A point is one byte that says how it is written, and two numbers of 32 bytes.
    let (x, y) = point[1..].split_at(32);
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": key_id(point), "x": encode(x), "y": encode(y)});
    Ok(json!({"header": {"jwk": jwk, "alg": "ES256"}, "signature": encode(signed), "protected": protected}))
}

/// What the key is called: 240 bits of its digest in base 32, four letters at a time.
fn key_id(point: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = digest(&SHA256, &[&KEY_HEADER, point].concat());
    let fives = digest.as_ref()[..30].chunks(5).flat_map(|bytes| {
        let bits = bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        (0..8).rev().map(move |at| LETTERS[(bits >> (5 * at) & 31) as usize])
    });
    let letters: Vec<u8> = fives.collect();
    letters.chunks(4).map(|letters| String::from_utf8_lossy(letters)).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    fn decode(value: &Value) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
    }

    /// What was signed, if the signature is good, as whoever gets the document finds out.
    fn verified(document: &[u8]) -> Vec<u8> {
        let parsed: Value = serde_json::from_slice(document).unwrap();
        let signature = &parsed["signatures"][0];
        let protected: Value = serde_json::from_slice(&decode(&signature["protected"])).unwrap();
        let length = protected["formatLength"].as_u64().unwrap() as usize;
        let payload = [&document[..length], &decode(&protected["formatTail"])].concat();
        let content = format!("{}.{}", signature["protected"].as_str().unwrap(), encode(&payload));
        let jwk = &signature["header"]["jwk"];
        let point = [vec![4], decode(&jwk["x"]), decode(&jwk["y"])].concat();
        assert_eq!(jwk["kid"], key_id(&point));
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        key.verify(content.as_bytes(), &decode(&signature["signature"])).unwrap();
        payload
    }

    #[test]
    fn a_signed_manifest_has_in_it_what_was_signed_byte_for_byte() {
        for manifest in ["{\"a\":1}", "{\n   \"schemaVersion\": 1,\n   \"tag\": \"v1\"\n}\n", " {\"a\":{}} "] {
            assert_eq!(verified(&sign(manifest.as_bytes()).unwrap()), manifest.as_bytes());
        }
    }

    #[test]
    fn what_is_no_manifest_is_not_signed() {
        for manifest in ["", "[]", "{}", "{\"a\":1", "{\"a\":1}x", "{\"signatures\":[]}"] {
            assert!(sign(manifest.as_bytes()).is_err(), "{manifest}");
        }
    }

    #[test]
    fn a_key_is_named_as_others_name_it() {
        // 30 bytes are six times five, and each five are eight letters.
        let id = key_id(&[4; 65]);
        assert!(id.len() == 59 && id.split(':').all(|four| four.len() == 4), "{id}");
    }
}
