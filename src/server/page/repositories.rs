//! The list of repositories.

use maud::html;

use super::address::{Address, LAST, LOG_IN};
use super::frame::{Crumb, Page};
use super::{Visit, tables};
use crate::server::answer::Result;
use crate::server::catalog;

/// How many repositories a page has.
const PAGE: usize = 200;

pub(super) async fn show(visit: &Visit<'_>) -> Result<Page> {
    let after = visit.request.parameter(LAST);
    let (names, has_more) = catalog::find(visit.repositories, &visit.caller, after.as_deref(), PAGE).await?;
    let next = names.last().filter(|_| has_more).map(|last| format!("/?{LAST}={last}"));
    let content = html! {
        h1 { "Repositories" }
        @if names.is_empty() {
            p { @if after.is_some() { "There are no more." } @else { "There is nothing here yet. Push something:" } }
            @if after.is_none() { pre tabindex="0" { code { "bndlr push ./manifests " (visit.host.name) "/demo:v1" } } }
        } @else {
            ul.names {
                @for name in &names { li { a href=(Address::Repository(name.clone())) { (name) } } }
            }
        }
        (tables::pages(after.is_some().then_some("/"), next.as_deref()))
        @if visit.caller.may_log_in() {
            p { "This is what everybody may see. " a href={ "/?" (LOG_IN) } { "Log in" } " to see more." }
        }
    };
    Ok(Page { title: format!("Repositories · {}", visit.host.name), path: vec![Crumb::repositories()], content })
}
