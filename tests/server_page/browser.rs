//! The page in a browser: Debian's Chromium, without a window.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, time::Duration};

use bndlr::pack::PackOptions;
use bndlr::server::{Registry, Server};
use tempfile::TempDir;

use crate::embedded::Embedded;
use crate::{MANIFESTS, pack, page, peer, push_to};

/// How wide a phone is, in CSS pixels.
const PHONE: u32 = 360;

struct Chromium {
    program: PathBuf,
    home: TempDir,
}

impl Chromium {
    fn find() -> Option<Self> {
        Some(Self { program: peer::require("chromium")?, home: tempfile::tempdir().unwrap() })
    }

    /// Runs it to its end.
    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr", "--no-proxy-server"]);
        command.arg(format!("--user-data-dir={}", self.home.path().join("profile").display()));
        command.env("HOME", self.home.path()).env("TMPDIR", self.home.path()).args(arguments);
        let mut command = assert_cmd::Command::from_std(command);
        // The registry runs on this thread.
        tokio::task::spawn_blocking(move || command.timeout(Duration::from_mins(1)).output().unwrap()).await.unwrap()
    }

    /// What is on a page once it has been loaded, and what the browser had to say about it.
    async fn dom(&self, url: &str) -> (String, String) {
        let output = self.run(&["--dump-dom", url]).await;
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// How wide a page is on a phone whose window it fills, with everything in it open, and how wide that is. The page
    /// allows no script and no frame, so a copy of it is measured.
    async fn widths(&self, html: &str) -> (u32, u32) {
        let copy = html.replace('&', "&amp;").replace('"', "&quot;");
        let script = "const root = f.contentDocument.documentElement;\
             for (const e of root.querySelectorAll('details')) e.open = true;\
             document.title = 'measured ' + root.scrollWidth + ' ' + root.clientWidth;";
        let frame = format!(
            "<iframe id=f style='width:{PHONE}px;height:600px;border:0' srcdoc=\"{copy}\" onload=\"{script}\"></iframe>"
        );
        let path = self.home.path().join("phone.html");
        fs::write(&path, format!("<!DOCTYPE html><meta charset=utf-8><title></title>{frame}")).unwrap();
        let (dom, log) = self.dom(&format!("file://{}", path.display())).await;
        let measured = dom.split("<title>measured ").nth(1).unwrap_or_else(|| panic!("{dom} {log}"));
        let (width, window) = measured.split('<').next().unwrap().split_once(' ').unwrap();
        (width.parse().unwrap(), window.parse().unwrap())
    }
}

/// A bundle with two tags.
async fn fill(address: &str) {
    let mut options = PackOptions::default();
    for (key, value) in [
        ("org.opencontainers.image.source", "https://git.example/team/manifests"),
        ("org.opencontainers.image.revision", "8f2c1e0a44d1b6f7c0f2d9c1b7a35e6f90d2c481"),
    ] {
        options.image.annotations.insert(key.to_owned(), value.to_owned());
    }
    let bundle = pack(Path::new(MANIFESTS), &options);
    for tag in ["latest", "v1.2.0"] {
        push_to(address, &bundle, &format!("team/manifests:{tag}")).await;
    }
}

async fn registry() -> Embedded {
    let registry = Embedded::in_memory().await;
    fill(&registry.address()).await;
    registry
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_page_and_has_nothing_to_complain_about() {
    let Some(chromium) = Chromium::find() else { return };
    let registry = registry().await;
    for (path, expected) in [
        ("/", "<a href=\"/r/team/manifests\">team/manifests</a>"),
        ("/r/team/manifests", "<a href=\"/r/team/manifests:latest\">latest</a>"),
        ("/r/team/manifests:v1.2.0", "<bdi>base/kustomization.yaml</bdi>"),
    ] {
        let (dom, log) = chromium.dom(&format!("http://{}{path}", registry.address())).await;
        assert!(dom.contains(expected), "{path}: {dom}");
        assert!(!log.contains("CONSOLE") && !log.contains("Content Security Policy"), "{path}: {log}");
        // What is sent is what there is: the browser had nothing to mend.
        let (sent, shown) = (page(&registry, path).await, dom.trim());
        assert_eq!(sent.matches('<').count() - 1, shown.matches('<').count() - shown.matches("<!DOCTYPE").count());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_phone_nothing_is_wider_than_the_window() {
    let Some(chromium) = Chromium::find() else { return };
    let registry = registry().await;
    for path in ["/", "/r/team/manifests", "/r/team/manifests:v1.2.0", "/nothing"] {
        let response = crate::browse(&registry, path).await;
        let (width, window) = chromium.widths(&response.text().await.unwrap()).await;
        assert_eq!((width, window), (PHONE, PHONE), "{path}");
    }
    // The measure works: this page is wider.
    let (width, _) = chromium.widths("<!DOCTYPE html><p style='width:700px'>wide").await;
    assert!(width > PHONE, "{width}");
}

/// The pictures in `docs/`. `BNDLR_SCREENSHOTS=docs cargo test --test server_page pictures` makes them again.
#[tokio::test(flavor = "multi_thread")]
async fn the_pictures_in_the_docs_can_be_made_again() {
    let Some(chromium) = Chromium::find() else { return };
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Registry::in_memory()).await.unwrap();
    let registry = server.allow_host("registry.example").spawn();
    fill(&registry.address().to_string()).await;
    let resolve = format!("--host-resolver-rules=MAP registry.example {}", registry.address());
    let target = std::env::var_os("BNDLR_SCREENSHOTS").map_or_else(|| chromium.home.path().to_owned(), PathBuf::from);
    for (name, size, scheme) in [("page.png", "1000,1245", "1"), ("page-phone.png", "390,1000", "0")] {
        let picture = fs::canonicalize(&target).unwrap().join(name);
        let output = chromium
            .run(&[
                &format!("--screenshot={}", picture.display()),
                &format!("--window-size={size}"),
                // Dark is 0, and light is 1.
                &format!("--blink-settings=preferredColorScheme={scheme}"),
                &resolve,
                "http://registry.example/r/team/manifests:v1.2.0",
            ])
            .await;
        let bytes = fs::read(&picture).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() < 150_000, "{} bytes", bytes.len());
    }
}
