//! The files of a bundle, from the index of one of its layers.
//!
//! Of the layer, only the entry list is read. It is held against the digest in the manifest, so it is what whoever made
//! the bundle says; that the layer has just these files is what `pull` makes sure of.

use std::sync::Arc;

use maud::{Markup, html};

use super::address::{Address, FROM, LAYER};
use super::shown::Shown;
use super::{Visit, images, not_found, tables};
use crate::bundle::{Entry, Index, IndexError, Kind, annotation};
use crate::digest::Digest;
use crate::manifest::{Descriptor, ImageConfig, Manifest, RawManifest};
use crate::reference::Name;
use crate::server::answer::Result;
use crate::server::storage::Error;
use crate::text;

/// How many files a page has.
const PAGE: usize = 1000;
/// The longest entry list that is read, in bytes: that of some hundred thousand files.
const MAX_LIST: u64 = 4 * 1024 * 1024;

/// The files that a page shows.
pub(super) struct Files {
    name: Name,
    /// The manifest.
    digest: Digest,
    /// The layer that they are in.
    layer: usize,
    /// All layers that have files.
    layers: Vec<usize>,
    from: usize,
    list: List,
}

enum List {
    Read(Listing),
    /// There is a list, and it is not shown.
    Unread(&'static str),
}

/// A part of a list, and what can be said of the whole.
#[derive(Default)]
struct Listing {
    entries: Vec<Entry>,
    all: usize,
    files: usize,
    bytes: u64,
}

impl Files {
    /// The files that are asked for, of the manifest with this digest, if it is a bundle's.
    pub(super) async fn find(
        visit: &Visit<'_>,
        name: &Name,
        digest: Digest,
        manifest: &RawManifest,
        config: Option<&ImageConfig>,
    ) -> Result<Option<Self>> {
        let Manifest::Image(image) = manifest.manifest() else { return Ok(None) };
        let labels = config.and_then(ImageConfig::labels);
        let annotations = |(number, layer)| annotation::of_layer(manifest, number, layer, labels);
        let is_ours = |number: &usize| annotations((*number, &image.layers[*number])).contains_key(annotation::FORMAT);
        let layers: Vec<usize> = (0..image.layers.len()).filter(is_ours).collect();
        let Some(&first) = layers.first() else { return Ok(None) };
        let number = |parameter| visit.request.parameter(parameter).map(|text| text.parse::<usize>()).transpose();
        let layer = number(LAYER).map_err(|_| not_found())?.unwrap_or(first);
        let from = number(FROM).map_err(|_| not_found())?.unwrap_or(0);
        if !layers.contains(&layer) {
            return Err(not_found());
        }
        let descriptor = &image.layers[layer];
        let list = match Index::of_layer(&annotations((layer, descriptor)), descriptor.size) {
            Ok(Some(index)) => read(visit, name, descriptor, index, from).await?,
            Err(IndexError::Format(_)) => List::Unread("The format of this bundle is not known here."),
            Ok(None) | Err(_) => List::Unread(DAMAGED),
        };
        Ok(Some(Self { name: name.clone(), digest, layer, layers, from, list }))
    }

    /// `95 files, 5.7 MB`, if that is known.
    pub(super) fn extent(&self) -> Option<String> {
        let List::Read(listing) = &self.list else { return None };
        Some(format!("{}, {}", text::count(listing.files, "file"), text::size(listing.bytes)))
    }

    pub(super) fn render(&self) -> Markup {
        html! {
            section #files {
                h2 { "Files" }
                @if self.layers.len() > 1 { (self.choice()) }
                @match &self.list {
                    List::Unread(why) => p { (why) },
                    List::Read(listing) if listing.all == 0 => p { "There are none." },
                    List::Read(listing) => (self.table(listing)),
                }
            }
        }
    }

    /// Links to the files of each layer.
    fn choice(&self) -> Markup {
        html! {
            p {
                "Of layer"
                @for layer in self.layers.iter().take(tables::MOST) {
                    " "
                    a href=(self.address(*layer, 0)) aria-current=[(*layer == self.layer).then_some("true")] {
                        (layer + 1)
                    }
                }
            }
        }
    }

    fn table(&self, listing: &Listing) -> Markup {
        let next = self.from.saturating_add(PAGE);
        let back = (self.from > 0).then(|| self.address(self.layer, 0));
        html! {
            @if listing.entries.is_empty() {
                p { "There are no more." }
            } @else {
                table.files {
                    caption {
                        @if listing.all > listing.entries.len() {
                            (self.from + 1) " to " (self.from + listing.entries.len()) " of " (listing.all) ": "
                        }
                        (text::count(listing.files, "file")) ", " (text::size(listing.bytes))
                    }
                    thead { tr { th scope="col" { "Path" } th.number scope="col" { "Size" } th scope="col" { "Mode" } } }
                    tbody { @for entry in &listing.entries { (row(entry)) } }
                }
            }
            (tables::pages(back.as_deref(), (next < listing.all).then(|| self.address(self.layer, next)).as_deref()))
        }
    }

    /// By digest, so that all pages are of the same list.
    fn address(&self, layer: usize, from: usize) -> String {
        let manifest = Address::Manifest(self.name.clone(), self.digest.into());
        format!("{manifest}?{LAYER}={layer}&{FROM}={from}#files")
    }
}

const DAMAGED: &str = "This bundle's list of files is damaged.";

async fn read(visit: &Visit<'_>, name: &Name, layer: &Descriptor, index: Index, from: usize) -> Result<List> {
    let (offset, length) = (index.entries.offset, index.entries.length);
    if length > MAX_LIST {
        return Ok(List::Unread("This bundle has too many files to list here."));
    }
    let Some(blob) = visit.repositories.open_blob(name, layer.digest).await? else {
        return Ok(List::Unread("The layer is not in this registry."));
    };
    // The semaphore is never closed.
    let turn = Arc::clone(visit.readers).acquire_owned().await.ok();
    let bytes = images::read(&blob, layer.digest, offset, length).await?;
    let decoded = tokio::task::spawn_blocking(move || {
        // The turn is over when the memory is free, also if nobody waits for it any more.
        let _turn = turn;
        Listing::decode(&index, &bytes, from)
    });
    let failed = |error| Error::io("read a bundle's list of files")(std::io::Error::other(error));
    Ok(decoded.await.map_err(failed)?.map_or(List::Unread(DAMAGED), List::Read))
}

impl Listing {
    fn decode(index: &Index, bytes: &[u8], from: usize) -> std::result::Result<Self, IndexError> {
        let mut listing = Self::default();
        index.visit_entries(bytes, |entry, _| {
            listing.files += usize::from(matches!(entry.kind(), Kind::File { .. }));
            listing.bytes = listing.bytes.saturating_add(entry.size());
            if listing.all >= from && listing.entries.len() < PAGE {
                listing.entries.push(entry);
            }
            listing.all += 1;
        })?;
        Ok(listing)
    }
}

fn row(entry: &Entry) -> Markup {
    let mode = format!("{:04o}", entry.mode());
    html! {
        tr {
            @match entry.kind() {
                Kind::Directory => {
                    td.path { (Shown(entry.path())) "/" } td.number {} td { (mode) }
                }
                Kind::File { size, .. } => {
                    td.path { (Shown(entry.path())) } td.number { (text::size(*size)) } td { (mode) }
                }
                Kind::Symlink { target } => {
                    td.path { (Shown(entry.path())) " → " (Shown(target)) } td.number {} td { "link" }
                }
            }
        }
    }
}
