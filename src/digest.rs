//! Digests: the names of contents (image-spec v1.1.1, "Digests").
//!
//! A [`Digest`] is parsed once and valid ever after. [`Hasher`] makes one from bytes, and [`Verifier`] holds bytes
//! against a digest and a size as they pass. Reading and writing the bytes is left to others.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::text::bytes;

/// The digest algorithms that the image specification registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, which every implementation has to know.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The algorithm's name as it stands before the colon of a digest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many bytes a digest of this algorithm has.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The digest of `bytes`.
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = ParseError;

    fn from_str(name: &str) -> Result<Self, ParseError> {
        match name {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(ParseError::UnknownAlgorithm(name.to_owned())),
        }
    }
}

/// Why a string is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// There is no colon between algorithm and value.
    #[error("digest {0:?} has no algorithm: expected sha256:<64 hex digits> or sha512:<128 hex digits>")]
    NoAlgorithm(String),
    /// The algorithm is not one that the specification registers.
    #[error("digest algorithm {0:?} is not known: expected sha256 or sha512")]
    UnknownAlgorithm(String),
    /// The value has the wrong length.
    #[error("{algorithm} digest has {found} characters, expected {expected}")]
    Length {
        /// The algorithm that was named.
        algorithm: Algorithm,
        /// How many characters its value has to have.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// The value has something other than `0-9a-f` in it (capitals are not allowed).
    #[error("{0} digest has a character that is not one of 0-9 or a-f")]
    NotHex(Algorithm),
}

/// The digest of some content: an algorithm, and as many bytes as that has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 64],
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Algorithm::Sha256.digest(bytes)
    }

    /// A SHA-256 digest from its 32 bytes.
    #[must_use]
    pub fn from_sha256(value: [u8; 32]) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&value);
        Self { algorithm: Algorithm::Sha256, bytes }
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw bytes: 32 for SHA-256, 64 for SHA-512.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.size()]
    }

    /// The value in lower-case hexadecimal, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        self.write_hex(&mut [0; 128]).to_owned()
    }

    /// The same, in a buffer that has room for every algorithm's.
    fn write_hex<'a>(&self, buffer: &'a mut [u8; 128]) -> &'a str {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for (pair, byte) in buffer.chunks_exact_mut(2).zip(self.as_bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        // These are all digits.
        std::str::from_utf8(&buffer[..2 * self.algorithm.size()]).unwrap_or_default()
    }

    /// The first twelve hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.name())?;
        f.write_str(":")?;
        f.write_str(self.write_hex(&mut [0; 128]))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let Some((name, hex)) = text.split_once(':') else {
            return Err(ParseError::NoAlgorithm(text.to_owned()));
        };
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(ParseError::UnknownAlgorithm(name.to_owned())),
        };
        let (expected, found) = (algorithm.size() * 2, hex.chars().count());
        if found != expected {
            return Err(ParseError::Length { algorithm, expected, found });
        }
        let mut bytes = [0; 64];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
                return Err(ParseError::NotHex(algorithm));
            };
            *byte = high << 4 | low;
        }
        Ok(Self { algorithm, bytes })
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes the digest of the bytes that it is given, in order.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    /// SHA-256 where the processor has no instructions for it: in half the time that the other would take there.
    Plain(ring::digest::Context),
    Sha512(sha2::Sha512),
}

/// Whether the processor has instructions for SHA-256.
fn has_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("sha") && std::arch::is_x86_feature_detected!("sse4.1");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

/// Whether [`update_both`] makes a digest of this kind and one of SHA-256 sooner than a thread for each would: where the
/// processor has instructions for SHA-256, one stream of it does not keep them busy.
#[must_use]
pub fn are_sooner_together(with: Algorithm) -> bool {
    with == Algorithm::Sha256 && has_instructions()
}

impl State {
    fn sha256(has_instructions: bool) -> Self {
        if has_instructions {
            Self::Sha256(sha2::Sha256::new())
        } else {
            Self::Plain(ring::digest::Context::new(&ring::digest::SHA256))
        }
    }
}

impl Hasher {
    /// A hasher that has seen no bytes.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::sha256(has_instructions()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Plain(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of all bytes given.
    #[must_use]
    pub fn finish(self) -> Digest {
        let mut bytes = [0; 64];
        let algorithm = match self.0 {
            State::Sha256(state) => {
                bytes[..32].copy_from_slice(&state.finalize());
                Algorithm::Sha256
            }
            State::Plain(state) => {
                bytes[..32].copy_from_slice(state.finish().as_ref());
                Algorithm::Sha256
            }
            State::Sha512(state) => {
                bytes.copy_from_slice(&state.finalize());
                Algorithm::Sha512
            }
        };
        Digest { algorithm, bytes }
    }
}

/// Takes the same bytes into two hashers, a little at a time: the second finds them where the processor still has them at hand.
/// With its own instructions, it also gets two streams of SHA-256 done in less time together than one after the other.
pub fn update_both(a: &mut Hasher, b: &mut Hasher, bytes: &[u8]) {
    const BLOCK: usize = 64;
    const AT_HAND: usize = 4096;
    if let (State::Sha256(a), State::Sha256(b)) = (&mut a.0, &mut b.0) {
        for block in bytes.chunks(BLOCK) {
            a.update(block);
            b.update(block);
        }
    } else {
        for part in bytes.chunks(AT_HAND) {
            a.update(part);
            b.update(part);
        }
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How content differs from what its descriptor says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// There are more bytes than there should be.
    #[error("{digest} is longer than it should be, which is {}", bytes(*expected))]
    TooLong {
        /// What the content should be.
        digest: Digest,
        /// How many bytes it should have.
        expected: u64,
    },
    /// The bytes ended too early.
    #[error("{digest} ends after {} of {expected}", bytes(*found))]
    TooShort {
        /// What the content should be.
        digest: Digest,
        /// How many bytes it should have.
        expected: u64,
        /// How many came.
        found: u64,
    },
    /// The size is right and the bytes are wrong.
    #[error("content has digest {found}, expected {expected}")]
    Digest {
        /// What the content should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
}

/// Holds bytes, as they pass, against the digest and the size that they should have.
pub struct Verifier {
    hasher: Option<Hasher>,
    digest: Digest,
    size: u64,
    seen: u64,
}

impl Verifier {
    /// Expects content with this digest and this many bytes.
    #[must_use]
    pub fn new(digest: Digest, size: u64) -> Self {
        Self { hasher: Some(Hasher::new(digest.algorithm())), digest, size, seen: 0 }
    }

    /// Takes in more bytes. The bytes that complete the size are checked here, before anybody else has to see them.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        if self.seen > self.size {
            return Err(Mismatch::TooLong { digest: self.digest, expected: self.size });
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        if self.seen == self.size { self.check_digest() } else { Ok(()) }
    }

    /// Says that no more bytes come.
    pub fn finish(&mut self) -> Result<(), Mismatch> {
        if self.seen < self.size {
            return Err(Mismatch::TooShort { digest: self.digest, expected: self.size, found: self.seen });
        }
        self.check_digest()
    }

    fn check_digest(&mut self) -> Result<(), Mismatch> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = hasher.finish();
        if found == self.digest { Ok(()) } else { Err(Mismatch::Digest { expected: self.digest, found }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digest_of_nothing_is_the_well_known_one() {
        assert_eq!(Digest::sha256(b"").to_string(), EMPTY);
        assert!(Algorithm::Sha512.digest(b"").to_string().starts_with("sha512:cf83e1357eefb8bdf1542850d66d8007"));
    }

    /// Which of them is used depends on the processor that the tests run on.
    #[test]
    fn with_and_without_instructions_of_the_processor_digests_are_the_same() {
        let bytes: Vec<u8> = (0..70_000_u32).map(|number| (number % 251) as u8).collect();
        for length in [0, 1, 63, 64, 65, 4095, 4096, 4097, 70_000] {
            let both = [true, false].map(|has_instructions| {
                let (mut one, mut two) =
                    (Hasher(State::sha256(has_instructions)), Hasher(State::sha256(has_instructions)));
                one.update(&bytes[..length / 3]);
                let mut copy = one.clone();
                copy.update(&bytes[length / 3..length]);
                update_both(&mut one, &mut two, &bytes[length / 3..length]);
                assert_eq!(two.finish(), Digest::sha256(&bytes[length / 3..length]));
                let digest = one.finish();
                assert_eq!(digest, copy.finish());
                digest
            });
            assert_eq!(both[0], both[1], "{length}");
        }
    }

    #[test]
    fn parsing_is_strict() {
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        assert!(matches!(upper.parse::<Digest>(), Err(ParseError::NotHex(Algorithm::Sha256))));
        for (text, expected) in [
            ("", ParseError::NoAlgorithm(String::new())),
            ("md5:d41d8cd98f00b204e9800998ecf8427e", ParseError::UnknownAlgorithm("md5".into())),
            ("sha256:", ParseError::Length { algorithm: Algorithm::Sha256, expected: 64, found: 0 }),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(expected));
        }
        assert!(format!("{EMPTY}0").parse::<Digest>().is_err());
        assert!(format!(" {EMPTY}").parse::<Digest>().is_err());
        assert!(format!("{}é", &EMPTY[..EMPTY.len() - 1]).parse::<Digest>().is_err());
    }

    #[test]
    fn verifier_fails_on_the_last_byte_and_not_after_it() {
        let digest = Digest::sha256(b"abc");
        let mut verifier = Verifier::new(digest, 3);
        verifier.update(b"ab").unwrap();
        assert!(matches!(verifier.update(b"x"), Err(Mismatch::Digest { .. })));

        let mut verifier = Verifier::new(digest, 3);
        verifier.update(b"ab").unwrap();
        assert!(matches!(verifier.finish(), Err(Mismatch::TooShort { found: 2, .. })));

        let mut verifier = Verifier::new(digest, 3);
        verifier.update(b"abc").unwrap();
        verifier.finish().unwrap();
        assert!(matches!(verifier.update(b"d"), Err(Mismatch::TooLong { .. })));
        let one = Mismatch::TooLong { digest: Digest::sha256(b""), expected: 1 };
        assert!(one.to_string().ends_with(" is longer than it should be, which is 1 byte"), "{one}");

        let mut empty = Verifier::new(digest, 0);
        assert!(matches!(empty.finish(), Err(Mismatch::Digest { .. })));
    }

    proptest! {
        #[test]
        fn parse_and_print_are_inverse(bytes: Vec<u8>, long: bool) {
            let digest = if long { Algorithm::Sha512 } else { Algorithm::Sha256 }.digest(&bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn parsing_never_panics(text in ".{0,200}") {
            let _ = text.parse::<Digest>();
        }
    }
}
