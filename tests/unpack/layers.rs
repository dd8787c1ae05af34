//! Layers that other tools make: how they are compressed, and how one lies over another.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bndlr::manifest::media_type;
use bndlr::unpack::{Error, ListedKind};

use super::archives::{Image, Tar, gzip};
use super::{names, unpacked};

#[tokio::test]
async fn layers_may_be_gzip_zstd_or_plain_whatever_they_are_called() {
    let tar = Tar::new().dir("d").file("d/f", "contents").end();
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    for blob in [gzip(&tar), zstd, tar.clone(), [gzip(&tar[..512]), gzip(&tar[512..])].concat()] {
        for media_type in [
            media_type::OCI_LAYER,
            media_type::OCI_LAYER_GZIP,
            media_type::OCI_LAYER_ZSTD,
            media_type::DOCKER_LAYER_GZIP,
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ] {
            let mut image = Image::new().layer(media_type, blob.clone(), &tar);
            image.chunk = 3;
            image.is_docker = media_type.contains("docker");
            assert_eq!(names(image).await, ["d/", "d/f"], "{media_type}");
        }
    }
}

#[tokio::test]
async fn whiteouts_hide_what_lower_layers_have_and_nothing_else() {
    let lower = || Tar::new().dir("d").file("d/old", "").file("d/keep", "").dir("e").file("e/x", "").file("f", "");
    let image = |upper: Tar| Image::of(lower()).gzip(upper);
    let plain = image(Tar::new().file("d/.wh.old", "").file(".wh.e", "").file(".wh.nothing", ""));
    assert_eq!(names(plain).await, ["d/", "d/keep", "f"]);
    // Wherever the opaque whiteout stands in its layer, what the layer itself has stays.
    for upper in [
        Tar::new().dir("d").file("d/new", "").file("d/.wh..wh..opq", ""),
        Tar::new().dir("d").file("d/.wh..wh..opq", "").file("d/new", ""),
        Tar::new().file("d/.wh..wh..opq", "").dir("d").file("d/new", ""),
    ] {
        assert_eq!(names(image(upper)).await, ["d/", "d/new", "e/", "e/x", "f"]);
    }
    assert_eq!(names(image(Tar::new().file("new", "").file(".wh..wh..opq", ""))).await, ["new"]);
    // A whiteout and an entry of one name, in either order.
    for upper in [Tar::new().file(".wh.f", "").file("f", "new"), Tar::new().file("f", "new").file(".wh.f", "")] {
        assert!(unpacked(image(upper)).await.unwrap()["f"].contains(" new "));
    }
    for upper in
        [Tar::new().file(".wh.d", "").dir("d").file("d/n", ""), Tar::new().dir("d").file("d/n", "").file(".wh.d", "")]
    {
        assert_eq!(names(image(upper)).await, ["d/", "d/n", "e/", "e/x", "f"]);
    }
    // Umoci hides what was in a directory that is a file now.
    let file = Tar::new().file("d", "now a file").file("d/.wh.old", "").file("d/.wh..wh..opq", "");
    assert_eq!(names(image(file)).await, ["d", "e/", "e/x", "f"]);
    // What is hidden in one layer may come back in the next, and be hidden in the one after.
    let again = image(Tar::new().file(".wh.f", "")).gzip(Tar::new().file("f", "back"));
    assert!(unpacked(again.clone()).await.unwrap()["f"].contains("back"));
    assert!(!names(again.gzip(Tar::new().file(".wh.f", ""))).await.contains(&"f".to_owned()));
    // Left over from AUFS.
    assert_eq!(
        names(Image::of(Tar::new().dir(".wh..wh.plnk").file(".wh..wh.plnk/1.2", "").file("f", ""))).await,
        ["f"]
    );
}

#[tokio::test]
async fn a_directory_that_a_layer_makes_anew_has_what_that_layer_has() {
    // More files than one thread is given at once.
    let layer = |front: Tar, contents: &str| {
        let front = front.dir("app/sub");
        (0..300).fold(front, |tar, number| tar.file(&format!("app/sub/f{number:04}"), contents))
    };
    for whiteout in ["app/.wh..wh..opq", "app/.wh.sub", ".wh.app"] {
        let upper = layer(Tar::new().file(whiteout, "").dir("app"), "new");
        let found = unpacked(Image::of(layer(Tar::new().dir("app"), "old")).gzip(upper)).await.unwrap();
        assert_eq!(found.values().filter(|what| what.contains(" new ")).count(), 300, "{whiteout}");
    }
}

#[tokio::test]
async fn the_last_of_two_entries_wins() {
    let lower = || Tar::new().dir("d").file("d/f", "").file("f", "lower").symlink("l", "d");
    for upper in [Tar::new().file("d", "now a file"), Tar::new().symlink("d", "elsewhere")] {
        assert_eq!(names(Image::of(lower()).gzip(upper.clone())).await, ["d", "f", "l"]);
        let in_one_layer = Tar([lower().0, upper.0].concat());
        assert_eq!(names(Image::of(in_one_layer)).await, ["d", "f", "l"]);
    }
    let found = unpacked(Image::of(lower()).gzip(Tar::new().dir("f").file("f/x", "").dir("l"))).await.unwrap();
    assert_eq!(found["f"], "directory 755");
    assert_eq!(found["l"], "directory 755", "a link is replaced, not followed");
    let twice = unpacked(Image::of(Tar::new().file("f", "first").file("f", "second"))).await.unwrap();
    assert!(twice["f"].contains("second"));
    // A directory's entry leaves what is in it, and has the last word on its mode.
    let mode = Tar::new().entry("d", b'5', 0o750, "", b"");
    let found = unpacked(Image::of(lower()).gzip(mode)).await.unwrap();
    assert_eq!(found["d"], "directory 750");
    assert!(found.contains_key("d/f"));
}

#[tokio::test]
async fn entries_below_links_go_where_a_process_in_the_image_would_put_them() {
    let merged = Tar::new().dir("usr").dir("usr/bin").symlink("bin", "usr/bin").symlink("sbin", "/usr/bin");
    let image = Image::of(merged).gzip(Tar::new().file("bin/sh", "").file("sbin/init", ""));
    assert_eq!(names(image).await, ["bin", "sbin", "usr/", "usr/bin/", "usr/bin/init", "usr/bin/sh"]);
    // Further up than the top there is nothing; what a link leads to is made.
    let up = Tar::new().symlink("up", "../../../far/away").file("up/x", "").symlink("abs", "/far").file("abs/y", "");
    assert_eq!(names(Image::of(up)).await, ["abs", "far/", "far/away/", "far/away/x", "far/y", "up"]);
    let found = unpacked(Image::of(Tar::new().symlink("etc/mtab", "/proc/mounts"))).await.unwrap();
    assert_eq!(found["etc/mtab"], "-> /proc/mounts");
    let hidden =
        Image::of(Tar::new().file("usr/bin/a", "").symlink("bin", "usr/bin")).gzip(Tar::new().file("bin/.wh.a", ""));
    assert_eq!(names(hidden).await, ["bin", "usr/", "usr/bin/"]);
}

#[tokio::test]
async fn hard_links_share_a_file_within_the_image() {
    let tar = Tar::new()
        .file("usr/bin/perl", "perl")
        .hard_link("usr/bin/perl5", "usr/bin/perl")
        .hard_link("absolute", "/usr/bin/perl")
        .symlink("bin", "/usr/bin")
        .hard_link("through", "./bin/perl")
        .hard_link("link", "bin");
    let mut image = Image::of(tar).gzip(Tar::new().hard_link("upper", "usr/bin/perl").file("usr/bin/perl", "new"));
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("t");
    image.unpack(&target).await.unwrap();
    let inode = |path: &str| fs::symlink_metadata(target.join(path)).unwrap().ino();
    for path in ["absolute", "through", "upper"] {
        assert_eq!(inode(path), inode("usr/bin/perl5"));
        assert_eq!(fs::read(target.join(path)).unwrap(), b"perl");
    }
    assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("/usr/bin"));
    assert_eq!(fs::read(target.join("usr/bin/perl")).unwrap(), b"new", "a new file, not a changed one");
}

#[tokio::test]
async fn what_oras_pushes_comes_back_as_oras_pulls_it() {
    let title = "org.opencontainers.image.title";
    let tar = gzip(&Tar::new().dir("site").file("site/.wh.index", "kept").end());
    let image = Image::new()
        .blob(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            tar.clone(),
            &[(title, "site"), ("io.deis.oras.content.unpack", "true")],
        )
        .blob("text/plain", b"hello".to_vec(), &[(title, "docs/readme.txt")])
        .blob(media_type::OCI_EMPTY, b"{}".to_vec(), &[])
        .artifact();
    assert_eq!(names(image).await, ["docs/", "docs/readme.txt", "site/", "site/.wh.index"]);
    let chart = Image::new().blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", tar, &[]).artifact();
    assert_eq!(names(chart.clone()).await, ["site/"]);
    let unknown = chart.blob("application/vnd.example", b"x".to_vec(), &[]);
    let error = unpacked(unknown).await.unwrap_err();
    assert!(matches!(error, Error::MediaType { .. }), "{error}");
}

#[tokio::test]
async fn a_list_has_what_is_there_after_all_layers() {
    let lower = Tar::new().dir("d").entry("d/x", b'0', 0o4755, "", b"abc").file("gone", "");
    let mut image = Image::of(lower).gzip(Tar::new().file(".wh.gone", "").symlink("l", "/etc"));
    let listed = image.list().await.unwrap();
    let shown: Vec<_> = listed.iter().map(|item| (item.path.to_str().unwrap(), item.mode, item.kind.clone())).collect();
    assert_eq!(
        shown,
        [
            ("d", 0o755, ListedKind::Directory),
            ("d/x", 0o755, ListedKind::File { size: 3 }),
            ("l", 0o777, ListedKind::Symlink { target: "/etc".into() }),
        ]
    );
}
