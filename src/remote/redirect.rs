//! Where to go next: what may be done with a URL that a server names.
//!
//! A server may send a request elsewhere, but not to anything that is not HTTP, and not from HTTPS to plain HTTP, where
//! everybody could read and change it. Credentials stay with their origin: `transport` sees to that.

use reqwest::{Method, StatusCode, Url};

/// How many redirects of one request are followed.
pub(super) const MAX_REDIRECTS: usize = 10;

/// Whether an answer with this status sends a request with this method elsewhere. Where there is a body, only those
/// that say to send it again do.
pub(super) fn is_redirect(method: &Method, status: StatusCode) -> bool {
    match status {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
            matches!(*method, Method::GET | Method::HEAD)
        }
        _ => false,
    }
}

/// The URL that `location` means in an answer from `from` (RFC 9110, section 10.2.2: it may be relative).
///
/// # Errors
/// Why it may not be used. What it says is not repeated beyond its scheme and host, because it may hold a signature.
pub(super) fn target(from: &Url, location: &str) -> Result<Url, String> {
    let mut url = from.join(location).map_err(|error| format!("a location that is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("a location that is neither http nor https ({}:)", url.scheme()));
    }
    if from.scheme() == "https" && url.scheme() == "http" {
        let host = url.origin().ascii_serialization();
        return Err(format!("a location on plain HTTP ({host}) although it is on HTTPS itself"));
    }
    // A server has no business to say who somebody is. For http and https, neither of these fails.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(from: &str, location: &str) -> Result<String, String> {
        target(&Url::parse(from).unwrap(), location).map(String::from)
    }

    #[test]
    fn locations_may_be_relative_or_on_another_host() {
        for (location, expected) in [
            ("/v2/a/blobs/uploads/1?_state=x", "https://h.io/v2/a/blobs/uploads/1?_state=x"),
            ("1?_state=x", "https://h.io/v2/a/blobs/uploads/1?_state=x"),
            ("https://cdn.example/x", "https://cdn.example/x"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("https://user:pass@cdn.example/x#y", "https://cdn.example/x"),
        ] {
            assert_eq!(go("https://h.io/v2/a/blobs/uploads/", location).unwrap(), expected);
        }
        assert_eq!(go("http://h.io/", "https://h.io/").unwrap(), "https://h.io/");
    }

    #[test]
    fn what_is_not_http_or_drops_tls_is_refused() {
        for location in ["file:///etc/passwd", "http://h.io/x", "ftp://h.io/", "data:,x", "javascript:1", "https://"] {
            assert!(go("https://h.io/v2/", location).is_err(), "{location}");
        }
        assert!(go("http://h.io/v2/", "file:///etc/passwd").unwrap_err().contains("(file:)"));
        assert!(!go("https://h.io/", "http://h.io/x?signature=abc").unwrap_err().contains("abc"));
    }

    #[test]
    fn a_body_is_sent_elsewhere_only_where_that_is_asked_for() {
        assert!(is_redirect(&Method::GET, StatusCode::FOUND));
        assert!(!is_redirect(&Method::PUT, StatusCode::FOUND));
        assert!(is_redirect(&Method::PUT, StatusCode::TEMPORARY_REDIRECT));
        assert!(!is_redirect(&Method::GET, StatusCode::NOT_MODIFIED));
    }
}
