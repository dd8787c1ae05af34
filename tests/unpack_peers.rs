//! Images and archives that other programs make are unpacked as those programs unpack them.

mod archives;
mod peer;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use archives::{Image, snapshot};
use bndlr::content::Source;
use bndlr::layout::Directory;
use bndlr::manifest::media_type;
use bndlr::unpack::{UnpackOptions, unpack};

fn run(program: &Path, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {errors}", program.display());
}

/// Directories, links of both kinds, long names, modes: what images have.
fn fill(root: &Path) {
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("etc/conf.d/deep")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("/proc/mounts", root.join("etc/mtab")).unwrap();
    fs::write(root.join("usr/bin/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("usr/bin/tool"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/alias")).unwrap();
    fs::write(root.join("etc/conf.d/deep").join("é".repeat(110)), "long").unwrap();
    fs::write(root.join("etc/conf.d/a"), "a").unwrap();
    fs::write(root.join("etc/passwd"), "root").unwrap();
}

#[tokio::test]
async fn layers_of_umoci_are_applied_as_umoci_applies_them() {
    let Some(umoci) = peer::require("umoci") else { return };
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let image = format!("{}:t", text("layout"));
    run(&umoci, &["init", "--layout", &text("layout")]);
    run(&umoci, &["new", "--image", &image]);
    run(&umoci, &["unpack", "--rootless", "--image", &image, &text("work")]);
    fill(&path("work/rootfs"));
    run(&umoci, &["repack", "--refresh-bundle", "--image", &image, &text("work")]);
    fs::remove_dir_all(path("work/rootfs/etc/conf.d")).unwrap();
    fs::remove_file(path("work/rootfs/usr/bin/tool")).unwrap();
    fs::remove_file(path("work/rootfs/bin")).unwrap();
    fs::create_dir(path("work/rootfs/bin")).unwrap();
    fs::write(path("work/rootfs/bin/new"), "new").unwrap();
    fs::write(path("work/rootfs/etc/conf.d"), "now a file").unwrap();
    run(&umoci, &["repack", "--image", &image, &text("work")]);
    run(&umoci, &["unpack", "--rootless", "--image", &image, &text("theirs")]);

    let layout = Directory::at(path("layout")).await.unwrap();
    let manifest = layout.manifest(&"t".parse().unwrap()).await.unwrap();
    unpack(&layout, &manifest, &path("ours"), &UnpackOptions::default()).await.unwrap();
    let (ours, mut theirs) = (snapshot(&path("ours")), snapshot(&path("theirs/rootfs")));
    theirs.insert(String::new(), ours[""].clone());
    assert_eq!(ours, theirs);
    assert!(ours.contains_key("usr/bin/alias") && !ours.contains_key("usr/bin/tool"));
}

#[tokio::test]
async fn archives_of_gnu_tar_are_unpacked_in_every_format_of_it() {
    let Some(tar) = peer::require("tar") else { return };
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name);
    fill(&path("tree"));
    let sparse = fs::File::create(path("tree/sparse")).unwrap();
    sparse.set_len(10 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 5 << 20).unwrap();
    let expected = snapshot(&path("tree"));
    for options in [&["--format=gnu", "--sparse"][..], &["--format=gnu"], &["--format=posix"], &["--format=oldgnu"]] {
        let file = path("archive");
        let tree = path("tree");
        let rest = ["-cf", file.to_str().unwrap(), "-C", tree.to_str().unwrap(), "."];
        run(&tar, &[options, &rest].concat());
        let archive = fs::read(&file).unwrap();
        let mut image = Image::new().layer(media_type::OCI_LAYER, archive.clone(), &archive);
        image.chunk = 100_000;
        image.unpack(&path("ours")).await.unwrap();
        assert_eq!(snapshot(&path("ours")), expected, "{options:?}");
        fs::remove_dir_all(path("ours")).unwrap();
    }
}
