//! A manifest: what it is, how to get it, and what it is made of.

use maud::{Markup, html};

use super::address::Address;
use super::files::Files;
use super::frame::{Crumb, Page};
use super::images::{self, Kind};
use super::shown::Shown;
use super::{Visit, address, commands, not_found, tables};
use crate::digest::Digest;
use crate::manifest::{Annotations, Descriptor, ImageConfig, Labels, Manifest, RawManifest};
use crate::reference::{Identifier, Name};
use crate::server::answer::Result;
use crate::server::storage::Error;
use crate::text;

/// How many referrers are shown.
const MAX_REFERRERS: usize = 50;
/// How many are read at once. Few, because the annotations of each may have 4 MiB.
const REFERRERS: usize = 8;
/// The largest manifest whose JSON is shown, in bytes.
const MAX_JSON: usize = 64 * 1024;

/// All that the page of a manifest shows.
struct Shelf<'a> {
    visit: &'a Visit<'a>,
    name: &'a Name,
    identifier: &'a Identifier,
    digest: Digest,
    manifest: RawManifest,
    config: Option<ImageConfig>,
    kind: Kind,
    files: Option<Files>,
    referrers: Vec<Descriptor>,
}

pub(super) async fn show(visit: &Visit<'_>, name: &Name, identifier: &Identifier) -> Result<Page> {
    let found = visit.repositories.manifest(name, identifier).await?;
    let (digest, stored) = found.ok_or_else(not_found)?;
    let manifest = stored.parse().ok_or_else(|| Error::Damaged(format!("manifest {digest} of {name}")))?;
    let config = images::config(visit, name, &manifest).await?;
    let kind = Kind::of(&manifest, config.as_ref());
    let files = Files::find(visit, name, digest, &manifest, config.as_ref()).await?;
    let referrers = referrers(visit, name, digest).await?;
    let shelf = Shelf { visit, name, identifier, digest, manifest, config, kind, files, referrers };
    Ok(Page {
        title: format!("{name}{} · {}", address::suffix(identifier), visit.host.name),
        path: vec![Crumb::repositories(), Crumb::repository(name), Crumb::manifest(name, identifier)],
        content: shelf.render(),
    })
}

/// One more than is shown, if there are that many, without what is not shown of them.
async fn referrers(visit: &Visit<'_>, name: &Name, subject: Digest) -> Result<Vec<Descriptor>> {
    let (mut referrers, mut after) = (Vec::new(), None);
    while referrers.len() <= MAX_REFERRERS {
        let page = visit.repositories.referrers(name, subject, after, REFERRERS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.digest);
        referrers.extend(page.into_iter().map(|referrer| Descriptor { annotations: Annotations::new(), ..referrer }));
    }
    Ok(referrers)
}

impl Shelf<'_> {
    fn render(&self) -> Markup {
        let empty = Labels::new();
        let labels = self.config.as_ref().and_then(ImageConfig::labels).unwrap_or(&empty);
        let (annotations, parts) = match self.manifest.manifest() {
            Manifest::Image(image) => (&image.annotations, tables::layers(self.name, &image.config, &image.layers)),
            Manifest::Index(index) => (&index.annotations, tables::manifests(self.name, &index.manifests)),
        };
        let referrers = &self.referrers[..self.referrers.len().min(MAX_REFERRERS)];
        html! {
            h1 { (self.name) wbr; (self.short()) " " (self.kind) }
            (self.pull())
            (self.about())
            (parts)
            (tables::annotations("Annotations", annotations))
            (tables::annotations("Labels", labels))
            (tables::referrers(self.name, referrers, self.referrers.len() > MAX_REFERRERS))
            @if let Some(files) = &self.files { (files.render()) }
        }
    }

    /// The identifier as a heading has room for it.
    fn short(&self) -> String {
        match self.identifier {
            Identifier::Tag(tag) => format!(":{tag}"),
            Identifier::Digest(digest) => format!("@{}", digest.short()),
        }
    }

    fn pull(&self) -> Markup {
        let (host, digest) = (&self.visit.host, self.digest.into());
        html! {
            section {
                h2 { "Pull" }
                (commands::pull(host, self.name, self.identifier, self.kind))
                @if *self.identifier != digest {
                    details {
                        summary { "The same by digest" }
                        (commands::pull(host, self.name, &digest, self.kind))
                    }
                }
            }
        }
    }

    fn about(&self) -> Markup {
        let manifest = self.manifest.manifest();
        let artifact_type = match manifest {
            Manifest::Image(image) => image.artifact_type.as_deref(),
            Manifest::Index(index) => index.artifact_type.as_deref(),
        };
        let platform = self.config.as_ref().map(|config| config.platform.to_string());
        let created = self.config.as_ref().and_then(|config| config.created.as_deref());
        html! {
            section {
                h2 { "About" }
                dl {
                    dt { "Digest" } dd { code { (self.digest) } }
                    dt { "Media type" } dd { (Shown(self.manifest.media_type())) }
                    @if let Some(kind) = artifact_type { dt { "Artifact type" } dd { (Shown(kind)) } }
                    @if let Some(platform) = &platform { dt { "Platform" } dd { (Shown(platform)) } }
                    @if let Some(created) = created { dt { "Created" } dd { (Shown(created)) } }
                    @if let Some(extent) = self.files.as_ref().and_then(Files::extent) {
                        dt { "Files" } dd { a href="#files" { (extent) } }
                    }
                    dt { "Size" }
                    dd {
                        @if let Manifest::Image(_) = manifest { (text::size(images::size(&self.manifest))) ", manifest " }
                        (text::size(self.manifest.bytes().len() as u64))
                    }
                    @if let Some(subject) = manifest.subject() {
                        dt { "Subject" }
                        dd {
                            a href=(Address::Manifest(self.name.clone(), subject.digest.into())) {
                                code { (subject.digest) }
                            }
                        }
                    }
                }
                (self.json())
            }
        }
    }

    /// The manifest, laid out to be read.
    fn json(&self) -> Markup {
        let bytes = self.manifest.bytes();
        let value = || serde_json::from_slice::<serde_json::Value>(bytes).ok();
        let value = Some(bytes).filter(|bytes| bytes.len() <= MAX_JSON).and_then(|_| value());
        let json = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
        html! {
            @if let Some(json) = json {
                details {
                    summary { "The manifest as JSON" }
                    pre tabindex="0" {
                        code { @for line in json.lines() { (text::printable(line)) "\n" } }
                    }
                }
            }
        }
    }
}
