//! Boater's words: the transcripts of its manual, line by line, with `bndlr` for `boater` and a registry that plays Docker
//! Hub, which is where a proxy leads to. Where there is no `jq`, sed does what the manual needs of it.

mod authority;
mod between;
mod embedded;
mod program;

use authority::Authority;
use between::Proxy;
use bndlr::digest::Digest;
use bndlr::manifest::media_type::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST};
use bndlr::server::storage::Memory;
use bndlr::server::{Auth, Passwords, Registry, Running, Server};
use program::{Desk, Ran, finish};
use serde_json::json;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const CONFIG: &str = r#"{"architecture":"amd64","config":{"Hostname":"abff9e7e2995","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false}}"#;
/// Does what the manual needs of jq, where there is none.
const JQ: &str = r#"command -v jq >/dev/null || jq() { sed -n 's/.*"digest": "\(sha256:[0-9a-f]*\)".*/\1/p' "$3"; }"#;

const LAYERS: [&[u8]; 3] = [b"one", b"two", b"three"];

/// A manifest of schema 2 as Docker Hub had them, with white space that nobody would write twice.
fn schema2() -> String {
    let described = |media_type: &str, content: &[u8], indent: &str| {
        let (size, digest) = (content.len(), Digest::sha256(content));
        format!(
            "{{\n{indent}   \"mediaType\": \"{media_type}\",\n{indent}   \"size\": {size},\n{indent}   \"digest\": \"{digest}\"\n{indent}}}"
        )
    };
    let config = described("application/vnd.docker.container.image.v1+json", CONFIG.as_bytes(), "   ");
    let layers = LAYERS.map(|layer| described("application/vnd.docker.image.rootfs.diff.tar.gzip", layer, "      "));
    format!(
        "{{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"{DOCKER_MANIFEST}\",\n   \"config\": {config},\n   \"layers\": [\n      {}\n   ]\n}}",
        layers.join(",\n      ")
    )
}

fn manifest_list() -> String {
    let schema2 = schema2();
    json!({
        "manifests": [{
            "digest": Digest::sha256(schema2.as_bytes()), "mediaType": DOCKER_MANIFEST, "size": schema2.len(),
            "platform": {"architecture": "amd64", "os": "linux"},
        }],
        "mediaType": DOCKER_MANIFEST_LIST, "schemaVersion": 2,
    })
    .to_string()
}

/// Docker Hub: wants a token, and gives a manifest list only to those that can read one.
fn docker_hub(request: &Request) -> ResponseTemplate {
    let path = request.url.path();
    if path == "/token" {
        return ResponseTemplate::new(200).set_body_json(json!({"token": "bearer-secret"}));
    }
    if request.headers.get("authorization").is_none_or(|value| value != "Bearer bearer-secret") {
        let challenge = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#;
        return ResponseTemplate::new(401).insert_header("www-authenticate", challenge);
    }
    if path == "/v2/library/ubuntu/manifests/latest" {
        let accept = request.headers["accept"].to_str().unwrap();
        let (media_type, body) = if accept.contains(DOCKER_MANIFEST_LIST) {
            (DOCKER_MANIFEST_LIST, manifest_list())
        } else {
            (DOCKER_MANIFEST, schema2())
        };
        let digest = Digest::sha256(body.as_bytes()).to_string();
        return ResponseTemplate::new(200)
            .insert_header("docker-content-digest", digest.as_str())
            .set_body_raw(body, media_type);
    }
    if path == "/v2/library/ubuntu/tags/list" {
        return ResponseTemplate::new(200)
            .set_body_json(json!({"name": "library/ubuntu", "tags": ["14.04", "latest"]}));
    }
    let blob =
        LAYERS.into_iter().chain([CONFIG.as_bytes()]).find(|blob| path.ends_with(&Digest::sha256(blob).to_string()));
    blob.map_or_else(|| ResponseTemplate::new(404), |blob| ResponseTemplate::new(200).set_body_bytes(blob))
}

/// A desk from where everything is Docker Hub.
struct Dock {
    desk: Desk,
    authority: Authority,
    hub: MockServer,
    proxy: Proxy,
}

impl Dock {
    async fn new() -> Self {
        let (hub, authority) = (MockServer::start().await, Authority::new());
        authority.issue();
        Mock::given(any()).respond_with(docker_hub).mount(&hub).await;
        let proxy = Proxy::to(between::tls(&authority, *hub.address()).await).await;
        Self { desk: Desk::new(), authority, hub, proxy }
    }

    /// Lets another registry be Docker Hub from now on.
    async fn turn_to(&mut self, registry: &Running) {
        self.proxy = Proxy::to(between::tls(&self.authority, registry.address()).await).await;
    }

    /// Runs lines of sh as they stand in the manual.
    fn sh(&self, lines: &str) -> Ran {
        let mut shell = self.desk.process("sh");
        shell.env("HTTPS_PROXY", self.proxy.url("http")).env("SSL_CERT_FILE", self.authority.file("ca.pem"));
        shell.args(["-ec", &format!("{JQ}\n{lines}")]);
        finish(shell)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_an_image_manifest() {
    let dock = Dock::new().await;
    let head = dock.sh("bndlr get-manifest -a ubuntu | head -c120").ok();
    assert_eq!(head, manifest_list()[..120]);
    assert!(head.starts_with(r#"{"manifests":[{"digest":"sha256:"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn mimic_a_client_that_supports_only_schema_2_manifests() {
    assert_eq!(Dock::new().await.sh("bndlr get-manifest ubuntu --accept-schema2").ok(), schema2());
}

#[tokio::test(flavor = "multi_thread")]
async fn get_an_image_blob() {
    let line = format!("bndlr get-blob ubuntu {} | head -c120", Digest::sha256(CONFIG.as_bytes()));
    assert_eq!(Dock::new().await.sh(&line).ok(), CONFIG[..120]);
}

#[tokio::test(flavor = "multi_thread")]
async fn view_all_http_requests() {
    let dock = Dock::new().await;
    let trace = dock.sh("bndlr get-manifest ubuntu -v 2>&1 | grep HTTP").ok();
    let expected = [
        "> GET https://index.docker.io/v2/ HTTP/1.1",
        "< HTTP/1.1 401 Unauthorized",
        "> GET https://auth.docker.io/token?scope=repository%3Alibrary%2Fubuntu%3Apull&service=registry.docker.io HTTP/1.1",
        "< HTTP/1.1 200 OK",
        "> GET https://index.docker.io/v2/library/ubuntu/manifests/latest HTTP/1.1",
        "< HTTP/1.1 200 OK",
    ];
    // `2017/06/14 00:32:10 > GET …`
    let (times, lines): (Vec<_>, Vec<_>) =
        trace.lines().map(|line| line.split_at("2017/06/14 00:32:10 ".len())).unzip();
    assert_eq!(lines, expected);
    let shape = |time: &str| time.replace(|c: char| c.is_ascii_digit(), "9");
    assert!(times.iter().all(|time| shape(time) == "9999/99/99 99:99:99 "), "{times:?}");
}

/// The registry that the manual copies to: there, only `user` may do anything.
async fn of_user() -> Running {
    let users = format!("user:{}", bcrypt::hash("password", 4).unwrap());
    let auth = Auth::new(Passwords::parse(&users).unwrap()).unwrap().public_url("https://index.docker.io").unwrap();
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Registry::new(Memory::new()).auth(auth)).await.unwrap();
    server.allow_host("index.docker.io").spawn()
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_a_schema_2_image_from_one_repository_to_another() {
    let (mut dock, registry) = (Dock::new().await, of_user().await);
    let fetched = dock.sh(r#"
mkdir -p ./ubuntu/blobs
bndlr get-manifest ubuntu --accept-schema2 >./ubuntu/manifest
for digest in $(jq -r '.config.digest, .layers[].digest' ./ubuntu/manifest); do
    bndlr get-blob ubuntu "$digest" >"./ubuntu/blobs/$digest"
done
ls ./ubuntu ./ubuntu/blobs
"#);
    assert_eq!((fetched.code, &*fetched.stderr), (Some(0), ""), "{fetched:?}");
    assert_eq!(dock.desk.read("ubuntu/manifest"), schema2());
    let blobs = LAYERS.into_iter().chain([CONFIG.as_bytes()]);
    let mut names: Vec<String> = blobs.map(|blob| format!("{}\n", Digest::sha256(blob))).collect();
    names.sort();
    let names = names.concat();
    assert!(fetched.stdout.ends_with(&names), "{fetched:?}");

    dock.turn_to(&registry).await;
    let put = dock.sh(r#"
REPO=my/repo USER=user PASSWORD=password
for file in ./ubuntu/blobs/*; do
    bndlr put-blob -u "$USER" -p "$PASSWORD" "$REPO" "$file"
done
bndlr put-manifest -u "$USER" -p "$PASSWORD" "$REPO" ./ubuntu/manifest \
    --content-type="application/vnd.docker.distribution.manifest.v2+json"
"#);
    assert_eq!(put.stderr, "");
    assert_eq!(put.ok(), format!("{names}{}\n", Digest::sha256(schema2().as_bytes())));

    let login = "-u user -p password";
    assert_eq!(dock.sh(&format!("bndlr get-manifest my/repo {login}")).ok(), schema2());
    assert_eq!(dock.sh(&format!("bndlr get-tags my/repo {login}")).ok(), "latest\n");
    assert_eq!(dock.sh("bndlr get-tags my/repo").code, Some(4));
    assert_eq!(dock.sh("bndlr put-blob -u user -p hunter2 my/repo ubuntu/manifest").code, Some(4));
    assert_eq!(dock.sh(&format!("bndlr delete-manifest my/repo {login}")).ok(), "");
    assert_eq!(dock.sh(&format!("bndlr get-tags my/repo {login}")).ok(), "");
    // user:password
    dock.proxy.assert_never_saw("dXNlcjpwYXNzd29yZA");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_named_with_each_flag_that_boater_has() {
    let (mut dock, registry) = (Dock::new().await, of_user().await);
    dock.turn_to(&registry).await;
    dock.desk.write("blob", "x");
    dock.desk.write("password", "password\n");
    dock.desk.write("config.json", r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNzd29yZA=="}}}"#);
    for flags in [
        "--user user --password password",
        "--user=user --password-file=password",
        "-u user --password-file ./password",
        "--config-json ./config.json",
    ] {
        let put = dock.sh(&format!("bndlr put-blob {flags} my/repo ./blob"));
        assert_eq!(put.ok(), format!("{}\n", Digest::sha256(b"x")), "{flags}");
    }
    let missing = dock.sh("bndlr get-tags my/repo -u user --password-file ./none");
    assert!(missing.code == Some(8) && missing.stderr.contains("the password from ./none"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_schema_1_is_signed_on_request() {
    let dock = Dock::new().await;
    let manifest = r#"{"schemaVersion":1,"name":"my/repo","tag":"v1","fsLayers":[],"history":[]}"#;
    dock.desk.write("manifest", manifest);
    // Docker Hub is not asked for it here: what it gets is looked at.
    dock.sh("bndlr put-manifest -s my/repo:v1 ./manifest");
    dock.sh("bndlr put-manifest -s my/repo:v1 ./manifest -t a/b");
    let requests = dock.hub.received_requests().await.unwrap();
    let puts: Vec<_> = requests.iter().filter(|request| request.method == "PUT").collect();
    let types: Vec<_> = puts.iter().map(|put| put.headers["content-type"].to_str().unwrap()).collect();
    assert_eq!(types, ["application/vnd.docker.distribution.manifest.v1+prettyjws", "a/b"]);
    for put in puts {
        let sent: serde_json::Value = serde_json::from_slice(&put.body).unwrap();
        assert_eq!((&sent["tag"], &sent["signatures"][0]["header"]["alg"]), (&"v1".into(), &"ES256".into()));
        assert!(put.body.starts_with(manifest.trim_end_matches('}').as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password_of_the_environment_are_variables_of_the_script_and_nothing_else() {
    let (mut dock, registry) = (Dock::new().await, of_user().await);
    dock.turn_to(&registry).await;
    dock.desk.write("blob", "x");
    let ran = dock.sh("export USER=user PASSWORD=password\nbndlr put-blob my/repo blob");
    assert_eq!(ran.code, Some(4), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_listed_one_a_line() {
    assert_eq!(Dock::new().await.sh("bndlr get-tags ubuntu").ok(), "14.04\nlatest\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_flag_accepts_what_it_says() {
    let dock = Dock::new().await;
    for (flags, accepted) in [
        ("--accept-schema1", "application/vnd.docker.distribution.manifest.v1+json"),
        ("--accept-schema1-signed", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        ("--accept-oci-index", "application/vnd.oci.image.index.v1+json"),
        ("--accept-schema2", DOCKER_MANIFEST),
        (
            "--accept-ocischema --accept-manifest-list",
            "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json",
        ),
        ("-t a/b --accept c/d", "a/b, c/d"),
    ] {
        dock.sh(&format!("bndlr get-manifest ubuntu {flags}")).ok();
        let requests = dock.hub.received_requests().await.unwrap();
        assert_eq!(requests.last().unwrap().headers["accept"], accepted);
    }
}
