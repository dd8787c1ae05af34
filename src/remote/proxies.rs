//! Proxies: which of them the environment names for a request, as other programs understand it.
//!
//! `HTTPS_PROXY` is for requests over TLS, `HTTP_PROXY` for those without, `ALL_PROXY` for both, and `NO_PROXY` says for
//! whom there is none. Each may be written in lower case, too. A proxy takes this machine for itself, so what is here is
//! reached without one.

use std::fmt;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use super::Error;
use super::transport::is_loopback;
use crate::protocol::Secret;

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies(Arc<Named>);

#[derive(Debug, Default)]
struct Named {
    http: Option<Variable>,
    https: Option<Variable>,
    /// The hosts that are reached without a proxy, as they are written.
    no: String,
}

/// A variable that names a proxy.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    name: String,
    /// Where the proxy is, perhaps with a password.
    url: Secret,
    /// The URL of the proxy, without anything that may be secret.
    shown: String,
}

impl Proxies {
    /// What the environment of this process says.
    ///
    /// # Errors
    /// When what should name a proxy does not: to go without one instead would be to go where nobody wanted to.
    pub(super) fn from_environment() -> Result<Self, Error> {
        // A web server turns a header `Proxy` of its client into HTTP_PROXY for the program that it runs.
        if std::env::var_os("REQUEST_METHOD").is_some() {
            return Ok(Self::default());
        }
        Self::named_by(|name| std::env::var(name).ok())
    }

    fn named_by(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let found = |name: &str| {
            let names = [name.to_owned(), name.to_lowercase()];
            names.into_iter().find_map(|name| Some((variable(&name).filter(|value| !value.is_empty())?, name)))
        };
        let named = |name: &str| found(name).map(|(value, name)| Variable::new(name, &value)).transpose();
        let all = named("ALL_PROXY")?;
        let http = named("HTTP_PROXY")?.or_else(|| all.clone());
        let https = named("HTTPS_PROXY")?.or(all);
        let no = found("NO_PROXY").map(|(value, _)| value).unwrap_or_default();
        Ok(Self(Arc::new(Named { http, https, no })))
    }

    /// The proxy for requests to where `url` leads.
    pub(super) fn to(&self, url: &Url) -> Option<&Variable> {
        let Named { http, https, no } = &*self.0;
        let variable = if url.scheme() == "https" { https } else { http };
        variable.as_ref().filter(|_| !is_loopback(url) && !is_excepted(no, url))
    }
}

impl Variable {
    fn new(name: String, value: &str) -> Result<Self, Error> {
        let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let url = Url::parse(&url).ok().filter(Url::has_host).map(String::from);
        let known = url.and_then(|url| Some((proxy(&url, "", &http::Uri::from_static("http://x/"))?, url)));
        let (shown, url) = known.ok_or_else(|| Error::Proxy(name.clone()))?;
        Ok(Self { name, url: Secret::new(url), shown })
    }

    /// What to say where a request to `url` has come to nothing.
    pub(super) fn hint(&self, url: &Url) -> String {
        let host = url.host_str().unwrap_or_default();
        format!("{host} is reached through {self}; NO_PROXY={host} goes without it")
    }

    /// Where it is and who asks there, for what connects to it.
    pub(super) fn url(&self) -> &Secret {
        &self.url
    }
}

/// `http://proxy.example:3128 (HTTPS_PROXY)`
impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.shown, self.name)
    }
}

/// Whether `NO_PROXY` names the host of `url`: by its name or a domain that it is in, by its address or a network that
/// that is in, with or without its port. What is asked is what would be asked of these rules by the HTTP client itself.
fn is_excepted(no: &str, url: &Url) -> bool {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    let without_port = |entry: &str| {
        let host = entry.strip_suffix(&port).filter(|host| host.ends_with(']') || !host.contains(':'));
        host.unwrap_or(entry).trim_start_matches("*.").trim_matches(['[', ']']).to_owned()
    };
    let no: Vec<_> = no.split([',', ' ']).map(without_port).collect();
    let Ok(uri) = url.as_str().parse() else { return false };
    // There, `*` stands for all names, and for no address.
    no.iter().any(|entry| entry == "*") || proxy("http://x", &no.join(","), &uri).is_none()
}

/// The proxy that these rules have for `uri`, without who asks there.
fn proxy(all: &str, no: &str, uri: &http::Uri) -> Option<String> {
    let found = Matcher::builder().all(all).no(no).build().intercept(uri)?;
    Some(found.uri().to_string().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, Error> {
        let find =
            |name: &str| variables.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned());
        Proxies::named_by(find)
    }

    fn through(variables: &[(&str, &str)], url: &str) -> Option<String> {
        proxies(variables).unwrap().to(&Url::parse(url).unwrap()).map(ToString::to_string)
    }

    #[test]
    fn each_scheme_has_a_proxy_of_its_own_or_the_one_for_all() {
        let all =
            [("all_proxy", "socks5h://a:pw@all.test:1080"), ("HTTPS_PROXY", "https.test:3128"), ("HTTP_PROXY", "")];
        assert_eq!(through(&all, "https://h.io/").unwrap(), "http://https.test:3128 (HTTPS_PROXY)");
        assert_eq!(through(&all, "http://h.io/").unwrap(), "socks5h://all.test:1080 (all_proxy)");
        assert_eq!(through(&all[1..2], "http://h.io/"), None);
        let both = [("HTTP_PROXY", "http://upper.test"), ("http_proxy", "http://lower.test")];
        assert_eq!(through(&both, "http://h.io/").unwrap(), "http://upper.test (HTTP_PROXY)");
        for url in ["http://localhost:5000/", "http://127.1.2.3/", "https://[::1]/"] {
            assert_eq!(through(&[("ALL_PROXY", "http://p.test")], url), None, "{url}");
        }
    }

    #[test]
    fn who_is_excepted_may_be_named_in_all_usual_ways() {
        for (no, url, expected) in [
            ("h.io", "https://h.io/", true),
            ("H.IO", "https://h.io/", true),
            ("h.io", "https://sub.h.io/", true),
            (".h.io", "https://sub.h.io/", true),
            ("*.h.io", "https://sub.h.io/", true),
            ("a.io, h.io", "https://h.io/", true),
            ("a.io h.io", "https://h.io/", true),
            ("*", "https://h.io/", true),
            ("*", "https://10.1.2.3/", true),
            ("h.io:5000", "https://h.io:5000/", true),
            ("h.io:443", "https://h.io/", true),
            ("10.0.0.0/8", "http://10.1.2.3:5000/", true),
            ("10.1.2.3:5000", "http://10.1.2.3:5000/", true),
            ("[fd00::1]", "http://[fd00::1]/", true),
            ("fd00::/8", "http://[fd00::1]/", true),
            ("[fd00::1]:5000", "http://[fd00::1]:5000/", true),
            ("h.io:5000", "https://h.io/", false),
            ("h.io", "https://noth.io/", false),
            ("h.io", "https://h.io.example/", false),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("", "https://h.io/", false),
            (",", "https://h.io/", false),
        ] {
            let found = through(&[("ALL_PROXY", "http://p.test"), ("no_proxy", no)], url);
            assert_eq!(found.is_none(), expected, "{no} {url}");
        }
    }

    #[test]
    fn what_names_no_proxy_is_an_error_that_does_not_repeat_it() {
        for value in ["ftp://user:hunter2@h", "http://", "http://user:hunter2@", "hunter2 hunter2", "://hunter2"] {
            let error = proxies(&[("https_proxy", value)]).unwrap_err();
            assert!(error.to_string().starts_with("https_proxy ") && !error.to_string().contains("hunter2"), "{error}");
        }
        let debug = format!("{:?}", proxies(&[("ALL_PROXY", "http://user:hunter2@h")]).unwrap());
        assert!(!debug.contains("hunter2"), "{debug}");
    }
}
