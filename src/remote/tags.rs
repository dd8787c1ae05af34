//! Tags: which there are, and removing one (distribution-spec v1.1.1, "Listing Tags", "Deleting tags").

use futures::stream::BoxStream;
use serde::Deserialize;

use crate::protocol::Endpoint;
use crate::reference::Tag;
use crate::text::excerpt;

use super::Error;
use super::pages::{self, Names};
use super::repository::RemoteRepository;

#[derive(Deserialize)]
struct Page {
    tags: Names,
}

impl RemoteRepository {
    /// The tags, in the order in which the registry has them (end-8): page after page, each asked for when the last one
    /// has been read.
    ///
    /// ```no_run
    /// # async fn list() -> Result<(), Box<dyn std::error::Error>> {
    /// use bndlr::remote::{Client, ClientOptions};
    /// use futures::TryStreamExt;
    ///
    /// let client = Client::new(ClientOptions::default())?;
    /// let mut tags = client.repository(&"localhost:5000/demo".parse()?)?.tags();
    /// while let Some(tag) = tags.try_next().await? {
    ///     println!("{tag}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`crate::content::ErrorKind::NotFound`] when there is no such repository, [`crate::content::ErrorKind::Remote`]
    /// when the list has no end, or something in it that is no tag.
    #[must_use]
    pub fn tags(&self) -> BoxStream<'static, Result<Tag, Error>> {
        let endpoint = Endpoint::Tags(self.repository.name.clone());
        pages::list(&self.session, &endpoint, self.pull(), |page: Page| {
            let tags = page.tags.0.into_iter();
            tags.map(|tag| tag.parse().map_err(|error| format!("is no list of tags: {}", excerpt(&format!("{error}")))))
                .collect()
        })
    }

    /// Removes a tag, and not the manifest that it points to (end-9).
    ///
    /// # Errors
    /// [`crate::content::ErrorKind::NotFound`] when there is no such tag. Some registries remove no tag alone.
    pub async fn delete_tag(&self, tag: &Tag) -> Result<(), Error> {
        let hint = "this registry removes no tag alone: name the digest to remove the manifest with all its tags";
        self.remove(&Endpoint::Manifest(self.repository.name.clone(), tag.clone().into()), hint).await
    }
}
