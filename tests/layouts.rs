//! Image layouts as those who have them on disk know them: files, tags, several writers, interrupted ones.

mod sample;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bndlr::content::{ErrorKind, Memory, Source, Target};
use bndlr::digest::Algorithm;
use bndlr::layout::{Archive, ArchiveWriter, Directory};
use bndlr::manifest::{Descriptor, RawManifest};
use sample::{blob, copy_all, image_index, kind, push_blobs, tag};
use serde_json::{Value, json};
use tempfile::TempDir;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

fn index_json(layout: &Path) -> Value {
    serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap()
}

/// The digest and the tag of each entry of `index.json`, sorted.
fn entries(layout: &Path) -> Vec<(String, Option<String>)> {
    let index = index_json(layout);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let entries = index["manifests"].as_array().unwrap().iter();
    let mut entries: Vec<_> =
        entries.map(|entry| (text(&entry["digest"]).unwrap(), text(&entry["annotations"][REF_NAME]))).collect();
    entries.sort();
    entries
}

fn listed(manifest: &RawManifest, tag: Option<&str>) -> (String, Option<String>) {
    (manifest.digest().to_string(), tag.map(str::to_owned))
}

async fn layout(home: &TempDir) -> Directory {
    Directory::create(home.path()).await.unwrap()
}

#[tokio::test]
async fn a_layout_is_found_or_not_and_nothing_is_made_by_looking_for_it() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("layout");
    assert!(Directory::find(&path).await.unwrap().is_none() && !path.exists());
    fs::create_dir(&path).unwrap();
    assert!(Directory::find(&path).await.unwrap().is_none());
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    Directory::create(&path).await.unwrap();
    assert!(Directory::find(&path).await.unwrap().is_some());
    fs::write(home.path().join("file"), "no layout").unwrap();
    for wrong in [home.path().to_owned(), home.path().join("file")] {
        assert_eq!(kind(Directory::find(&wrong).await), ErrorKind::Local, "{}", wrong.display());
    }
}

#[tokio::test]
async fn a_new_layout_is_what_the_specification_says() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("some/where");
    let directory = Directory::create(&path).await.unwrap();
    let image = push_blobs(&directory, &[b"layer"]).await;
    directory.tag(&image, &tag("v1")).await.unwrap();

    assert_eq!(fs::read(path.join("oci-layout")).unwrap(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    let expected = format!(
        concat!(
            r#"{{"manifests":[{{"annotations":{{"org.opencontainers.image.ref.name":"v1"}},"digest":"{}","#,
            r#""mediaType":"application/vnd.oci.image.manifest.v1+json","size":{}}}],"#,
            r#""mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}}"#
        ),
        image.digest(),
        image.bytes().len()
    );
    assert_eq!(fs::read_to_string(path.join("index.json")).unwrap(), expected);
    assert_eq!(fs::read(path.join("blobs/sha256").join(image.digest().hex())).unwrap(), image.bytes()[..]);
    let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"], "nothing else is left there");
}

#[tokio::test]
async fn files_have_the_modes_that_any_new_file_has() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("layout");
    let directory = Directory::create(&path).await.unwrap();
    let image = push_blobs(&directory, &[b"layer"]).await;
    directory.tag(&image, &tag("v1")).await.unwrap();
    let writer = ArchiveWriter::create(home.path().join("layout.tar")).await.unwrap();
    writer.finish().await.unwrap();

    File::create(home.path().join("any")).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let (layer, _) = blob(b"layer");
    for file in ["layout/oci-layout", "layout/index.json", "layout.tar"] {
        assert_eq!(mode(&home.path().join(file)), mode(&home.path().join("any")), "{file}");
    }
    assert_eq!(mode(&path.join("blobs/sha256").join(layer.digest.hex())), mode(&home.path().join("any")));
}

#[tokio::test]
async fn a_manifest_is_listed_once_and_with_its_tags() {
    let home = TempDir::new().unwrap();
    let directory = layout(&home).await;
    let image = push_blobs(&directory, &[b"layer"]).await;
    directory.push(&image.descriptor(), &image).await.unwrap();
    directory.push(&image.descriptor(), &image).await.unwrap();
    assert_eq!(entries(home.path()), [listed(&image, None)]);

    directory.tag(&image, &tag("v1")).await.unwrap();
    directory.tag(&image, &tag("v2")).await.unwrap();
    directory.push(&image.descriptor(), &image).await.unwrap();
    assert_eq!(entries(home.path()), [listed(&image, Some("v1")), listed(&image, Some("v2"))]);

    let other = push_blobs(&directory, &[b"other"]).await;
    directory.tag(&other, &tag("v1")).await.unwrap();
    let mut expected = [listed(&image, Some("v2")), listed(&other, Some("v1"))];
    expected.sort();
    assert_eq!(entries(home.path()), expected);
}

/// Skopeo refuses a layout that lists several manifests when no tag is named: the images of an index must not be listed
/// beside it.
#[tokio::test]
async fn what_an_image_index_names_is_not_listed_beside_it() {
    let home = TempDir::new().unwrap();
    let (source, directory) = (Memory::new(), layout(&home).await);
    let (one, two) = (push_blobs(&source, &[b"one"]).await, push_blobs(&source, &[b"two"]).await);
    let inner = image_index(&[&two]);
    let outer = image_index(&[&one, &inner]);
    for manifest in [&one, &two, &inner, &outer] {
        source.push(&manifest.descriptor(), manifest).await.unwrap();
    }
    for _ in 0..2 {
        copy_all(&source, &outer, &directory, &[]).await;
        assert_eq!(entries(home.path()), [listed(&outer, None)]);
    }
    directory.push(&two.descriptor(), &two).await.unwrap();
    assert_eq!(entries(home.path()), [listed(&outer, None)]);
    assert_eq!(directory.sole().await.unwrap(), outer.descriptor());
    assert_eq!(directory.manifest(&two.digest().into()).await.unwrap(), two);

    directory.tag(&two, &tag("two")).await.unwrap();
    directory.tag(&outer, &tag("all")).await.unwrap();
    assert!(entries(home.path()).contains(&listed(&two, Some("two"))), "an entry with a tag is no repetition");
}

/// Otherwise a second build of what was tagged over would be found by nobody.
#[tokio::test]
async fn a_manifest_that_lost_its_last_tag_can_be_listed_again() {
    let home = TempDir::new().unwrap();
    let (source, directory) = (Memory::new(), layout(&home).await);
    let (one, two) = (push_blobs(&source, &[b"one"]).await, push_blobs(&source, &[b"two"]).await);
    for manifest in [&one, &two] {
        source.push(&manifest.descriptor(), manifest).await.unwrap();
        copy_all(&source, manifest, &directory, &["latest"]).await;
    }
    assert_eq!(entries(home.path()), [listed(&two, Some("latest"))]);
    let copied = copy_all(&source, &one, &directory, &[]).await;
    assert!(copied.changed);
    assert!(entries(home.path()).contains(&listed(&one, None)));
}

#[tokio::test]
async fn the_only_manifest_is_found_without_a_tag() {
    let home = TempDir::new().unwrap();
    let directory = layout(&home).await;
    assert_eq!(kind(directory.sole().await), ErrorKind::NotFound);
    let image = push_blobs(&directory, &[b"one"]).await;
    directory.push(&image.descriptor(), &image).await.unwrap();
    assert_eq!(directory.sole().await.unwrap(), image.descriptor());
    directory.tag(&image, &tag("v1")).await.unwrap();
    directory.tag(&image, &tag("latest")).await.unwrap();
    assert_eq!(directory.sole().await.unwrap(), image.descriptor(), "two tags of one manifest");

    let other = push_blobs(&directory, &[b"two"]).await;
    directory.tag(&other, &tag("v2")).await.unwrap();
    let error = directory.sole().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().ends_with("several manifests, expected one: latest, v1, v2"), "{error}");
    assert!(error.hint().is_some());
    let error = directory.resolve(&tag("v3").into()).await.unwrap_err();
    assert!(error.to_string().ends_with("has no tag v3; it has latest, v1, v2"), "{error}");
}

#[tokio::test]
async fn what_others_wrote_is_kept() {
    let home = TempDir::new().unwrap();
    let directory = layout(&home).await;
    let image = push_blobs(&directory, &[b"one"]).await;
    let foreign = json!([
        {"digest": "blake3:00", "mediaType": "application/x", "size": 1, "annotations": {REF_NAME: "other"}},
        {"digest": image.digest().to_string(), "mediaType": image.media_type(), "size": image.bytes().len(),
         "annotations": {"com.example": "kept"}, "platform": {"os": "linux", "architecture": "arm", "os.features": ["x"]}},
        {"digest": "sha256:00", "annotations": {REF_NAME: "localhost/app:v1"}, "data": 1.5},
    ]);
    let mut index = index_json(home.path());
    index["manifests"] = foreign.clone();
    index["x-field"] = json!({"b": 1, "a": null});
    fs::write(home.path().join("index.json"), index.to_string()).unwrap();

    directory.tag(&image, &tag("v1")).await.unwrap();
    let other = push_blobs(&directory, &[b"two"]).await;
    directory.tag(&other, &tag("v1")).await.unwrap();
    let index = index_json(home.path());
    assert_eq!(index["x-field"], json!({"b": 1, "a": null}));
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries[..3], *foreign.as_array().unwrap());
    assert_eq!(entries.len(), 4);
    assert_eq!(kind(directory.resolve(&tag("other").into()).await), ErrorKind::Content, "its digest is not known");
}

#[tokio::test]
async fn a_layout_with_null_for_no_manifests_is_empty() {
    let home = TempDir::new().unwrap();
    let directory = layout(&home).await;
    fs::write(home.path().join("index.json"), r#"{"schemaVersion":2,"manifests":null}"#).unwrap();
    assert_eq!(kind(directory.sole().await), ErrorKind::NotFound);
    let image = push_blobs(&directory, &[b"one"]).await;
    directory.tag(&image, &tag("v1")).await.unwrap();
    assert_eq!(directory.sole().await.unwrap(), image.descriptor());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_at_the_same_time_lose_nothing_to_each_other() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("layout");
    let writers = (0..16).map(|i| {
        let path = path.clone();
        tokio::spawn(async move {
            // Each has opened files of its own, as another process has.
            let directory = Directory::create(path).await.unwrap();
            let image = push_blobs(&directory, &[b"shared", format!("own {i}").as_bytes()]).await;
            directory.tag(&image, &tag(&format!("v{i}"))).await.unwrap();
            image
        })
    });
    let images = futures::future::try_join_all(writers).await.unwrap();
    let directory = Directory::at(&path).await.unwrap();
    for (i, image) in images.iter().enumerate() {
        assert_eq!(directory.manifest(&tag(&format!("v{i}")).into()).await.unwrap(), *image);
    }
}

#[tokio::test]
async fn a_layout_whose_creation_was_broken_off_is_completed() {
    for left in [&["blobs"] as &[&str], &["blobs", ".bndlr-x"], &["blobs", "index.json"]] {
        let home = TempDir::new().unwrap();
        for name in left {
            match *name {
                "blobs" => fs::create_dir(home.path().join(name)).unwrap(),
                name => fs::write(home.path().join(name), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap(),
            }
        }
        assert_eq!(kind(Directory::at(home.path()).await), ErrorKind::Content, "{left:?}");
        layout(&home).await;
        Directory::at(home.path()).await.unwrap();
    }
}

#[tokio::test]
async fn a_directory_with_other_files_is_not_made_a_layout() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("thesis.tex"), "").unwrap();
    let error = Directory::create(home.path()).await.unwrap_err();
    assert_eq!((error.kind(), error.hint().is_some()), (ErrorKind::Local, true));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing was written");

    let file = home.path().join("thesis.tex");
    for error in [Directory::create(&file).await.unwrap_err(), Directory::at(&file).await.unwrap_err()] {
        assert_eq!((error.kind(), error.hint().is_some()), (ErrorKind::Local, true), "{error}");
    }
    assert_eq!(kind(Directory::at(home.path().join("missing")).await), ErrorKind::Local);
    assert_eq!(kind(Archive::at(home.path().join("missing")).await), ErrorKind::Local);
    assert_eq!(kind(Archive::at(home.path()).await), ErrorKind::Local);
    assert_eq!(kind(ArchiveWriter::create(home.path()).await), ErrorKind::Local);
    let nowhere = home.path().join("missing/layout.tar");
    assert_eq!(kind(ArchiveWriter::create(nowhere).await), ErrorKind::Local);
}

/// Pushes the same content in an order of its own, and returns the archive's bytes.
async fn archive(home: &TempDir, name: &str, layers: &[&[u8]], tags: &[&str]) -> Vec<u8> {
    let path = home.path().join(name);
    let writer = ArchiveWriter::create(&path).await.unwrap();
    let image = push_blobs(&Memory::new(), &[b"a", b"b", b"c"]).await;
    push_blobs(&writer, layers).await;
    for text in tags {
        writer.tag(&image, &tag(text)).await.unwrap();
    }
    let (content, digest) = (b"long".as_slice(), Algorithm::Sha512.digest(b"long"));
    let sha512 = Descriptor { digest, ..blob(content).0 };
    writer.push(&sha512, &blob(content).1).await.unwrap();
    writer.finish().await.unwrap();
    fs::read(path).unwrap()
}

#[tokio::test]
async fn the_same_content_makes_the_same_archive() {
    let home = TempDir::new().unwrap();
    let first = archive(&home, "1.tar", &[b"a", b"b", b"c"], &["v1", "latest"]).await;
    let second = archive(&home, "2.tar", &[b"c", b"a", b"b", b"a"], &["latest", "v1", "latest"]).await;
    assert!(first == second);

    let mut archive = tar::Archive::new(first.as_slice());
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let mode = if header.entry_type().is_dir() { 0o755 } else { 0o644 };
        assert_eq!(header.mode().unwrap(), mode);
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
        assert_eq!((header.username().unwrap(), header.groupname().unwrap()), (Some(""), Some("")));
        names.push(String::from_utf8(entry.path_bytes().into_owned()).unwrap());
    }
    assert_eq!(names[..5], ["oci-layout", "index.json", "manifest.json", "blobs/", "blobs/sha256/"]);
    assert!(names[5..].is_sorted());
    assert_eq!(names.len(), 5 + 5 + 2, "{names:?}");
    assert!(names.last().unwrap().ends_with(&Algorithm::Sha512.digest(b"long").hex()), "a long name is whole");
}

#[tokio::test]
async fn an_archive_is_there_when_it_is_finished_and_not_before() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("layout.tar");
    fs::write(&path, "what was there").unwrap();
    let writer = ArchiveWriter::create(&path).await.unwrap();
    let image = push_blobs(&writer, &[b"layer"]).await;
    writer.tag(&image, &tag("v1")).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"what was there");
    drop(writer);
    assert_eq!(fs::read(&path).unwrap(), b"what was there");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left beside it");

    let writer = ArchiveWriter::create(&path).await.unwrap();
    writer.tag(&push_blobs(&writer, &[b"layer"]).await, &tag("v1")).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(Archive::at(&path).await.unwrap().sole().unwrap(), image.descriptor());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn archives_of_other_programs_are_read() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("layout");
    let directory = Directory::create(&path).await.unwrap();
    let image = push_blobs(&directory, &[b"layer"]).await;
    directory.tag(&image, &tag("v1")).await.unwrap();
    let long = Descriptor { digest: Algorithm::Sha512.digest(b"long"), ..blob(b"long").0 };
    directory.push(&long, &blob(b"long").1).await.unwrap();

    // As `tar -C layout -cf layout.tar .` writes it: names with `./`, long ones as GNU tar has them.
    let file = home.path().join("layout.tar");
    let mut builder = tar::Builder::new(File::create(&file).unwrap());
    builder.append_dir_all("./", &path).unwrap();
    builder.finish().unwrap();
    let archive = Archive::at(&file).await.unwrap();
    assert_eq!(archive.manifest(&tag("v1").into()).await.unwrap(), image);
    assert_eq!(sample::read(&archive, &long).await.unwrap(), b"long".as_slice());
}
