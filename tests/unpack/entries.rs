//! Entries of archives that other tools make: names, modes, holes, and where an archive ends.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use bndlr::manifest::media_type;

use super::archives::{Image, Tar};
use super::{names, unpacked};

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
