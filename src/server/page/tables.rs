//! The tables of a manifest's page, and the way from page to page of a list.

use maud::{Markup, html};

use super::address::Address;
use super::shown::Shown;
use crate::manifest::{Annotations, Descriptor, media_type};
use crate::protocol::Endpoint;
use crate::reference::Name;
use crate::text;

/// How many rows a table has that has no pages.
pub(super) const MOST: usize = 100;

/// Keys and values.
pub(super) fn annotations(caption: &str, annotations: &Annotations) -> Markup {
    html! {
        @if !annotations.is_empty() {
            section {
                h2 { (caption) }
                dl {
                    @for (key, value) in annotations.iter().take(MOST) {
                        dt { (Shown(key)) }
                        dd { (Shown(value)) }
                    }
                }
                (left_out(annotations.len()))
            }
        }
    }
}

/// The config and the layers of an image, as blobs to look at.
pub(super) fn layers(name: &Name, config: &Descriptor, layers: &[Descriptor]) -> Markup {
    html! {
        section {
            h2 { "Layers" }
            table {
                caption { (text::count(layers.len(), "layer")) " and the config" }
                thead { tr { th scope="col" { "What" } th scope="col" { "Type" } th.number scope="col" { "Size" } } }
                tbody {
                    (blob(name, "config", config))
                    @for (number, layer) in (1..).zip(layers.iter().take(MOST)) {
                        (blob(name, &format!("layer {number}"), layer))
                    }
                }
            }
            (left_out(layers.len()))
        }
    }
}

fn blob(name: &Name, what: &str, blob: &Descriptor) -> Markup {
    html! {
        tr {
            td {
                (what)
                br;
                a.quiet href=(Endpoint::Blob(name.clone(), blob.digest)) { code { (blob.digest.short()) } }
            }
            td.type { (Shown(&blob.media_type)) }
            td.number { (text::size(blob.size)) }
        }
    }
}

/// The manifests of an image index.
pub(super) fn manifests(name: &Name, manifests: &[Descriptor]) -> Markup {
    html! {
        section {
            h2 { "Manifests" }
            table {
                caption { (text::count(manifests.len(), "manifest")) }
                thead { tr { th scope="col" { "Platform" } th scope="col" { "Type" } th.number scope="col" { "Size" } } }
                tbody {
                    @for child in manifests.iter().take(MOST) {
                        @let platform = child.platform.as_ref().map_or_else(|| "any".to_owned(), ToString::to_string);
                        (manifest(name, &platform, child))
                    }
                }
            }
            (left_out(manifests.len()))
        }
    }
}

/// The manifests that have this one as their subject, as far as they were read.
pub(super) fn referrers(name: &Name, referrers: &[Descriptor], has_more: bool) -> Markup {
    html! {
        @if !referrers.is_empty() {
            section {
                h2 { "Referrers" }
                table {
                    caption { "What refers to this" }
                    thead { tr { th scope="col" { "Artifact type" } th scope="col" { "Type" } th.number scope="col" { "Size" } } }
                    tbody {
                        @for referrer in referrers {
                            (manifest(name, referrer.artifact_type.as_deref().unwrap_or("none"), referrer))
                        }
                    }
                }
                @if has_more { p { "There are more." } }
            }
        }
    }
}

fn manifest(name: &Name, what: &str, manifest: &Descriptor) -> Markup {
    // An image index may list what is no manifest.
    let href = if media_type::is_manifest(&manifest.media_type) {
        Address::Manifest(name.clone(), manifest.digest.into()).to_string()
    } else {
        Endpoint::Blob(name.clone(), manifest.digest).to_string()
    };
    html! {
        tr {
            td {
                (Shown(what))
                br;
                a.quiet href=(href) { code { (manifest.digest.short()) } }
            }
            td.type { (Shown(&manifest.media_type)) }
            td.number { (text::size(manifest.size)) }
        }
    }
}

/// Says that a table does not have all there is.
fn left_out(all: usize) -> Markup {
    html! { @if all > MOST { p { "… and " (all - MOST) " more." } } }
}

/// Links to the first and to the next page of a list.
pub(super) fn pages(first: Option<&str>, next: Option<&str>) -> Markup {
    html! {
        @if first.is_some() || next.is_some() {
            nav.pages aria-label="Pages" {
                @if let Some(first) = first { a href=(first) { "First page" } }
                @if let Some(next) = next { a href=(next) rel="next" { "Next page" } }
            }
        }
    }
}
