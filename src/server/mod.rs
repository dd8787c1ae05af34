//! A registry: the distribution API (distribution-spec v1.1.1) over a [`storage`].
//!
//! [`Server`] listens, and owns what concerns connections. [`Registry`] takes each request to the file of its resource:
//! blobs, uploads, manifests, tags. Those say what a request means; [`repositories`] knows how blobs, manifests, tags and
//! referrers depend on each other, and [`storage`] keeps what it is given. What a path or a range means is `protocol`'s;
//! what a manifest is, `manifest`'s; who may ask for what is decided in `auth`. What nobody needs any more, [`collect`]
//! finds. Nothing here is global: a process can have as many servers as it likes.
//!
//! A registry for a test takes a line, and the rest of this library is a client for it. This is `examples/embed.rs`:
//!
//! ```
#![doc = include_str!("../../examples/embed.rs")]
//! ```

mod accept;
mod access;
mod answer;
mod auth;
mod blobs;
mod catalog;
pub mod collect;
mod conditions;
mod health;
mod hosts;
mod idle;
mod limits;
mod listener;
mod manifests;
mod metrics;
mod multipart;
mod only;
mod operations;
mod page;
mod referrers;
mod registry;
pub mod repositories;
mod request;
mod stamp;
pub mod storage;
mod tags;
mod tls;
mod upkeep;
mod uploads;
mod watched;

pub use answer::Body;
pub use auth::{Auth, InvalidUrl, Passwords, Rules, TokenKey};
pub use limits::Limits;
pub use listener::{Running, Server};
pub use registry::Registry;
pub use tls::Tls;
pub use upkeep::Upkeep;
pub use watched::{FileError, LineError};
