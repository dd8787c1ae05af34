//! What may be shown of a request and of an answer: everything that cannot let anybody in.
//!
//! Of headers and of parameters of queries, those are shown that are known to be harmless; of all others the name alone.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;

use crate::protocol::Challenge;

/// What stands where a secret may be.
const HIDDEN: &str = "***";

/// The parameters of a query that may be shown. All others may be signatures, states of uploads, or tokens.
const PARAMETERS: [&str; 8] = ["artifactType", "digest", "from", "last", "mount", "n", "scope", "service"];

/// What may be shown of a challenge.
const OF_CHALLENGES: [&str; 5] = ["charset", "error", "realm", "scope", "service"];

/// The headers whose values may be shown, in order.
const HEADERS: [&str; 48] = [
    "accept",
    "accept-encoding",
    "accept-ranges",
    "age",
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "docker-content-digest",
    "docker-distribution-api-version",
    "docker-ratelimit-source",
    "docker-upload-uuid",
    "etag",
    "expires",
    "host",
    "if-match",
    "if-none-match",
    "if-range",
    "last-modified",
    "oci-chunk-max-length",
    "oci-chunk-min-length",
    "oci-filters-applied",
    "oci-subject",
    "oci-tag",
    "pragma",
    "range",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "server",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "x-amz-request-id",
    "x-cache",
    "x-content-type-options",
    "x-frame-options",
    "x-github-request-id",
    "x-ms-request-id",
    "x-request-id",
];

/// A URL, without what may be secret in it.
pub(super) struct ShownUrl<'a>(pub(super) &'a Url);

impl fmt::Display for ShownUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0;
        write!(f, "{}{}", url.origin().ascii_serialization(), url.path())?;
        for (at, parameter) in url.query().into_iter().flat_map(|query| query.split('&')).enumerate() {
            let separator = if at == 0 { '?' } else { '&' };
            write!(f, "{separator}{}", shown_parameter(parameter))?;
        }
        Ok(())
    }
}

fn shown_parameter(parameter: &str) -> Cow<'_, str> {
    match parameter.split_once('=') {
        Some((name, _)) if PARAMETERS.contains(&name) => parameter.into(),
        // What ends with `=` may be a token in base64 as well as a name.
        Some((name, value)) if !value.trim_matches('=').is_empty() => format!("{name}={HIDDEN}").into(),
        _ => HIDDEN.into(),
    }
}

/// The headers of a request to this URL, or of its answer, as Go's programs print them:
/// `map[Content-Length:[153] Set-Cookie:[***]]`.
pub(super) struct ShownHeaders<'a>(pub(super) &'a HeaderMap, pub(super) &'a Url);

impl fmt::Display for ShownHeaders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(headers, url) = self;
        let mut sorted = BTreeMap::<&str, Vec<Cow<'_, str>>>::new();
        for (name, value) in *headers {
            sorted.entry(name.as_str()).or_default().push(shown_value(name, value, url));
        }
        f.write_str("map[")?;
        for (at, (name, values)) in sorted.into_iter().enumerate() {
            let separator = if at == 0 { "" } else { " " };
            write!(f, "{separator}{}:[{}]", capitalized(name), values.join(" "))?;
        }
        f.write_str("]")
    }
}

/// `Docker-Content-Digest`
fn capitalized(name: &str) -> String {
    let words = name.split('-').map(|word| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => String::new(),
    });
    words.collect::<Vec<_>>().join("-")
}

fn shown_value<'v>(name: &HeaderName, value: &'v HeaderValue, url: &Url) -> Cow<'v, str> {
    let Ok(text) = value.to_str() else { return HIDDEN.into() };
    match name.as_str() {
        "authorization" | "proxy-authorization" => shown_authorization(text),
        "www-authenticate" | "proxy-authenticate" => shown_challenges(text).into(),
        "location" | "content-location" => shown_location(text, url),
        "link" => shown_link(text, url).into(),
        name if HEADERS.binary_search(&name).is_ok() && !value.is_sensitive() => text.into(),
        _ => HIDDEN.into(),
    }
}

/// `Bearer ***`
fn shown_authorization(value: &str) -> Cow<'_, str> {
    match value.split_once(' ') {
        Some((scheme @ ("Basic" | "Bearer"), _)) => format!("{scheme} {HIDDEN}").into(),
        _ => HIDDEN.into(),
    }
}

fn shown_challenges(value: &str) -> String {
    let challenges = Challenge::parse_all(value).into_iter().map(|mut challenge| {
        challenge.token68 = challenge.token68.map(|_| HIDDEN.to_owned());
        for (name, value) in &mut challenge.parameters {
            let is_harmless = OF_CHALLENGES.contains(&name.as_str());
            let is_plain = !value.contains(['?', '@']);
            *value = match Url::parse(value) {
                Ok(url) if is_harmless && url.has_host() => ShownUrl(&url).to_string(),
                Err(_) if is_harmless && is_plain => continue,
                _ if is_harmless && name == "scope" && is_plain => continue,
                _ => HIDDEN.to_owned(),
            };
        }
        challenge.to_string()
    });
    challenges.collect::<Vec<_>>().join(", ")
}

/// Where an answer to a request to `url` leads, as a whole URL.
fn shown_location(value: &str, url: &Url) -> Cow<'static, str> {
    match url.join(value) {
        Ok(target) if target.has_host() => ShownUrl(&target).to_string().into(),
        _ => HIDDEN.into(),
    }
}

/// `<https://h.io/v2/a/tags/list?n=10&page=***>; rel="next"` (RFC 8288).
fn shown_link(value: &str, url: &Url) -> String {
    let link = value.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match link {
        Some((target, "; rel=\"next\"" | "; rel=next" | ";rel=\"next\"")) => {
            format!("<{}>; rel=\"next\"", shown_location(target, url))
        }
        _ => HIDDEN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(headers: &[(&str, &str)]) -> String {
        let url = Url::parse("https://h.io/v2/a/blobs/uploads/").unwrap();
        let parsed = headers.iter().map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        });
        let mut headers = HeaderMap::new();
        for (name, value) in parsed {
            headers.append(name, value);
        }
        ShownHeaders(&headers, &url).to_string()
    }

    #[test]
    fn what_may_be_secret_in_a_url_is_not_shown() {
        for (url, expected) in [
            ("http://localhost:5000/v2/", "http://localhost:5000/v2/"),
            (
                "https://auth.docker.io/token?scope=repository%3Aa%3Apull&service=registry.docker.io",
                "https://auth.docker.io/token?scope=repository%3Aa%3Apull&service=registry.docker.io",
            ),
            (
                "http://localhost:5000/v2/a/blobs/uploads/1?_state=abc&digest=sha256%3A12",
                "http://localhost:5000/v2/a/blobs/uploads/1?_state=***&digest=sha256%3A12",
            ),
            (
                "https://user:pass@cdn.example/x?X-Amz-Signature=abc&sig#y",
                "https://cdn.example/x?X-Amz-Signature=***&***",
            ),
            ("https://cdn.example/x?c2VjcmV0==", "https://cdn.example/x?***"),
        ] {
            assert_eq!(ShownUrl(&Url::parse(url).unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn headers_are_shown_in_order_and_those_that_are_not_known_by_their_names() {
        let headers = [
            ("etag", "\"sha256:12\""),
            ("accept", "a/b"),
            ("accept", "*"),
            ("x-vault-token", "abc"),
            ("docker-content-digest", "sha256:12"),
        ];
        let expected = "map[Accept:[a/b *] Docker-Content-Digest:[sha256:12] Etag:[\"sha256:12\"] X-Vault-Token:[***]]";
        assert_eq!(shown(&headers), expected);
        assert_eq!(shown(&[]), "map[]");
        assert!(HEADERS.is_sorted());
    }

    #[test]
    fn what_lets_somebody_in_is_not_shown() {
        for (name, value, expected) in [
            ("authorization", "Basic YTpi", "Basic ***"),
            ("authorization", "Bearer abc", "Bearer ***"),
            ("authorization", "abc def", "***"),
            ("proxy-authorization", "abc", "***"),
            ("cookie", "session=abc", "***"),
            ("set-cookie", "session=abc; path=/", "***"),
            ("location", "/v2/1?_state=abc", "https://h.io/v2/1?_state=***"),
            (
                "location",
                "https://u:p@cdn.example/x?Signature=abc&Expires=9",
                "https://cdn.example/x?Signature=***&Expires=***",
            ),
            ("location", "data:,abc", "***"),
            ("location", "https://[", "***"),
            ("content-location", "//cdn.example/?abc", "https://cdn.example/?***"),
            (
                "link",
                "</v2/a/tags/list?n=1&next=abc>; rel=\"next\"",
                "<https://h.io/v2/a/tags/list?n=1&next=***>; rel=\"next\"",
            ),
            ("link", "<x>; rel=\"next\"; token=abc", "***"),
            ("www-authenticate", "Negotiate abc", "negotiate ***"),
            (
                "www-authenticate",
                r#"Bearer realm="https://u:p@a.io/token?key=abc",service="s",scope="repository:a:pull",nonce="abc""#,
                r#"bearer realm="https://a.io/token?key=***",service="s",scope="repository:a:pull",nonce="***""#,
            ),
            ("www-authenticate", r#"Basic realm="my realm""#, r#"basic realm="my realm""#),
            ("www-authenticate", r#"Basic realm="//u:abc@h""#, r#"basic realm="***""#),
        ] {
            let shown = shown(&[(name, value)]);
            assert_eq!(shown, format!("map[{}:[{expected}]]", capitalized(name)));
        }
    }
}
