//! Networks that fail, and a bundle of 20 MB on its way through them: it arrives as it is, or there is an error, and
//! never are wrong bytes taken for right.

#[path = "../embedded/mod.rs"]
mod embedded;
mod proxy;
mod pull;
mod scene;
