//! Commands to copy.

use maud::{Markup, html};

use super::Host;
use super::address::suffix;
use super::images::Kind;
use crate::reference::{Identifier, Name};

/// How to get what `identifier` names. Nothing in these commands needs quotes: a name, a tag, a digest and a host that
/// were parsed have no character that a shell knows.
pub(super) fn pull(host: &Host, name: &Name, identifier: &Identifier, kind: Kind) -> Markup {
    let reference = format!("{}/{name}{}", host.name, suffix(identifier));
    let directory = name.last_component();
    let unverified = if host.without_tls { "--src-tls-verify=false " } else { "" };
    let plain = if host.without_tls { "--plain-http " } else { "" };
    let mut commands = vec![("bndlr", format!("bndlr pull {reference}"))];
    if kind.is_for_docker() {
        commands.push(("Docker", format!("docker pull {reference}")));
    } else {
        commands.push(("ORAS", format!("oras pull {plain}{reference}")));
    }
    commands.push(("Skopeo", format!("skopeo copy {unverified}docker://{reference} oci:{directory}")));
    html! {
        dl.commands {
            @for (program, command) in commands {
                dt { (program) }
                dd { pre tabindex="0" { code { (command) } } }
            }
        }
    }
}
