//! Image layouts that lie: each is refused with an error that says what is wrong, and none makes a reader wait, write,
//! or hold more than it should.

mod sample;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use bndlr::content::{Error, ErrorKind, Source, Target};
use bndlr::layout::{Archive, ArchiveWriter, Directory};
use bndlr::manifest::Descriptor;
use futures::TryStreamExt;
use sample::{blob, image_index, kind, push_blobs, read, tag};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

const MARKER: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

/// A layout with the image `v1`, which has one layer, `layer`.
async fn layout() -> (TempDir, Directory) {
    let home = TempDir::new().unwrap();
    let directory = Directory::create(home.path()).await.unwrap();
    let image = push_blobs(&directory, &[b"layer"]).await;
    directory.tag(&image, &tag("v1")).await.unwrap();
    (home, directory)
}

fn blob_path(layout: &Path, content: &[u8]) -> PathBuf {
    layout.join("blobs/sha256").join(blob(content).0.digest.hex())
}

/// An archive of these entries.
fn archive(home: &TempDir, entries: &[(&str, &[u8])]) -> PathBuf {
    let path = home.path().join("layout.tar");
    let mut builder = Builder::new(File::create(&path).unwrap());
    for (name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.finish().unwrap();
    path
}

/// What is wrong with the archive, which has to be its content.
async fn refusal(path: &Path) -> String {
    let error = Archive::at(path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Content, "{error}");
    error.to_string()
}

/// Changes the header at `offset`, and makes its checksum right again.
fn change_header(path: &Path, offset: u64, change: impl FnOnce(&mut Header)) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut header = Header::new_old();
    file.read_exact_at(header.as_mut_bytes(), offset).unwrap();
    change(&mut header);
    header.set_cksum();
    file.write_all_at(header.as_bytes(), offset).unwrap();
}

#[tokio::test]
async fn what_is_no_layout_or_of_another_version_is_refused() {
    for (file, content, expected) in [
        ("oci-layout", None, "it has no oci-layout"),
        ("index.json", None, "it has no index.json"),
        ("oci-layout", Some(r#"{"imageLayoutVersion":"2.0.0"}"#), "\"2.0.0\", expected \"1.0.0\""),
        ("oci-layout", Some(r#"{"imageLayoutVersion":1}"#), "oci-layout of"),
        ("oci-layout", Some("{}"), "imageLayoutVersion"),
        ("oci-layout", Some("<html>"), "oci-layout of"),
        ("index.json", Some(""), "index.json of"),
        ("index.json", Some("[1,2]"), "index.json of"),
        ("index.json", Some("{}"), "does not have the schema version 2"),
        ("index.json", Some(r#"{"schemaVersion":1,"manifests":[]}"#), "does not have the schema version 2"),
        ("index.json", Some(r#"{"schemaVersion":2,"manifests":{}}"#), "index.json of"),
    ] {
        let (home, _) = layout().await;
        let other = if file == "index.json" { ("oci-layout", MARKER) } else { ("index.json", INDEX) };
        let mut entries = vec![(other.0, other.1.as_bytes())];
        match content {
            None => fs::remove_file(home.path().join(file)).unwrap(),
            Some(content) => {
                fs::write(home.path().join(file), content).unwrap();
                entries.push((file, content.as_bytes()));
            }
        }
        let error = Directory::at(home.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Content, "{file} {content:?}");
        assert!(error.to_string().contains(expected), "{error}");

        let home = TempDir::new().unwrap();
        let error = refusal(&archive(&home, &entries)).await;
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn files_that_are_too_large_are_not_read() {
    let (home, directory) = layout().await;
    for (file, size) in [("index.json", 4 * 1024 * 1024 + 1), ("oci-layout", 1 << 40)] {
        File::options().write(true).open(home.path().join(file)).unwrap().set_len(size).unwrap();
        let error = Directory::at(home.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Content);
        assert!(error.to_string().contains(&format!("{file} of")), "{error}");
        assert!(error.to_string().contains(&format!("{size} bytes")), "{error}");
    }
    assert_eq!(kind(directory.resolve(&tag("v1").into()).await), ErrorKind::Content);

    let home = TempDir::new().unwrap();
    let large = vec![b' '; 4 * 1024 * 1024 + 1];
    let error = refusal(&archive(&home, &[("oci-layout", MARKER.as_bytes()), ("index.json", &large)])).await;
    assert!(error.contains("4194305 bytes, more than the 4194304"), "{error}");
}

#[tokio::test]
async fn an_index_that_became_too_large_is_not_written() {
    let (home, directory) = layout().await;
    let image = directory.manifest(&tag("v1").into()).await.unwrap();
    let filler = "x".repeat(4 * 1024 * 1024 - 60);
    let full = format!(r#"{{"schemaVersion":2,"manifests":[],"x":"{filler}"}}"#);
    fs::write(home.path().join("index.json"), &full).unwrap();
    assert_eq!(kind(directory.tag(&image, &tag("v2")).await), ErrorKind::Local);
    assert_eq!(fs::read_to_string(home.path().join("index.json")).unwrap(), full, "it is as it was");
}

#[tokio::test]
async fn a_tag_that_means_two_manifests_is_refused() {
    let (home, directory) = layout().await;
    let first = directory.manifest(&tag("v1").into()).await.unwrap();
    let second = push_blobs(&directory, &[b"second"]).await;
    directory.tag(&second, &tag("v2")).await.unwrap();
    let index = fs::read_to_string(home.path().join("index.json")).unwrap();
    fs::write(home.path().join("index.json"), index.replace("\"v2\"", "\"v1\"")).unwrap();
    let error = directory.resolve(&tag("v1").into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Content);
    assert!(error.to_string().contains(&second.digest().to_string()), "{error}");
    directory.tag(&first, &tag("v1")).await.unwrap();
    assert_eq!(directory.manifest(&tag("v1").into()).await.unwrap(), first, "setting the tag puts it right");
}

#[tokio::test]
async fn a_blob_with_wrong_content_fails_on_its_last_byte() {
    let (home, directory) = layout().await;
    let content = sample::large();
    let descriptor = Descriptor::of("", &content);
    directory.push(&descriptor, &sample::Content(content.clone())).await.unwrap();
    let mut wrong = content.to_vec();
    wrong[100] ^= 1;
    fs::write(blob_path(home.path(), &content), &wrong).unwrap();
    let name = format!("blobs/sha256/{}", descriptor.digest.hex());
    let elsewhere = TempDir::new().unwrap();
    let path =
        archive(&elsewhere, &[("oci-layout", MARKER.as_bytes()), ("index.json", INDEX.as_bytes()), (&name, &wrong)]);
    let archive = Archive::at(path).await.unwrap();
    for source in [&directory as &dyn Source, &archive] {
        let mut reader = source.open(&descriptor).await.unwrap();
        let mut seen = 0;
        let error = loop {
            match reader.try_next().await {
                Ok(chunk) => seen += chunk.expect("an error before the end").len(),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Content);
        assert!(seen < content.len(), "the last bytes are withheld");
    }
}

#[tokio::test]
async fn a_blob_of_another_size_is_refused_and_written_again() {
    let (home, directory) = layout().await;
    let (layer, content) = blob(b"layer");
    for wrong in ["", "laye", "layer and more"] {
        fs::write(blob_path(home.path(), b"layer"), wrong).unwrap();
        assert_eq!(kind(read(&directory, &layer).await), ErrorKind::Content, "{wrong:?}");
        assert!(!directory.exists(&layer).await.unwrap(), "{wrong:?}");
        directory.push(&layer, &content).await.unwrap();
        assert_eq!(read(&directory, &layer).await.unwrap(), b"layer".as_slice());
    }
}

#[tokio::test]
async fn a_manifest_with_wrong_content_is_refused() {
    let (home, directory) = layout().await;
    let image = directory.manifest(&tag("v1").into()).await.unwrap();
    let wrong = String::from_utf8(image.bytes().to_vec()).unwrap().replace("x-unknown", "x-UNKNOWN");
    fs::write(blob_path(home.path(), image.bytes()), wrong).unwrap();
    assert_eq!(kind(directory.manifest(&tag("v1").into()).await), ErrorKind::Content);
    assert_eq!(kind(directory.manifest(&image.digest().into()).await), ErrorKind::Content);
    fs::remove_file(home.path().join("index.json")).unwrap();
    fs::write(home.path().join("index.json"), INDEX).unwrap();
    assert_eq!(kind(directory.resolve(&image.digest().into()).await), ErrorKind::Content, "not listed, and wrong");
}

#[tokio::test]
async fn links_are_followed_to_files_and_believed_only_if_the_content_is_right() {
    let (home, directory) = layout().await;
    let (layer, _) = blob(b"layer");
    let path = blob_path(home.path(), b"layer");
    let elsewhere = home.path().join("elsewhere");
    fs::write(&elsewhere, "layer").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_eq!(read(&directory, &layer).await.unwrap(), b"layer".as_slice());
    for secret in ["token", "a longer secret"] {
        fs::write(&elsewhere, secret).unwrap();
        assert_eq!(kind(read(&directory, &layer).await), ErrorKind::Content);
    }

    for (target, expected) in [("/dev/zero", ErrorKind::Local), ("/", ErrorKind::Local), ("gone", ErrorKind::NotFound)]
    {
        fs::remove_file(&path).unwrap();
        symlink(target, &path).unwrap();
        assert_eq!(kind(read(&directory, &layer).await), expected, "{target}");
    }
    symlink(&path, home.path().join("blobs/sha256/loop")).unwrap();
    fs::remove_file(&path).unwrap();
    symlink("loop", &path).unwrap();
    assert_eq!(kind(read(&directory, &layer).await), ErrorKind::Local);
}

/// To open a pipe waits for a writer, for ever.
#[tokio::test]
async fn a_pipe_in_place_of_a_file_makes_nobody_wait() {
    let (home, directory) = layout().await;
    let path = blob_path(home.path(), b"layer");
    fs::remove_file(&path).unwrap();
    pipe(&path);
    assert_eq!(kind(read(&directory, &blob(b"layer").0).await), ErrorKind::Local);
    pipe(&home.path().join("layout.tar"));
    assert_eq!(kind(Archive::at(home.path().join("layout.tar")).await), ErrorKind::Local);
}

fn pipe(path: &Path) {
    let directory = File::open(path.parent().unwrap()).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(directory, path.file_name().unwrap(), kind, mode, 0).unwrap();
}

#[tokio::test]
async fn image_indexes_that_are_broken_lead_nowhere() {
    let (home, directory) = layout().await;
    let image = directory.manifest(&tag("v1").into()).await.unwrap();
    let index = image_index(&[&image]);
    directory.tag(&index, &tag("multi")).await.unwrap();
    fs::write(blob_path(home.path(), index.bytes()), "broken").unwrap();
    let other = push_blobs(&directory, &[b"other"]).await;
    directory.push(&other.descriptor(), &other).await.unwrap();
    assert!(directory.exists(&other.descriptor()).await.unwrap());
    assert_eq!(kind(directory.manifest(&tag("multi").into()).await), ErrorKind::Content);
}

#[tokio::test]
async fn what_is_no_tar_archive_is_refused() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("layout.tar");
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    compressed.write_all(&sample::large()[..4096]).unwrap();
    for (content, expected) in [
        (b"".to_vec(), "is not a tar archive"),
        (b"PK\x03\x04".to_vec(), "is not a tar archive"),
        (vec![b'x'; 4096], "is not a tar archive"),
        (compressed.finish().unwrap(), "is compressed"),
        (vec![0; 1024], "it has no oci-layout"),
    ] {
        fs::write(&path, content).unwrap();
        let error = refusal(&path).await;
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn an_archive_that_is_cut_short_is_refused_wherever_it_is_cut() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("layout.tar");
    let writer = ArchiveWriter::create(&path).await.unwrap();
    let image = push_blobs(&writer, &[b"layer", &[7; 2000]]).await;
    writer.tag(&image, &tag("v1")).await.unwrap();
    writer.finish().await.unwrap();
    Archive::at(&path).await.unwrap();
    let whole = fs::read(&path).unwrap();
    for length in (0..=whole.len() - 1024).step_by(256) {
        fs::write(&path, &whole[..length]).unwrap();
        refusal(&path).await;
    }
}

#[tokio::test]
async fn sizes_that_lie_are_refused() {
    let home = TempDir::new().unwrap();
    let entries = [("oci-layout", MARKER.as_bytes()), ("index.json", INDEX.as_bytes())];
    for size in [4096, 1 << 33, 1 << 62, u64::MAX] {
        let path = archive(&home, &entries);
        change_header(&path, 0, |header| header.set_size(size));
        let error = refusal(&path).await;
        assert!(error.contains("\"oci-layout\" has") || error.contains("broken header at byte 0"), "{size}: {error}");
    }
    let path = archive(&home, &entries);
    change_header(&path, 1024, |header| header.as_old_mut().size.copy_from_slice(b"not a number"));
    assert!(refusal(&path).await.contains("broken header at byte 1024"));
    let path = archive(&home, &entries);
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"x", 1024 + 50).unwrap();
    assert!(refusal(&path).await.contains("broken header at byte 1024"), "its checksum is wrong");
}

/// One extended header, then a layout.
fn extended(home: &TempDir, kind: EntryType, content: &[u8]) -> PathBuf {
    let path = home.path().join("layout.tar");
    let mut builder = Builder::new(File::create(&path).unwrap());
    let mut add = |name: &str, kind: EntryType, content: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    };
    add("extended", kind, content);
    add("oci-layout", EntryType::Regular, MARKER.as_bytes());
    add("index.json", EntryType::Regular, INDEX.as_bytes());
    builder.finish().unwrap();
    path
}

#[tokio::test]
async fn extended_headers_that_lie_are_refused() {
    let home = TempDir::new().unwrap();
    let megabyte = vec![b'x'; 1024 * 1024];
    for (kind, content, expected) in [
        (EntryType::XHeader, megabyte.as_slice(), "extended header of 1048576 bytes"),
        (EntryType::GNULongName, &megabyte, "extended header of 1048576 bytes"),
        (EntryType::XHeader, b"99 path=x\n", "broken header at byte 0"),
        (EntryType::XHeader, b"12 size=abc\n", "broken header at byte 0"),
        (EntryType::XHeader, b"9 path=a\n9 path=b\n", "broken header at byte 0"),
        (EntryType::GNULongName, b"a\0b", "broken header at byte 0"),
        (EntryType::XHeader, b"11 size=-1\n", "broken header at byte 0"),
        (EntryType::XHeader, b"17 size=99999999\n", "\"oci-layout\" has 99999999 bytes"),
        (EntryType::XHeader, b"29 size=18446744073709551615\n", "\"oci-layout\" has 18446744073709551615 bytes"),
        (EntryType::XHeader, b"10 path=a\n", "it has no oci-layout"),
        (EntryType::GNULongName, b"blobs/../oci-layout\0", "it has no oci-layout"),
        (EntryType::GNUSparse, b"", "\"extended\" of"),
    ] {
        let error = refusal(&extended(&home, kind, content)).await;
        assert!(error.contains(expected), "{error}");
    }
    for ignored in [EntryType::XGlobalHeader, EntryType::GNULongLink, EntryType::Symlink, EntryType::Fifo] {
        Archive::at(extended(&home, ignored, b"")).await.unwrap();
    }
}

#[tokio::test]
async fn an_archive_with_too_many_entries_is_refused() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("layout.tar");
    let mut header = Header::new_ustar();
    header.set_path("x").unwrap();
    header.set_size(0);
    header.set_cksum();
    fs::write(&path, header.as_bytes().repeat(100_001)).unwrap();
    assert!(refusal(&path).await.contains("more than 100000 entries"));
}

#[tokio::test]
async fn names_that_only_look_like_blobs_are_none() {
    let home = TempDir::new().unwrap();
    let (layer, _) = blob(b"layer");
    let hex = layer.digest.hex();
    let names = [
        format!("blobs/sha256/{}", hex.to_uppercase()),
        format!("blobs/sha256/{hex}/"),
        format!("blobs/sha256/x/../{hex}"),
        format!("blobs//sha256/{hex}"),
        format!("/blobs/sha256/{hex}"),
        format!("x/blobs/sha256/{hex}"),
        format!("blobs/sha512/{hex}"),
        format!("blobs/sha256:{hex}"),
    ];
    let mut entries = vec![("oci-layout", MARKER.as_bytes()), ("index.json", INDEX.as_bytes())];
    let path = home.path().join("layout.tar");
    entries.extend(names.iter().map(|name| (name.as_str(), b"layer".as_slice())));
    let mut builder = Builder::new(File::create(&path).unwrap());
    for (name, content) in entries {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.finish().unwrap();
    let archive = Archive::at(&path).await.unwrap();
    assert_eq!(kind(read(&archive, &layer).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn of_two_blobs_with_one_name_the_last_counts() -> Result<(), Error> {
    let home = TempDir::new().unwrap();
    let (layer, _) = blob(b"layer");
    let name = format!("./blobs/sha256/{}", layer.digest.hex());
    let right = [(name.as_str(), b"wrong".as_slice()), (&name, b"layer")];
    let wrong = [right[1], right[0]];
    for (blobs, is_right) in [(right, true), (wrong, false)] {
        let own = [("oci-layout", MARKER.as_bytes()), ("./index.json", INDEX.as_bytes())];
        let entries: Vec<_> = own.into_iter().chain(blobs).collect();
        let archive = Archive::at(archive(&home, &entries)).await?;
        match read(&archive, &layer).await {
            Ok(content) => assert!(is_right && content == b"layer".as_slice()),
            Err(error) => assert!(!is_right && error.kind() == ErrorKind::Content),
        }
    }
    Ok(())
}

/// A terminal would obey them.
#[tokio::test]
async fn errors_do_not_pass_on_control_characters() {
    let (home, directory) = layout().await;
    let index = fs::read_to_string(home.path().join("index.json")).unwrap();
    fs::write(home.path().join("index.json"), index.replace("\"v1\"", r#""v1\u001b[2J""#)).unwrap();
    let error = directory.resolve(&tag("v2").into()).await.unwrap_err().to_string();
    assert!(error.contains(r"it has v1\u{1b}[2J") && !error.contains('\x1b'), "{error}");

    let elsewhere = TempDir::new().unwrap();
    let path = archive(&elsewhere, &[("\x1b[2J", b"")]);
    change_header(&path, 0, |header| header.set_size(4096));
    let error = refusal(&path).await;
    assert!(error.contains(r"\u{1b}[2J") && !error.contains('\x1b'), "{error}");
}

/// Who reads while the archive is cut finds out.
#[tokio::test]
async fn an_archive_that_shrinks_while_it_is_read_is_an_error() {
    let home = TempDir::new().unwrap();
    let content = sample::large();
    let descriptor = Descriptor::of("", &content);
    let name = format!("blobs/sha256/{}", descriptor.digest.hex());
    let path =
        archive(&home, &[("oci-layout", MARKER.as_bytes()), ("index.json", INDEX.as_bytes()), (&name, &content)]);
    let opened = Archive::at(&path).await.unwrap();
    File::options().write(true).open(&path).unwrap().set_len(1024 * 1024).unwrap();
    assert_eq!(kind(read(&opened, &descriptor).await), ErrorKind::Content);
}
