//! The list of repositories.

use crate::embedded::{Embedded, assert_refused};

#[tokio::test]
async fn repositories_are_listed_in_byte_order_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    for registry in [Embedded::in_memory().await, Embedded::in_directory(directory.path()).await] {
        assert_eq!(registry.get("/v2/_catalog").await.text().await.unwrap(), r#"{"repositories":[]}"#);
        for name in ["b", "a/b", "a", "a-b"] {
            registry.push_blob(name, b"content").await;
        }
        let list = async |query: &str| {
            let response = registry.get(&format!("/v2/_catalog{query}")).await;
            let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
            (response.text().await.unwrap(), link)
        };
        assert_eq!(list("").await, (r#"{"repositories":["a","a-b","a/b","b"]}"#.to_owned(), None));
        assert_eq!(list("?n=0").await, (r#"{"repositories":[]}"#.to_owned(), None));
        let (first, link) = list("?n=3").await;
        assert_eq!(first, r#"{"repositories":["a","a-b","a/b"]}"#);
        assert_eq!(link.unwrap(), "</v2/_catalog?n=3&last=a/b>; rel=\"next\"");
        assert_eq!(list("?n=3&last=a/b").await, (r#"{"repositories":["b"]}"#.to_owned(), None));
        assert_refused(registry.get("/v2/_catalog?n=x").await, 400, "PAGINATION_NUMBER_INVALID").await;
    }
}
