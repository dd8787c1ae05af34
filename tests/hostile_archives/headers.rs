//! Types that are not unpacked, and headers in which readers could see different things.

use super::archives::hostile::{Error, Safe, run_all};
use super::archives::{Image, Tar};
use bndlr::manifest::media_type;

#[tokio::test]
async fn types_and_headers_that_are_not_unpacked() {
    let typed = |kind: u8| Image::of(Tar::new().entry("odd", kind, 0o644, "", b""));
    let sized = |field: &'static [u8]| {
        let tweak = |block: &mut [u8; 512]| block[124..124 + field.len()].copy_from_slice(field);
        Image::of(Tar::new().tweaked(b"size", b'0', 0o644, b"", 0, tweak))
    };
    let cut = |length: usize| {
        let tar = Tar::new().file("f", &"contents".repeat(100)).0;
        Image::new().layer(media_type::OCI_LAYER, tar[..length].to_vec(), &tar[..length])
    };
    let mut flipped = Tar::new().file("f", "").end();
    flipped[0] ^= 1;
    run_all(
        vec![
            ("character device", typed(b'3'), Error(&["\"odd\" is a character device"])),
            ("block device", typed(b'4'), Error(&["a block device"])),
            ("FIFO", typed(b'6'), Error(&["a named pipe"])),
            ("unknown type", typed(b'Z'), Error(&["of type 'Z'"])),
            ("volume header", typed(b'V'), Error(&["of type 'V'"])),
            ("set-uid", Image::of(Tar::new().entry("s", b'0', 0o6755, "", b"")), Safe(&[("s", "file 755")])),
            ("8 EiB in octal", sized(b"77777777777\0"), Error(&["archive breaks off"])),
            (
                "8 EiB in binary",
                sized(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
                Error(&["bytes of files", "\"size\""]),
            ),
            ("16 EiB in binary", sized(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"), Error(&["bytes of files"])),
            ("more than 64 bits", sized(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), Error(&["too large"])),
            ("a negative size", sized(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Error(&["negative"])),
            ("a size that is no number", sized(b"12345x78901\0"), Error(&["no number"])),
            (
                "8 EiB in PAX",
                Image::of(Tar::new().pax(&[("size", "9223372036854775807")]).file("f", "")),
                Error(&["bytes of files"]),
            ),
            (
                "a PAX size over 64 bits",
                Image::of(Tar::new().pax(&[("size", "99999999999999999999")]).file("f", "")),
                Error(&["extension"]),
            ),
            (
                "a link with contents",
                Image::of(Tar::new().entry("l", b'2', 0, "t", &[b'x'; 512])),
                Error(&["has contents"]),
            ),
            (
                "a directory with contents",
                Image::of(Tar::new().entry("d", b'5', 0, "", &[b'x'; 512])),
                Error(&["has contents"]),
            ),
            (
                "a wrong checksum",
                Image::new().layer(media_type::OCI_LAYER, flipped.clone(), &flipped),
                Error(&["checksum"]),
            ),
            (
                "two names in PAX",
                Image::of(Tar::new().pax(&[("path", "a"), ("path", "b")]).file("x", "")),
                Error(&["extension"]),
            ),
            (
                "two names, GNU's and PAX",
                Image::of(Tar::new().long_name("a").pax(&[("path", "b")]).file("x", "")),
                Error(&["two names"]),
            ),
            (
                "two long names",
                Image::of(Tar::new().long_name("a").long_name("b").file("x", "")),
                Error(&["two extension headers"]),
            ),
            ("an extension and then nothing", Image::of(Tar::new().long_name("a")), Error(&["breaks off"])),
            (
                "PAX that is none",
                Image::of(Tar::new().entry("x", b'x', 0, "", b"99 path=a\n").file("x", "")),
                Error(&["extension"]),
            ),
            (
                "sparse in PAX",
                Image::of(Tar::new().pax(&[("GNU.sparse.major", "1")]).file("x", "")),
                Error(&["sparse"]),
            ),
            ("cut in a header", cut(100), Error(&["breaks off"])),
            ("cut in contents", cut(1000), Error(&["\"f\"", "breaks off"])),
            ("cut in padding", cut(512 + 800 + 3), Error(&["breaks off"])),
            ("cut after an entry", cut(512 + 1024), Safe(&[("f", "file 644 800")])),
            (
                "zeros, and then more",
                Image::of(Tar(Tar::new().end()[..512].to_vec()).file("f", "")),
                Error(&["block of zeros"]),
            ),
            ("after the end, nobody looks", Image::of(Tar(Tar::new().end()).file("../x", "")), Safe(&[])),
        ],
        28,
    )
    .await;
}
