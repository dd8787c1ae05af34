//! Archives made to do harm. Each ends in an error that says what is wrong, or in a safe result; nothing outside the
//! target is touched, and nothing is left behind.

#[path = "../archives/mod.rs"]
mod archives;

mod bombs;
mod headers;
mod layers;
mod links;
mod names;

use archives::hostile::{Error, Expected};
use archives::{Image, Tar};

/// An image of one file with this name.
fn named(name: &str) -> Image {
    Image::of(Tar::new().file(name, "evil"))
}

const ABSOLUTE: Expected = Error(&["is absolute"]);

const UPWARDS: Expected = Error(&["has '..' in its path"]);
