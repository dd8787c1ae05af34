//! Where a list goes on: the `Link` header of a page (RFC 8288; distribution-spec v1.1.1, "Listing Tags").

/// The target of the first link to the next page in a `Link` header, as it stands there: mostly a relative reference. What
/// does not follow the grammar is none.
#[must_use]
pub fn next_page(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some((_, link)) = rest.split_once('<') {
        let (target, parameters) = link.split_once('>')?;
        let (parameters, after) = one_link(parameters);
        if is_next(parameters) {
            return Some(target.trim());
        }
        rest = after;
    }
    None
}

/// Splits after the parameters of one link: at the first comma that is not quoted.
fn one_link(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let end = text.find(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    end.map_or((text, ""), |end| (&text[..end], &text[end + 1..]))
}

/// Whether one of the parameters says that the link is to the next page.
fn is_next(parameters: &str) -> bool {
    parameters.split(';').filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
        let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
        name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_next_page_is_where_registries_say_that_it_is() {
        for (header, expected) in [
            (r#"</v2/a/tags/list?n=2&last=b>; rel="next""#, Some("/v2/a/tags/list?n=2&last=b")),
            ("</v2/_catalog?last=a,b>;rel=next", Some("/v2/_catalog?last=a,b")),
            (r#"<https://h.io/x?y="z">; title="a, <b>; rel=no"; REL="prev NEXT""#, Some(r#"https://h.io/x?y="z""#)),
            (r#"</1>; rel="prev", </2>; rel="next", </3>; rel="next""#, Some("/2")),
            (r#"</1>; rel="first""#, None),
            ("</1>", None),
            ("/1; rel=next", None),
            ("</1; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_page(header), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(header in r#"[<>;,="a-z ]{0,60}|.{0,60}"#) {
            let _ = next_page(&header);
        }
    }
}
