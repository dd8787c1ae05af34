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
//! | `repository`: `blobs`, `downloads`, `segments`, `uploads`, `mounts`, `manifests`, `referrers` | the API as a source and a target; what an answer means |
//! | `by_digest`, `tags`, `catalog`: `pages` | the rest of the API, for who wants to see and to remove what is there |
//! | `session` | one registry: says who asks when the registry wants to know |
//! | `auth`: `wanted`, `token` | what may be said to whom, and what for |
//! | `credentials`: `docker_config`, `credential_program`, `stored` | who somebody is, and where that is kept |
//! | `transport`: `redirect`, `retry` | where to, how often, and never a credential to another origin |
//! | `transport`: `payload`, `parts`, `answer` | one exchange: streamed, and never waited for in vain |
//! | `trace`: `shown` | what goes over the wire, for who wants to see it, and without what nobody may see |
//! | `connections`: `tls`, `certificates`, `proxies` | whom to believe, whom to show a certificate, through which proxy |
//!
//! What goes wrong is in `error`: `refusal` when the registry says so, `network` when nobody does.

mod answer;
mod auth;
mod blobs;
mod by_digest;
mod catalog;
mod certificates;
mod client;
mod connections;
mod credential_program;
mod credentials;
mod docker_config;
mod downloads;
mod error;
mod manifests;
mod mounts;
mod network;
mod pages;
mod parts;
mod payload;
mod proxies;
mod redirect;
mod referrers;
mod refusal;
mod repository;
mod retry;
mod segments;
mod session;
mod shown;
mod stored;
mod tags;
mod tls;
mod token;
pub mod trace;
mod transport;
mod uploads;
mod wanted;
mod wholes;

pub use crate::protocol::Secret;
pub use certificates::{ClientCertificate, certificate_folders};
pub use client::{Client, ClientOptions, LoggedIn};
pub use credentials::{Account, Credentials, Login, Place};
pub use error::Error;
pub use manifests::AnyManifest;
pub use network::Network;
pub use refusal::Refusal;
pub use repository::RemoteRepository;
