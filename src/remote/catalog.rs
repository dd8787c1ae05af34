//! The catalog: which repositories a registry has (`/v2/_catalog`, as Docker's registry has it; not every registry does).

use futures::stream::BoxStream;
use serde::Deserialize;

use crate::protocol::{Endpoint, Scope};
use crate::reference::{Registry, Repository};
use crate::text::excerpt;

use super::Error;
use super::client::Client;
use super::pages::{self, Names};

#[derive(Deserialize)]
struct Page {
    repositories: Names,
}

impl Client {
    /// The repositories of a registry, in the order in which it has them: page after page, each asked for when the last
    /// one has been read.
    ///
    /// ```no_run
    /// # async fn list() -> Result<(), Box<dyn std::error::Error>> {
    /// use bndlr::reference::Repository;
    /// use bndlr::remote::{Client, ClientOptions};
    /// use futures::TryStreamExt;
    ///
    /// let client = Client::new(ClientOptions::default())?;
    /// let repositories: Vec<Repository> = client.catalog(&"localhost:5000".parse()?)?.try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the registry's name is none that a URL can have. What comes is an error when the registry has no catalog,
    /// does not show it, or when its catalog has no end, or something in it that is no repository.
    pub fn catalog(&self, registry: &Registry) -> Result<BoxStream<'static, Result<Repository, Error>>, Error> {
        let session = self.session(registry)?;
        let registry = registry.clone();
        Ok(pages::list(&session, &Endpoint::Catalog, Scope::Catalog, move |page: Page| {
            let names = page.repositories.0.into_iter();
            names
                .map(|name| match name.parse() {
                    Ok(name) => Ok(Repository { registry: registry.clone(), name }),
                    Err(error) => Err(format!("is no list of repositories: {}", excerpt(&format!("{error}")))),
                })
                .collect()
        }))
    }
}
