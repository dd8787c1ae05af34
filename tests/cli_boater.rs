//! Boater's words: the transcripts of its manual, line by line, with `bndlr` for `boater` and a registry that plays Docker
//! Hub. Where the manual has `jq` and `tree`, sed and find do here what they do there.

mod embedded;
mod program;

use std::path::Path;

use bndlr::digest::Digest;
use bndlr::manifest::media_type::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST};
use bndlr::server::storage::Memory;
use bndlr::server::{Auth, Passwords, Registry};
use embedded::Embedded;
use program::{BNDLR, Desk, Ran, finish};
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
    let host = request.headers["host"].to_str().unwrap();
    let path = request.url.path();
    if path == "/token" {
        return ResponseTemplate::new(200).set_body_json(json!({"token": "t"}));
    }
    if request.headers.get("authorization").is_none_or(|value| value != "Bearer t") {
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="registry.docker.io""#);
        return ResponseTemplate::new(401).insert_header("www-authenticate", challenge.as_str());
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

/// A desk beside Docker Hub.
struct Dock {
    desk: Desk,
    hub: MockServer,
}

impl Dock {
    async fn new() -> Self {
        let hub = MockServer::start().await;
        Mock::given(any()).respond_with(docker_hub).mount(&hub).await;
        Self { desk: Desk::new(), hub }
    }

    /// Runs lines of sh as they stand in the manual, in which `ubuntu` is on this machine.
    fn sh(&self, lines: &str) -> Ran {
        let ubuntu = format!("{}/library/ubuntu", self.hub.address());
        let path = std::env::join_paths(
            [Path::new(BNDLR).parent().unwrap().to_owned()]
                .into_iter()
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut command = self.desk.process("sh");
        command.env("PATH", path.unwrap()).args(["-ec", &format!("{JQ}\n{}", lines.replace("UBUNTU", &ubuntu))]);
        finish(command)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_an_image_manifest() {
    let dock = Dock::new().await;
    let head = dock.sh("bndlr get-manifest -a UBUNTU | head -c120").ok();
    assert_eq!(head, manifest_list()[..120]);
    assert!(head.starts_with(r#"{"manifests":[{"digest":"sha256:"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn mimic_a_client_that_supports_only_schema_2_manifests() {
    assert_eq!(Dock::new().await.sh("bndlr get-manifest UBUNTU --accept-schema2").ok(), schema2());
}

#[tokio::test(flavor = "multi_thread")]
async fn get_an_image_blob() {
    let line = format!("bndlr get-blob UBUNTU {} | head -c120", Digest::sha256(CONFIG.as_bytes()));
    assert_eq!(Dock::new().await.sh(&line).ok(), CONFIG[..120]);
}

#[tokio::test(flavor = "multi_thread")]
async fn view_all_http_requests() {
    let dock = Dock::new().await;
    let trace = dock.sh("bndlr get-manifest UBUNTU -v 2>&1 | grep HTTP").ok();
    let host = dock.hub.uri();
    let expected = [
        format!("> GET {host}/v2/ HTTP/1.1"),
        "< HTTP/1.1 401 Unauthorized".to_owned(),
        format!("> GET {host}/token?scope=repository%3Alibrary%2Fubuntu%3Apull&service=registry.docker.io HTTP/1.1"),
        "< HTTP/1.1 200 OK".to_owned(),
        format!("> GET {host}/v2/library/ubuntu/manifests/latest HTTP/1.1"),
        "< HTTP/1.1 200 OK".to_owned(),
    ];
    // `2017/06/14 00:32:10 > GET …`
    let (times, lines): (Vec<_>, Vec<_>) =
        trace.lines().map(|line| line.split_at("2017/06/14 00:32:10 ".len())).unzip();
    assert_eq!(lines, expected);
    let shape = |time: &str| time.replace(|c: char| c.is_ascii_digit(), "9");
    assert!(times.iter().all(|time| shape(time) == "9999/99/99 99:99:99 "), "{times:?}");
}

/// The registry that the manual copies to: there, only `user` may do anything.
async fn of_user() -> Embedded {
    let users = format!("user:{}", bcrypt::hash("password", 4).unwrap());
    let auth = Auth::new(Passwords::parse(&users).unwrap()).unwrap();
    Embedded::of(Registry::new(Memory::new()).auth(auth)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_a_schema_2_image_from_one_repository_to_another() {
    let (dock, registry) = (Dock::new().await, of_user().await);
    let fetched = dock.sh(r#"
mkdir -p ./ubuntu/blobs
bndlr get-manifest UBUNTU --accept-schema2 >./ubuntu/manifest
for digest in $(jq -r '.config.digest, .layers[].digest' ./ubuntu/manifest); do
    bndlr get-blob UBUNTU "$digest" >"./ubuntu/blobs/$digest"
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

    let put = format!(
        r#"
REPO={}/my/repo USER=user PASSWORD=password
for file in ./ubuntu/blobs/*; do
    bndlr put-blob -u "$USER" -p "$PASSWORD" "$REPO" "$file"
done
bndlr put-manifest -u "$USER" -p "$PASSWORD" "$REPO" ./ubuntu/manifest \
    --content-type="application/vnd.docker.distribution.manifest.v2+json"
"#,
        registry.address()
    );
    let put = dock.sh(&put);
    assert_eq!(put.stderr, "");
    assert_eq!(put.ok(), format!("{names}{}\n", Digest::sha256(schema2().as_bytes())));

    let place = format!("{}/my/repo", registry.address());
    let login = "-u user -p password";
    assert_eq!(dock.desk.run(&format!("get-manifest {place} {login}")).ok(), schema2());
    assert_eq!(dock.desk.run(&format!("get-tags {place} {login}")).ok(), "latest\n");
    assert_eq!(dock.desk.run(&format!("get-tags {place}")).code, Some(4));
    let wrong = dock.desk.run(&format!("put-blob -u user -p hunter2 {place} ubuntu/manifest"));
    assert!(wrong.code == Some(4) && !wrong.stderr.contains("hunter2"), "{wrong:?}");
    assert_eq!(dock.desk.run(&format!("delete-manifest {place} {login}")).ok(), "");
    assert_eq!(dock.desk.run(&format!("get-tags {place} {login}")).ok(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password_of_the_environment_are_variables_of_the_script_and_nothing_else() {
    let (desk, registry) = (Desk::new(), of_user().await);
    desk.write("blob", "x");
    let place = format!("{}/my/repo", registry.address());
    let ran = desk.run_with(&["put-blob", &place, "blob"], &[("USER", "user"), ("PASSWORD", "password")]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_listed_one_a_line() {
    assert_eq!(Dock::new().await.sh("bndlr get-tags UBUNTU").ok(), "14.04\nlatest\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_flag_accepts_what_it_says() {
    let dock = Dock::new().await;
    for (flags, accepted) in [
        (
            "--accept-schema1",
            "application/vnd.docker.distribution.manifest.v1+prettyjws, application/vnd.docker.distribution.manifest.v1+json",
        ),
        ("--accept-schema2", DOCKER_MANIFEST),
        (
            "--accept-ocischema --accept-manifest-list",
            "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json",
        ),
        ("-t a/b --accept c/d", "a/b, c/d"),
    ] {
        dock.sh(&format!("bndlr get-manifest UBUNTU {flags}")).ok();
        let requests = dock.hub.received_requests().await.unwrap();
        assert_eq!(requests.last().unwrap().headers["accept"], accepted);
    }
}
