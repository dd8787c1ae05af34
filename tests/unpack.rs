//! Unpacking of images as they should be: bundles, and those that other tools make.

mod archives;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use archives::ours::{Layer, dir, file, link, program};
use archives::{Image, Tar, gzip, snapshot};
use bndlr::content::{self, ErrorKind, Observer, Open, Outcome, Reader};
use bndlr::digest::Digest;
use bndlr::manifest::{Descriptor, media_type};
use bndlr::unpack::{self, Error, ListedKind, UnpackOptions, Unpacked};
use proptest::prelude::*;

/// Unpacks into a new directory, and returns what is in it. What a list shows has to be the same.
async fn unpacked(mut image: Image) -> Result<BTreeMap<String, String>, Error> {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("target");
    let result = image.unpack(&target).await;
    let left = fs::read_dir(parent.path()).unwrap().count();
    assert_eq!(left, usize::from(result.is_ok()), "something is left beside the target");
    let listed = image.list().await;
    assert_eq!(listed.is_ok(), result.is_ok());
    result?;
    let mut found = snapshot(&target);
    let listed: Vec<_> = listed.unwrap().into_iter().map(|item| item.path.to_string_lossy().into_owned()).collect();
    assert_eq!(found.remove("").unwrap(), "directory 755");
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, found.keys().cloned().collect::<Vec<_>>());
    Ok(found)
}

/// What there is, in short: paths, a slash behind those of directories.
async fn names(image: Image) -> Vec<String> {
    let slash = |(path, what): (String, String)| if what.starts_with("dir") { path + "/" } else { path };
    unpacked(image).await.unwrap().into_iter().map(slash).collect()
}

#[tokio::test]
async fn a_bundle_becomes_the_directory_that_it_was() {
    let rows = [
        dir("app"),
        dir("app/empty"),
        file("app/é.yaml", "kind: Service\n"),
        link("current", "app"),
        program("run.sh", "#!/bin/sh\n"),
        file("z", ""),
    ];
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("made/on/the/way");
    let mut image = Layer::of(&rows).image();
    let fetched = image.manifest().manifest().successors().map(|blob| blob.size).sum();
    let result = image.unpack(&target).await.unwrap();
    assert_eq!(result, Unpacked { directory: target.clone(), files: 3, bytes: 24, bytes_fetched: fetched });
    let found: Vec<_> = snapshot(&target).into_iter().map(|(path, what)| format!("{path}: {what}")).collect();
    let digest = |contents: &str| Digest::sha256(contents.as_bytes()).short();
    assert_eq!(
        found,
        [
            ": directory 755".to_owned(),
            "app: directory 755".to_owned(),
            "app/empty: directory 755".to_owned(),
            format!("app/é.yaml: file 644 14 kind: Service\n {}", digest("kind: Service\n")),
            "current: -> app".to_owned(),
            format!("run.sh: file 755 10 #!/bin/sh\n {}", digest("#!/bin/sh\n")),
            format!("z: file 644 0  {}", digest("")),
        ]
    );
}

#[tokio::test]
async fn bundles_of_any_size_are_read_member_by_member() {
    let noise = |seed: u32, length: usize| -> Vec<u8> {
        (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
    };
    assert_eq!(names(Layer::of(&[]).image()).await, [] as [&str; 0]);
    // Around one step, where the two zero blocks come to lie in a member of their own size or over it.
    for size in [1 << 20, (1 << 20) - 512, (1 << 20) - 1024, (1 << 20) + 1, (2 << 20) - 512, 3_333_333] {
        assert_eq!(names(Layer::of(&[file("large", noise(1, size))]).image()).await, ["large"]);
        let rows = [file("a", "a"), file("large", noise(2, size)), file("z", "z")];
        assert_eq!(names(Layer::of(&rows).image()).await, ["a", "large", "z"]);
    }
    let many: Vec<_> = (0..700).map(|n| file(&format!("f{n:04}"), noise(n, n as usize * 7))).collect();
    let found = unpacked(Layer::of(&many).image()).await.unwrap();
    for (entry, contents) in &many {
        assert!(found[entry.path()].ends_with(&Digest::sha256(contents).short()), "{}", entry.path());
    }
}

#[tokio::test]
async fn a_bundle_in_schema_2_has_its_annotations_in_labels() {
    let mut image = Layer::of(&[file("a", "a")]).image();
    let annotations = std::mem::take(&mut image.layers[0].annotations);
    image.is_docker = true;
    image.labels = annotations.into_iter().map(|(key, value)| (format!("{key}.0"), value)).collect();
    assert_eq!(names(image.clone()).await, ["a"]);
    // So they are heeded: a wrong one is noticed.
    image.labels.insert("dev.bndlr.format.0".into(), "2".into());
    assert!(unpacked(image).await.unwrap_err().to_string().contains("format \"2\" is not known"));
}

#[tokio::test]
async fn a_bundle_of_several_layers_is_one_directory() {
    let first = Layer::of(&[dir("a"), file("a/1", "1")]);
    let second = Layer::of(&[dir("a"), file("a/2", "2"), link("b", "a/1")]);
    assert_eq!(names(second.add_to(first.image())).await, ["a/", "a/1", "a/2", "b"]);
    let again = Layer::of(&[dir("a"), file("a/1", "other")]);
    let error = unpacked(again.add_to(Layer::of(&[dir("a"), file("a/1", "1")]).image())).await.unwrap_err();
    assert!(error.to_string().contains("\"a/1\" is there already"), "{error}");
}

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
async fn modes_are_exact_and_give_nobody_more_than_they_say() {
    let tar = Tar::new()
        .entry("dir", b'5', 0o555, "", b"")
        .entry("dir/f", b'0', 0o666, "", b"")
        .entry("closed", b'5', 0o000, "", b"")
        .entry("suid", b'0', 0o4755, "", b"")
        .entry("sgid", b'0', 0o2711, "", b"")
        .entry("tmp", b'5', 0o1777, "", b"")
        .entry("none", b'0', 0, "", b"");
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("t");
    Image::of(tar).unpack(&target).await.unwrap();
    let mode = |path: &str| fs::symlink_metadata(target.join(path)).unwrap().permissions().mode() & 0o7777;
    let found = ["", "dir", "dir/f", "closed", "suid", "sgid", "tmp", "none"].map(mode);
    assert_eq!(found, [0o755, 0o555, 0o666, 0, 0o755, 0o711, 0o777, 0]);
    // So that the directory can be removed.
    for path in ["dir", "closed"] {
        fs::set_permissions(target.join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[tokio::test]
async fn directories_that_nobody_can_enter_are_removed_after_an_error() {
    let tar = Tar::new()
        .entry("d", b'5', 0o500, "", b"")
        .entry("d/e", b'5', 0o000, "", b"")
        .entry("d/e/f", b'0', 0o000, "", b"");
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("t");
    let mut image = Image::of(tar);
    let manifest = image.manifest();
    // Somebody else takes the name while the layer is on its way, so that all is done but the last step.
    let image = Meanwhile(image, target.clone());
    let error = unpack::unpack(&image, &manifest, &target, &UnpackOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Occupied(_)), "{error}");
    let left: Vec<_> = snapshot(parent.path()).into_keys().collect();
    assert_eq!(left, ["", "t", "t/mine"]);
}

/// Makes the target before it yields the last layer.
struct Meanwhile(Image, std::path::PathBuf);

#[async_trait::async_trait]
impl Open for Meanwhile {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        let parent = self.1.parent().unwrap();
        while descriptor.media_type != media_type::OCI_CONFIG && fs::read_dir(parent).unwrap().count() == 0 {
            tokio::task::yield_now().await;
        }
        if descriptor.media_type != media_type::OCI_CONFIG {
            fs::create_dir(&self.1).unwrap();
            fs::write(self.1.join("mine"), "").unwrap();
        }
        self.0.open(descriptor).await
    }
}

#[tokio::test]
async fn an_archive_may_end_with_the_last_byte_of_contents() {
    // As `umoci insert` writes it: nothing fills up the last block, and no zero blocks follow.
    let whole = Tar::new().dir("a").file("a/file", "hello").0;
    let end = whole.len() - 512 + "hello".len();
    let plain = |tar: &[u8]| Image::new().layer(media_type::OCI_LAYER, tar.to_vec(), tar);
    assert_eq!(names(plain(&whole[..end])).await, ["a/", "a/file"]);
    for cut in [end - 1, end + 1, whole.len() - 1] {
        let error = unpacked(plain(&whole[..cut])).await.unwrap_err();
        assert!(error.to_string().contains("breaks off"), "{cut}: {error}");
    }
}

#[tokio::test]
async fn names_may_be_long_or_not_even_text() {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let target = format!("t/{}", "t".repeat(200));
    let newline = "a\nb=c";
    let tar = Tar::new()
        .long_name(&long)
        .file("short", "gnu")
        .long_link(&target)
        .symlink("gnu-link", "short")
        .pax(&[("comment", "x"), ("path", newline)])
        .file("short", "pax")
        .pax(&[("linkpath", &target)])
        .symlink("pax-link", "short")
        .header(b"caf\xe9", b'0', 0o644, b"", 0)
        .tweaked(b"name", b'0', 0o644, b"", 0, |block| block[345..351].copy_from_slice(b"prefix"))
        .entry("pax_global_header", b'g', 0o644, "", b"30 comment=0123456789012345678\n")
        .tweaked(b"old/", 0, 0o755, b"", 0, |block| block[257..265].fill(0))
        .dir("./")
        .file("././dot//f", "");
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("t");
    Image::of(tar).unpack(&directory).await.unwrap();
    assert_eq!(fs::read(directory.join(&long)).unwrap(), b"gnu");
    assert_eq!(fs::read(directory.join(newline)).unwrap(), b"pax");
    assert_eq!(fs::read_link(directory.join("gnu-link")).unwrap(), Path::new(&target));
    assert_eq!(fs::read_link(directory.join("pax-link")).unwrap(), Path::new(&target));
    assert!(directory.join(std::ffi::OsStr::from_bytes(b"caf\xe9")).is_file());
    assert!(directory.join("prefix/name").is_file());
    assert!(directory.join("old").is_dir());
    assert!(directory.join("dot/f").is_file());
}

/// The header of a sparse file that has four bytes at its front, and one at `at`.
fn sparse(at: u64) -> Tar {
    Tar::new()
        .tweaked(b"sparse", b'S', 0o644, b"", 513, |block| {
            block[257..265].copy_from_slice(b"ustar  \0");
            for (field, value) in [(386, 0), (398, 512), (410, at), (422, 1), (483, at + 1)] {
                block[field..field + 11].copy_from_slice(format!("{value:011o}").as_bytes());
            }
        })
        .blocks(&[&b"data"[..], &[0; 508], b"!"].concat())
}

#[tokio::test]
async fn sparse_files_have_holes_again() {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("t");
    let mut tar = sparse(1 << 30);
    tar = tar.file("after", "");
    let result = Image::of(tar).unpack(&target).await.unwrap();
    let metadata = fs::metadata(target.join("sparse")).unwrap();
    assert_eq!((metadata.len(), result.bytes), ((1 << 30) + 1, (1 << 30) + 1));
    assert!(metadata.blocks() * 512 < 1 << 20, "the hole takes {} blocks", metadata.blocks());
    assert!(target.join("after").is_file());
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
async fn the_target_has_to_be_new_or_empty() {
    let parent = tempfile::tempdir().unwrap();
    let mut image = Layer::of(&[file("new", "")]).image();
    let target = |name: &str| parent.path().join(name);
    fs::create_dir(target("empty")).unwrap();
    image.unpack(&target("empty")).await.unwrap();
    assert!(target("empty/new").is_file());

    fs::create_dir(target("full")).unwrap();
    fs::write(target("full/mine"), "").unwrap();
    fs::write(target("file"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", target("dangling")).unwrap();
    let before = snapshot(parent.path());
    for name in ["full", "file", "empty", "dangling"] {
        let error = content::Error::from(image.unpack(&target(name)).await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Local, "{name}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(snapshot(parent.path()), before);

    fs::create_dir(target("shared")).unwrap();
    fs::set_permissions(target("shared"), fs::Permissions::from_mode(0o2775)).unwrap();
    Layer::of(&[dir("a"), dir("a/b")]).image().unpack(&target("shared/t")).await.unwrap();
    let modes: Vec<_> = snapshot(&target("shared/t")).into_values().collect();
    assert_eq!(modes, ["directory 755"; 3], "the set-group-ID bit of the directory around it is inherited");

    std::os::unix::fs::symlink("behind", target("link")).unwrap();
    fs::create_dir(target("behind")).unwrap();
    image.unpack(&target("link")).await.unwrap();
    assert!(target("behind/new").is_file());
}

/// A blob that never ends, or fails in its middle.
struct Broken(Image, bool);

#[async_trait::async_trait]
impl Open for Broken {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        if descriptor.media_type == media_type::OCI_CONFIG {
            return self.0.open(descriptor).await;
        }
        let front = self.0.blobs[&descriptor.digest].slice(..descriptor.size as usize / 2);
        let front = futures::stream::iter([Ok(front)]);
        let error = || content::Error::new(ErrorKind::Remote, "connection reset");
        Ok(if self.1 {
            Reader::new(descriptor, futures::StreamExt::chain(front, futures::stream::iter([Err(error())])))
        } else {
            Reader::new(descriptor, futures::StreamExt::chain(front, futures::stream::pending()))
        })
    }
}

#[tokio::test]
async fn a_source_that_fails_leaves_nothing_and_its_own_error() {
    let parent = tempfile::tempdir().unwrap();
    let mut image = Layer::of(&[dir("a"), file("a/b", (0..=255).collect::<Vec<u8>>().repeat(999))]).image();
    let manifest = image.manifest();
    let target = parent.path().join("not/there/t");
    let error = unpack::unpack(&Broken(image, true), &manifest, &target, &UnpackOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Remote, "connection reset".into()));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "directories on the way are left");
}

#[test]
fn dropping_the_future_stops_the_thread_and_removes_what_it_wrote() {
    let parent = tempfile::tempdir().unwrap();
    let mut image = Layer::of(&[dir("a"), file("a/b", (0..=255).collect::<Vec<u8>>().repeat(9999))]).image();
    let manifest = image.manifest();
    let target = parent.path().join("t");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (source, options) = (Broken(image, false), UnpackOptions::default());
        let unpacking = unpack::unpack(&source, &manifest, &target, &options);
        let begun = async {
            while fs::read_dir(parent.path()).unwrap().count() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            result = unpacking => panic!("{result:?}"),
            () = begun => {}
        }
    });
    // This waits for the thread.
    drop(runtime);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[derive(Default)]
struct Counting(AtomicU64, AtomicU64);

impl Observer for Counting {
    fn advanced(&self, _: &Descriptor, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn finished(&self, _: &Descriptor, _: Outcome) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn an_observer_sees_every_byte_of_every_layer() {
    let parent = tempfile::tempdir().unwrap();
    let mut image = Image::of(Tar::new().file("a", "")).gzip(Tar::new().file("b", ""));
    let manifest = image.manifest();
    let observer = Arc::new(Counting::default());
    let options = UnpackOptions { observer: observer.clone(), ..UnpackOptions::default() };
    unpack::unpack(&image, &manifest, &parent.path().join("t"), &options).await.unwrap();
    let size: u64 = image.layers.iter().map(|layer| layer.size).sum();
    assert_eq!((observer.0.load(Ordering::Relaxed), observer.1.load(Ordering::Relaxed)), (size, 2));
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

#[tokio::test]
async fn trees_may_be_as_deep_as_paths_may_be_long() {
    let mut rows = Vec::new();
    let mut path = String::from("a");
    while path.len() < 3000 {
        rows.push(dir(&path));
        path.push_str("/a");
    }
    rows.push(file(&path, "deep"));
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("t");
    let result = Layer::of(&rows).image().unpack(&target).await.unwrap();
    assert_eq!(result.bytes, 4);
    // And are removed as well, with no more files open than are allowed.
    let mut image = Layer::of(&rows).image();
    image.diff_ids[0] = Digest::sha256(b"another");
    let error = image.unpack(&parent.path().join("u")).await.unwrap_err();
    assert!(error.to_string().contains("diff ID"), "{error}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    // The standard library would need a file handle for each level.
    assert!(std::process::Command::new("rm").arg("-rf").arg(&target).status().unwrap().success());
}

/// Rows of a random tree, in order.
fn trees() -> impl Strategy<Value = Vec<archives::ours::Row>> {
    let name =
        "[a-cé.-]{1,3}".prop_filter("not special", |name| !name.starts_with(".w") && name != "." && name != "..");
    // Now and then one of more than a member.
    let times = prop_oneof![20 => 0..20_usize, 1 => 1000..1500_usize];
    let node = (prop::collection::vec(name, 1..4), 0..4_u8, prop::collection::vec(any::<u8>(), 0..1500), times);
    prop::collection::vec(node, 0..30).prop_map(|nodes| {
        let mut tree: BTreeMap<Vec<String>, (u8, Vec<u8>)> = BTreeMap::new();
        for (path, kind, contents, times) in nodes {
            let is_free = |length: usize| tree.get(&path[..length]).is_none_or(|(kind, _)| *kind == 0);
            if tree.contains_key(&path) || !(1..path.len()).all(is_free) {
                continue;
            }
            for length in 1..path.len() {
                tree.entry(path[..length].to_vec()).or_insert((0, Vec::new()));
            }
            tree.insert(path, (kind, contents.repeat(times)));
        }
        let row = |(path, (kind, contents)): (Vec<String>, (u8, Vec<u8>))| match (kind, path.join("/")) {
            (0, path) => dir(&path),
            (1, path) => link(&path, "no/such/thing"),
            (2, path) => program(&path, contents),
            (_, path) => file(&path, contents),
        };
        tree.into_iter().map(row).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_is_unpacked_as_it_was(rows in trees(), chunk in 1_usize..5000) {
        let mut image = Layer::of(&rows).image();
        image.chunk = chunk;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(unpacked(image)).unwrap();
        prop_assert_eq!(found.len(), rows.len());
        for (entry, contents) in &rows {
            let what = &found[entry.path()];
            match entry.kind() {
                bndlr::bundle::Kind::Directory => prop_assert_eq!(what, "directory 755"),
                bndlr::bundle::Kind::Symlink { target } => prop_assert_eq!(what, &format!("-> {target}")),
                bndlr::bundle::Kind::File { .. } => {
                    let front = format!("file {:o} {} ", entry.mode(), contents.len());
                    prop_assert!(what.starts_with(&front), "{} is not {}", what, front);
                    prop_assert!(what.ends_with(&Digest::sha256(contents).short()));
                }
            }
        }
    }
}
