//! A registry that serves one repository and nothing else, as one does that has an image of its own.

use std::collections::BTreeMap;

use http::header::{ACCEPT, VARY};

use super::accept::weight;
use super::answer::{self, Body, Problem, Result};
use super::repositories::{Repositories, StoredManifest};
use super::request::Request;
use crate::digest::Digest;
use crate::protocol::{Endpoint, ErrorCode};
use crate::reference::{Identifier, Name};

/// What a registry serves, where that is less than all that it has, or not to everybody the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Only {
    /// The one repository.
    pub(super) repository: Option<Name>,
    /// Manifests, and what clients get for them that would rather have something of another media type.
    pub(super) alternatives: BTreeMap<Digest, Digest>,
}

impl Only {
    /// # Errors
    /// [`ErrorCode::NameUnknown`], when it is about another repository.
    pub(super) fn check(&self, endpoint: &Endpoint) -> Result<()> {
        match (&self.repository, endpoint.name()) {
            (Some(only), Some(name)) if only != name => {
                Err(Problem::new(ErrorCode::NameUnknown, format!("there is no repository {name}, only {only}")))
            }
            _ => Ok(()),
        }
    }

    /// The manifest that was `found`, or what the client would rather have. Who names a digest means that.
    pub(super) async fn preferred(
        &self,
        repositories: &Repositories,
        request: &Request,
        (name, identifier): (&Name, &Identifier),
        found: (Digest, StoredManifest),
    ) -> Result<(Digest, StoredManifest)> {
        let Some(other) = self.alternative(identifier, found.0) else { return Ok(found) };
        let other = repositories.manifest(name, &other.into()).await?;
        let wanted = |manifest: &StoredManifest| weight(&request.headers, &manifest.media_type);
        let is_preferred = |(_, other): &(Digest, StoredManifest)| wanted(other) > wanted(&found.1);
        Ok(other.filter(is_preferred).unwrap_or(found))
    }

    /// Lets caches know, where that is so, that not every client gets the same.
    pub(super) fn vary(&self, response: &mut http::Response<Body>, identifier: &Identifier) {
        if !self.alternatives.is_empty() && matches!(identifier, Identifier::Tag(_)) {
            answer::set(response, VARY, ACCEPT);
        }
    }

    fn alternative(&self, identifier: &Identifier, found: Digest) -> Option<Digest> {
        matches!(identifier, Identifier::Tag(_)).then(|| self.alternatives.get(&found).copied())?
    }
}
