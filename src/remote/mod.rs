//! A registry over HTTP, from the client's side (distribution-spec v1.1.1).
//!
//! A [`Client`] is made once; a [`RemoteRepository`] of it is a [`crate::content::Source`] and a
//! [`crate::content::Target`] like any other, so that [`crate::content::copy`] pushes to it and pulls from it. What a
//! path, a header or an error code is, is `protocol`'s to say, and what content means, the other rooms'.
//!
//! The room is built in floors; a request goes down through them and its answer up again.
//!
//! | floor | what it does |
//! |---|---|
//! | `repository`: `blobs`, `uploads`, `mounts`, `manifests`, `referrers` | the API as a source and a target; what an answer means |
//! | `session` | one registry: says who asks when the registry wants to know |
//! | `auth`: `token`, `credentials`, `docker_config` | what may be said to whom |
//! | `transport`: `redirect`, `retry` | where to, how often, and never a credential to another origin |
//! | `transport`: `payload`, `answer`, `trace`, `tls` | one exchange: streamed, traced, and never waited for in vain |
//!
//! What goes wrong is in `error`: `refusal` when the registry says so, `network` when nobody does.

mod answer;
mod auth;
mod blobs;
mod client;
mod credentials;
mod docker_config;
mod error;
mod manifests;
mod mounts;
mod network;
mod payload;
mod redirect;
mod referrers;
mod refusal;
mod repository;
mod retry;
mod session;
mod tls;
mod token;
pub mod trace;
mod transport;
mod uploads;

pub use crate::protocol::Secret;
pub use client::{Client, ClientOptions};
pub use credentials::{Credentials, Login};
pub use error::Error;
pub use network::Network;
pub use refusal::Refusal;
pub use repository::RemoteRepository;
