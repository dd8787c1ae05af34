//! Paths of the API, references, and what they consist of.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use bndlr::digest::{Algorithm, Digest};
use bndlr::protocol::Endpoint;
use bndlr::reference::{Identifier, Name, Reference, Tag};

use crate::random::Random;
use crate::run::fuzz;

/// What paths are made of, and what looks like it.
const PARTS: &[&str] = &[
    "/v2/",
    "/",
    "a",
    "b/c",
    "library",
    "blobs",
    "uploads",
    "manifests",
    "tags",
    "list",
    "referrers",
    "_catalog",
    "sha256:",
    "sha512:",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "v1",
    ".",
    "..",
    "//",
    "%2e%2e",
    "%2f",
    "%00",
    "-",
    "_",
    "__",
    "A",
    ":",
    "@",
    "?",
    "#",
    "0123456789abcdef0123456789abcdef",
    "\u{e9}",
];

fn name(random: &mut Random) -> Name {
    let components =
        ["a", "a-b", "a__b", "a.b", "blobs", "uploads", "manifests", "tags", "list", "referrers", "v2", "0"];
    let name: Vec<&str> = (0..=random.below(4)).map(|_| *random.pick(&components)).collect();
    name.join("/").parse().unwrap()
}

fn digest(random: &mut Random) -> Digest {
    let algorithm = *random.pick(&[Algorithm::Sha256, Algorithm::Sha512]);
    algorithm.digest(&random.next().to_be_bytes())
}

fn tag(random: &mut Random) -> Tag {
    random.pick(&["v1", "latest", "_", "list", "uploads", "A.b-c_d", "sha256"]).parse().unwrap()
}

fn endpoint(random: &mut Random) -> Endpoint {
    let (name, digest, tag) = (name(random), digest(random), tag(random));
    match random.below(9) {
        0 => Endpoint::Base,
        1 => Endpoint::Catalog,
        2 => Endpoint::Blob(name, digest),
        3 => Endpoint::Manifest(name, Identifier::Tag(tag)),
        4 => Endpoint::Manifest(name, Identifier::Digest(digest)),
        5 => Endpoint::Uploads(name),
        6 => Endpoint::Upload(name, random.pick(&["0", "list", "uploads", "a-b_c="]).to_string()),
        7 => Endpoint::Tags(name),
        _ => Endpoint::Referrers(name, digest),
    }
}

#[test]
fn what_an_endpoint_prints_is_read_as_the_same_and_nothing_else_leads_anywhere() {
    fuzz(|random| {
        let endpoint = endpoint(random);
        let path = endpoint.to_string();
        assert_eq!(Endpoint::parse(&path), Ok(endpoint), "{path}");

        let strange = if random.once_in(2) { random.mutated(&path) } else { random.parts(PARTS, 8) };
        let Ok(found) = Endpoint::parse(&strange) else { return };
        let printed = found.to_string();
        assert_eq!(Endpoint::parse(&printed).as_ref(), Ok(&found), "{strange:?}");
        // There is one way to write each path, but for a slash at the end.
        assert!(strange == printed || strange == printed.trim_end_matches('/'), "{strange:?} is {printed:?}");
        assert!(printed.split('/').all(|part| part != "." && part != ".."), "{strange:?}");
    });
}

fn assert_prints_what_it_read<T: FromStr + Display + Debug + PartialEq>(text: &str) {
    let Ok(read) = text.parse::<T>() else { return };
    let printed = read.to_string();
    assert_eq!(printed.parse::<T>().ok().as_ref(), Some(&read), "{text:?} prints as {printed:?}");
}

#[test]
fn references_print_what_they_were_read_from() {
    const PARTS: &[&str] = &[
        "localhost",
        "example.com",
        ":5000",
        ":",
        "/",
        "a",
        "b-c",
        "v1",
        "@",
        "sha256:",
        "A",
        ".",
        "[::1]",
        "127.0.0.1",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "_",
        "-",
        "docker.io",
        "library",
        " ",
    ];
    fuzz(|random| {
        let valid = format!("{}:5000/{}:{}@{}", "localhost", name(random), tag(random), digest(random));
        let text = if random.once_in(2) { random.mutated(&valid) } else { random.parts(PARTS, 9) };
        assert_prints_what_it_read::<Reference>(&text);
        assert_prints_what_it_read::<Name>(&text);
        assert_prints_what_it_read::<Tag>(&text);
        assert_prints_what_it_read::<Digest>(&text);
        assert_prints_what_it_read::<Identifier>(&text);
    });
}
