//! Whole requests, one after the other, to a registry in this process: valid ones, those that are nearly so, and others.

use std::collections::{BTreeMap, BTreeSet};

use bndlr::digest::{Algorithm, Digest};
use bndlr::manifest::media_type::OCI_MANIFEST;
use bndlr::protocol::{Challenge, Endpoint, ErrorBody};
use bndlr::server::storage::Memory;
use bndlr::server::{Auth, Registry, Rules};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};

use crate::embedded::image_manifest;
use crate::manifests;
use crate::random::Random;
use crate::run::fuzz;

const REPOSITORIES: &[&str] = &["a", "a/b", "library/x", "blobs", "a/manifests", "tags/list"];
const TAGS: &[&str] = &["v1", "v2", "latest", "list", "uploads"];
const METHODS: &[&str] = &["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "BREW"];
const REQUESTS: usize = 30;

/// What a registry was asked, what it said that it has, and what may be asked next.
struct Client {
    registry: Registry,
    /// The repositories that it asks for.
    names: Vec<&'static str>,
    sessions: Vec<String>,
    digests: Vec<Digest>,
    token: String,
    blobs: BTreeSet<(String, Digest)>,
    manifests: BTreeSet<(String, Digest)>,
    tags: BTreeMap<(String, String), Digest>,
    asked: Vec<String>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Client {
    fn new(registry: Registry) -> Self {
        let contents: [&[u8]; 4] = [b"{}", b"layer", b"", b"missing"];
        let digests =
            contents.iter().flat_map(|content| [Algorithm::Sha256, Algorithm::Sha512].map(|a| a.digest(content)));
        Self {
            registry,
            names: REPOSITORIES.to_vec(),
            sessions: vec!["/v2/a/blobs/uploads/0123456789abcdef0123456789abcdef".to_owned()],
            digests: digests.collect(),
            token: String::new(),
            blobs: BTreeSet::new(),
            manifests: BTreeSet::new(),
            tags: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    async fn ask(&mut self, request: &Request<Bytes>) -> Answer {
        self.asked.push(format!("{} {} {:?} {:?}", request.method(), request.uri(), request.headers(), request.body()));
        let response = self.registry.answer(request.clone().map(Full::new)).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the body comes to its end").to_bytes();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        answer.check(request);
        answer
    }

    fn path(&self, random: &mut Random) -> String {
        let (name, tag) = (random.pick(&self.names), random.pick(TAGS));
        let digest = random.pick(&self.digests);
        match random.below(12) {
            0 => "/v2/".to_owned(),
            1 => "/v2/_catalog".to_owned(),
            2 => format!("/v2/{name}/tags/list"),
            3 => format!("/v2/{name}/referrers/{digest}"),
            4 | 5 => format!("/v2/{name}/blobs/{digest}"),
            6 => format!("/v2/{name}/manifests/{digest}"),
            7 | 8 => format!("/v2/{name}/manifests/{tag}"),
            9 => format!("/v2/{name}/blobs/uploads/"),
            10 => (*random.pick(&["/", "/token", "/healthz", "/metrics", "/v2", "/v1/", "/v2/a"])).to_owned(),
            _ => random.pick(&self.sessions).clone(),
        }
    }

    fn query(&self, random: &mut Random) -> String {
        let parameter = |random: &mut Random| {
            let digest = random.pick(&self.digests).to_string();
            let (name, value) = match random.below(9) {
                0 | 1 => ("digest", digest),
                2 => ("mount", digest),
                3 => ("from", (*random.pick(REPOSITORIES)).to_owned()),
                4 => ("n", random.number().to_string()),
                5 => ("last", random.text(8)),
                6 => ("tag", (*random.pick(TAGS)).to_owned()),
                7 => ("digest-algorithm", (*random.pick(&["sha256", "sha512", "md5"])).to_owned()),
                _ => ("artifactType", "application/x".to_owned()),
            };
            let value = if random.once_in(8) { random.mutated(&value) } else { value };
            form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish()
        };
        let parameters: Vec<String> = (0..random.below(4)).map(|_| parameter(random)).collect();
        if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) }
    }

    fn header(&self, random: &mut Random) -> (&'static str, String) {
        let (first, last) = (random.next() % 8, random.next() % 8);
        let tag = format!("\"{}\"", random.pick(&self.digests));
        let (name, value) = match random.below(9) {
            0 => ("range", format!("bytes={first}-{last}")),
            1 => ("range", format!("bytes=-{last},{first}-{last}")),
            2 => ("content-range", format!("{first}-{last}")),
            3 => ("content-type", OCI_MANIFEST.to_owned()),
            4 => ("if-match", tag),
            5 => ("if-none-match", if random.once_in(2) { "*".to_owned() } else { tag }),
            6 => ("if-range", tag),
            7 => ("authorization", format!("Bearer {}", self.token)),
            _ => {
                ("authorization", (*random.pick(&["Basic YWxpY2U6c2VjcmV0", "Basic YWxpY2U6", "Bearer x"])).to_owned())
            }
        };
        if random.once_in(8) { (name, random.mutated(&value)) } else { (name, value) }
    }

    fn body(random: &mut Random) -> Vec<u8> {
        match random.below(6) {
            0 | 1 => random.pick(&[&b"{}"[..], b"layer", b""]).to_vec(),
            2 => image_manifest(b"layer").into_bytes(),
            3 => {
                let mut manifest = manifests::valid(random);
                manifests::change(random, &mut manifest);
                manifest.to_string().into_bytes()
            }
            4 => manifests::valid(random).to_string().into_bytes(),
            _ => random.bytes(20),
        }
    }

    /// A request that may mean something; nothing, when HTTP itself does not let it pass.
    fn request(&self, random: &mut Random) -> Option<Request<Bytes>> {
        let body = Self::body(random);
        let mut target = self.path(random) + &self.query(random);
        let mut method = *random.pick(METHODS);
        // One in four is what a client would send next.
        if random.once_in(4) {
            (method, target) = self.sensible(random, &body);
        }
        if random.once_in(10) {
            target = random.mutated(&target);
        }
        let uri = Uri::try_from(target).ok()?;
        let mut request = Request::new(Bytes::from(body));
        (*request.method_mut(), *request.uri_mut()) = (Method::from_bytes(method.as_bytes()).ok()?, uri);
        for _ in 0..random.below(3) {
            let (name, value) = self.header(random);
            let value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
        Some(request)
    }

    fn sensible(&self, random: &mut Random, body: &[u8]) -> (&'static str, String) {
        let (name, digest) = (random.pick(&self.names), Digest::sha256(body));
        match random.below(5) {
            0 => ("POST", format!("/v2/{name}/blobs/uploads/?digest={digest}")),
            1 => ("PUT", format!("{}?digest={digest}", random.pick(&self.sessions))),
            2 => ("PATCH", random.pick(&self.sessions).clone()),
            3 => ("PUT", format!("/v2/{name}/manifests/{digest}?tag={}", random.pick(TAGS))),
            _ => ("PUT", format!("/v2/{name}/manifests/{}", random.pick(TAGS))),
        }
    }

    /// Keeps in mind what was acknowledged.
    fn note(&mut self, request: &Request<Bytes>, answer: &Answer) {
        if let Ok(body) = serde_json::from_slice::<serde_json::Value>(&answer.body)
            && let Some(token) = body["token"].as_str()
        {
            token.clone_into(&mut self.token);
        }
        let Ok(endpoint) = Endpoint::parse(request.uri().path()) else { return };
        let digest = answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok()?.parse().ok());
        let name = endpoint.name().map(ToString::to_string).unwrap_or_default();
        match (answer.status.as_u16(), endpoint) {
            (201, Endpoint::Uploads(_) | Endpoint::Upload(..)) => drop(self.blobs.insert((name, digest.unwrap()))),
            (201, Endpoint::Manifest(_, identifier)) => {
                let digest = digest.unwrap();
                self.digests.push(digest);
                self.manifests.insert((name.clone(), digest));
                let set = answer.headers.get_all("oci-tag").iter().map(|tag| tag.to_str().unwrap().to_owned());
                let in_path = identifier.to_string();
                let in_path = (!in_path.contains(':')).then_some(in_path);
                self.tags.extend(set.chain(in_path).map(|tag| ((name.clone(), tag), digest)));
            }
            (202, Endpoint::Uploads(_)) => self.sessions.push(answer.headers[LOCATION].to_str().unwrap().to_owned()),
            (202, Endpoint::Blob(_, digest)) => drop(self.blobs.remove(&(name, digest))),
            (202, Endpoint::Manifest(_, identifier)) if *request.method() == Method::DELETE => {
                let identifier = identifier.to_string();
                self.tags.remove(&(name.clone(), identifier.clone()));
                if let Ok(digest) = identifier.parse::<Digest>() {
                    self.manifests.remove(&(name.clone(), digest));
                    self.tags.retain(|(of, _), target| *of != name || *target != digest);
                }
            }
            _ => {}
        }
    }

    /// That all that was acknowledged is there.
    async fn check_state(&mut self, authorization: Option<&str>) {
        let blobs = self.blobs.iter().map(|(name, digest)| (format!("/v2/{name}/blobs/{digest}"), *digest));
        let manifests = self.manifests.iter().map(|(name, digest)| (format!("/v2/{name}/manifests/{digest}"), *digest));
        let tags = self.tags.iter().map(|((name, tag), digest)| (format!("/v2/{name}/manifests/{tag}"), *digest));
        let all: Vec<_> = blobs.chain(manifests).chain(tags).collect();
        for (path, digest) in all {
            let mut request = Request::get(&path).body(Bytes::new()).unwrap();
            if let Some(authorization) = authorization {
                request.headers_mut().insert("authorization", authorization.parse().unwrap());
            }
            let answer = self.ask(&request).await;
            assert_eq!(answer.status, 200, "{path} was acknowledged");
            assert_eq!(digest.algorithm().digest(&answer.body), digest, "{path}");
        }
    }
}

impl Answer {
    fn check(&self, request: &Request<Bytes>) {
        assert!(!self.status.is_server_error(), "{} {}", self.status, String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers["docker-distribution-api-version"], "registry/2.0");
        if request.method() == Method::HEAD {
            assert!(self.body.is_empty());
        } else if let Some(length) = self.headers.get(CONTENT_LENGTH) {
            assert_eq!(length.to_str().unwrap(), self.body.len().to_string());
        }
        if let Some(location) = self.headers.get(LOCATION) {
            Endpoint::parse(location.to_str().unwrap()).expect("Location is a path of the API");
        }
        if self.status.is_client_error() && request.method() != Method::HEAD {
            self.check_error(request.uri().path());
        }
    }

    fn check_error(&self, path: &str) {
        assert_eq!(self.headers[CONTENT_TYPE], "application/json");
        assert_eq!(self.headers.contains_key(ALLOW), self.status == StatusCode::METHOD_NOT_ALLOWED);
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = self.headers[WWW_AUTHENTICATE].to_str().unwrap();
            assert_eq!(Challenge::parse_all(challenge).len(), 1, "{challenge}");
        }
        if path == "/token" {
            return;
        }
        let body: ErrorBody = serde_json::from_slice(&self.body).expect("an error has a body that says so");
        for error in &body.errors {
            let is_code = error.code.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
            assert!(is_code && !error.code.as_str().is_empty() && !error.message.is_empty(), "{error:?}");
        }
        assert!(!body.errors.is_empty());
    }

    /// That the answer to HEAD is this one without its body.
    fn assert_same_head(&self, head: &Self) {
        let comparable = |answer: &Self| {
            let mut headers = answer.headers.clone();
            // A message names the method.
            if answer.status == StatusCode::METHOD_NOT_ALLOWED {
                headers.remove(CONTENT_LENGTH);
            }
            (answer.status, headers)
        };
        assert_eq!(comparable(self), comparable(head));
    }
}

/// Pushes what a manifest that is valid refers to, so that some are taken.
async fn begin(client: &mut Client, name: &str, authorization: Option<&str>) {
    for content in [&b"{}"[..], b"layer"] {
        let digest = Digest::sha256(content);
        let mut request = Request::post(format!("/v2/{name}/blobs/uploads/?digest={digest}"));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Bytes::from_static(content)).unwrap();
        let answer = client.ask(&request).await;
        client.note(&request, &answer);
    }
}

async fn converse(client: &mut Client, random: &mut Random, authorization: Option<&str>) {
    let name = *random.pick(REPOSITORIES);
    begin(client, name, authorization).await;
    client.names = vec![name, name, *random.pick(REPOSITORIES)];
    for _ in 0..REQUESTS {
        let Some(mut request) = client.request(random) else { continue };
        if let Some(authorization) = authorization.filter(|_| !random.once_in(4)) {
            request.headers_mut().insert("authorization", authorization.parse().unwrap());
        }
        let answer = client.ask(&request).await;
        client.note(&request, &answer);
        // Metrics count the question, too; and ranges are for GET alone.
        let is_same = request.uri().path() != "/metrics" && !request.headers().contains_key("range");
        if request.method() == Method::GET && is_same && request.uri().path() != "/token" {
            *request.method_mut() = Method::HEAD;
            let head = client.ask(&request).await;
            answer.assert_same_head(&head);
        }
    }
    client.check_state(authorization).await;
}

fn run(registry: impl Fn() -> Registry, authorization: Option<&str>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut acknowledged = [0; 3];
    let cases = fuzz(|random| {
        let mut client = Client::new(registry());
        let conversation = std::panic::AssertUnwindSafe(runtime.block_on(async {
            use futures::FutureExt;
            std::panic::AssertUnwindSafe(converse(&mut client, random, authorization)).catch_unwind().await
        }));
        if let Err(panic) = conversation.0 {
            eprintln!("asked in turn:\n{}", client.asked.join("\n"));
            std::panic::resume_unwind(panic);
        }
        let found = [client.blobs.len(), client.manifests.len(), client.tags.len()];
        acknowledged.iter_mut().zip(found).for_each(|(all, found)| *all += found);
    });
    // Requests that are all refused would show little.
    assert!(cases < 5 || !acknowledged.contains(&0), "blobs, manifests and tags: {acknowledged:?} in {cases} cases");
    println!("blobs, manifests and tags: {acknowledged:?}");
}

#[test]
fn no_request_is_too_strange_and_what_was_acknowledged_is_there() {
    run(|| Registry::new(Memory::new()), None);
}

#[test]
fn no_request_is_too_strange_to_a_registry_that_asks_who_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    std::fs::write(&users, format!("alice:{}\n", bcrypt::hash("secret", 4).unwrap())).unwrap();
    let auth = || Auth::htpasswd(&users).unwrap().rules(Rules::for_users_and_anonymous_pull());
    run(|| Registry::new(Memory::new()).auth(auth()), Some("Basic YWxpY2U6c2VjcmV0"));
}
