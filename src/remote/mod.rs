//! A registry over HTTP, from the client's side (distribution-spec v1.1.1).

// What uses all this stands on it and is still to come.
#![allow(dead_code)]

mod answer;
mod auth;
mod client;
mod credentials;
mod docker_config;
mod error;
mod network;
mod payload;
mod redirect;
mod refusal;
mod retry;
mod secret;
mod session;
mod tls;
mod token;
pub mod trace;
mod transport;

pub use client::ClientOptions;
pub use credentials::{Credentials, Login};
pub use error::Error;
pub use network::Network;
pub use refusal::Refusal;
pub use secret::Secret;
