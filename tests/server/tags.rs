//! Lists of tags.

use crate::embedded::{Embedded, assert_refused, header, image_manifest};

#[tokio::test]
async fn tags_are_listed_in_byte_order_page_by_page() {
    let registry = Embedded::in_memory().await;
    for tag in ["b", "a", "C", "_", "1.10", "1.9"] {
        registry.push_image("team/app", tag, b"layer").await;
    }
    let list = async |query: &str| {
        let response = registry.get(&format!("/v2/team/app/tags/list{query}")).await;
        assert_eq!(response.status(), 200, "{query}");
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let body: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(body["name"], "team/app");
        let tags: Vec<String> = serde_json::from_value(body["tags"].clone()).unwrap();
        (tags, link)
    };
    assert_eq!(list("").await, (vec!["1.10", "1.9", "C", "_", "a", "b"].into_iter().map(Into::into).collect(), None));
    assert_eq!(list("?n=0").await, (vec![], None));
    assert_eq!(list("?n=6").await.1, None, "there is no more");
    assert_eq!(list("?last=C").await.0, ["_", "a", "b"]);
    assert_eq!(list("?n=1&last=B").await.0, ["C"], "from where it would be");

    let (mut tags, mut next) = list("?n=4").await;
    while let Some(link) = next {
        let path = link.strip_prefix("</v2/team/app/tags/list").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        let (more, link) = list(path).await;
        tags.extend(more);
        next = link;
    }
    assert_eq!(tags, ["1.10", "1.9", "C", "_", "a", "b"]);

    assert_refused(registry.get("/v2/team/app/tags/list?n=-1").await, 400, "PAGINATION_NUMBER_INVALID").await;
    assert_refused(registry.get("/v2/team/tags/list").await, 404, "NAME_UNKNOWN").await;
    registry.push_blob("blobs/only", b"x").await;
    let response = registry.get("/v2/blobs/only/tags/list").await;
    assert_eq!(response.text().await.unwrap(), r#"{"name":"blobs/only","tags":[]}"#);
}

#[tokio::test]
async fn a_list_of_very_many_tags_ends_and_says_how_to_go_on() {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_image("a", "t", b"layer").await;
    let all: Vec<String> = (0..10_000).map(|n| format!("tag=t{n:05}")).collect();
    for tags in all.chunks(64) {
        let path = format!("/v2/a/manifests/{digest}?{}", tags.join("&"));
        assert_eq!(registry.put(&path, "", image_manifest(b"layer")).await.status(), 201);
    }
    let response = registry.get("/v2/a/tags/list").await;
    assert_eq!(header(&response, "link"), "</v2/a/tags/list?n=10000&last=t09998>; rel=\"next\"");
    let response = registry.get("/v2/a/tags/list?n=10000&last=t09998").await;
    assert!(!response.headers().contains_key("link"));
    assert_eq!(response.text().await.unwrap(), r#"{"name":"a","tags":["t09999"]}"#);
}
