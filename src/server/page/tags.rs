//! A repository: its tags, and what they point to.

use maud::{Markup, html};

use super::address::{Address, LAST};
use super::frame::{Crumb, Page};
use super::images::Kind;
use super::{Visit, not_found, tables};
use crate::digest::Digest;
use crate::manifest::{Manifest, RawManifest};
use crate::reference::{Name, Tag};
use crate::server::answer::Result;
use crate::server::repositories::StoredManifest;
use crate::text;

/// How many tags a page has. The manifest of each is read.
const PAGE: usize = 100;

pub(super) async fn show(visit: &Visit<'_>, name: &Name) -> Result<Page> {
    let after = visit.request.parameter(LAST);
    let found = visit.repositories.tags(name, after.as_deref(), PAGE + 1).await?;
    let mut tags = found.ok_or_else(not_found)?;
    let has_more = tags.len() > PAGE;
    tags.truncate(PAGE);
    let here = Address::Repository(name.clone());
    let next = tags.last().filter(|_| has_more).map(|last| format!("{here}?{LAST}={last}"));
    let mut rows = Vec::with_capacity(tags.len());
    for tag in tags {
        // One after the other: each may have 4 MiB.
        if let Some((digest, manifest)) = visit.repositories.manifest(name, &tag.clone().into()).await? {
            rows.push(row(name, &tag, digest, &manifest));
        }
    }
    let content = html! {
        h1 { (name) }
        @if rows.is_empty() {
            p { @if after.is_some() { "There are no more tags." } @else { "This repository has no tags." } }
        } @else {
            table {
                caption { "Tags" }
                thead { tr { th scope="col" { "Tag" } th scope="col" { "What" } th.number scope="col" { "Size" } } }
                tbody { @for row in &rows { (row) } }
            }
        }
        (tables::pages(after.map(|_| here.to_string()).as_deref(), next.as_deref()))
    };
    let path = vec![Crumb::repositories(), Crumb::repository(name)];
    Ok(Page { title: format!("{name} · {}", visit.host.name), path, content })
}

fn row(name: &Name, tag: &Tag, digest: Digest, manifest: &StoredManifest) -> Markup {
    let manifest = manifest.parse();
    html! {
        tr {
            td {
                a href=(Address::Manifest(name.clone(), tag.clone().into())) { (tag) }
                br;
                a.quiet href=(Address::Manifest(name.clone(), digest.into())) { code { (digest.short()) } }
            }
            td { @if let Some(manifest) = &manifest { (Kind::of(manifest, None)) } @else { "damaged" } }
            td.number { @if let Some(manifest) = &manifest { (extent(manifest)) } }
        }
    }
}

/// How much a manifest stands for.
fn extent(manifest: &RawManifest) -> String {
    match manifest.manifest() {
        Manifest::Image(_) => text::size(super::images::size(manifest)),
        Manifest::Index(index) => text::count(index.manifests.len(), "manifest"),
    }
}
