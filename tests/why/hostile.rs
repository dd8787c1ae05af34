//! Images that were made to do harm: whoever asks why they differ from another gets an error that says what is wrong.

use bndlr::compare::{Error, Group, Subject, WhyOptions, explain};
use bndlr::content::ErrorKind;
use bndlr::manifest::media_type;

use crate::archives::ours::{self, Member, bundle};
use crate::archives::{Image, Tar, gzip};

async fn why(mut a: Image, mut b: Image) -> Result<Vec<Group>, Error> {
    let options = WhyOptions { unpack: b.options(), ..WhyOptions::default() };
    let subject = |image: &mut Image| {
        let manifest = image.manifest();
        Subject { source: Box::new(image.clone()), root: manifest.clone(), manifest }
    };
    let (a, b) = (subject(&mut a), subject(&mut b));
    explain(a, b, &options).await
}

fn harmless() -> Image {
    Image::of(Tar::new().file("a", "x"))
}

#[tokio::test]
async fn what_is_hostile_is_refused() {
    let mut checksum = Tar::new().file("a", "x");
    checksum.0[10] ^= 1;
    let mut short = Tar::new().file("a", &"x".repeat(600)).0;
    short.truncate(600);
    let mut no_gzip = gzip(&Tar::new().file("a", "x").end());
    no_gzip.truncate(40);
    let wrong_blob = {
        let mut image = Image::of(Tar::new().file("a", "y"));
        let digest = image.layers[0].digest;
        image.blobs.insert(digest, gzip(b"something else, of other bytes").into());
        image
    };
    let bomb = Image::of(Tar::new().file("a", &"x".repeat(2_000_000))).limited(100, 1_000_000);
    let entries = (0..200).fold(Tar::new(), |tar, number| tar.file(&format!("f{number}"), ""));
    let other_member = bundle(|layer, _| {
        let mut tar = layer[2].tar.clone();
        tar[600] ^= 1;
        layer[2] = Member::new(tar, layer[2].entries.clone());
    });
    let cases = vec![
        ("a member that is not what the index says", other_member),
        ("a path that leads out", Image::of(Tar::new().file("../a", "x"))),
        ("an absolute hard link", Image::of(Tar::new().hard_link("a", "/etc/passwd"))),
        ("a device", Image::of(Tar::new().entry("a", b'3', 0o644, "", b""))),
        ("a wrong checksum", Image::of(checksum)),
        ("an archive that breaks off", Image::new().layer(media_type::OCI_LAYER, short.clone(), &short)),
        ("gzip that breaks off", Image::new().layer(media_type::OCI_LAYER_GZIP, no_gzip, b"")),
        ("a wrong diff ID", Image::new().layer(media_type::OCI_LAYER_GZIP, gzip(&Tar::new().end()), b"other")),
        ("another blob", wrong_blob),
        ("more bytes than are allowed", bomb),
        ("more entries than are allowed", Image::of(entries).limited(100, 1_000_000)),
        ("a size that lies", Image::of(Tar::new().header(b"a", b'0', 0o644, b"", 0o77_7777_7777))),
        ("an extension that takes all memory", Image::of(Tar::new().header(b"a", b'x', 0o644, b"", 0o77_7777_7777))),
        ("two names for one entry", Image::of(Tar::new().long_name("b").pax(&[("path", "c")]).file("a", ""))),
        ("an index without an entry", bundle(|_, index| drop(index[0].entries.remove(1)))),
        ("an index of another size", bundle(|_, index| index[0].entries[1] = ours::file("a/one", "x").0)),
    ];
    for (name, image) in cases {
        for turned in [false, true] {
            let (mut a, mut b) = (harmless(), image.clone());
            a.limits = image.limits;
            if turned {
                b.limits = image.limits;
                std::mem::swap(&mut a, &mut b);
            }
            let error = why(a, b).await.map(|groups| format!("{groups:?}")).expect_err(name);
            let Error::Image(error) = error else { panic!("{name}: {error}") };
            assert_eq!(error.kind(), ErrorKind::Content, "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn what_strangers_write_does_not_steer_a_terminal() {
    let name = "\u{1b}[2J\u{202e}";
    let groups = why(harmless(), Image::of(Tar::new().file("a", "x").file(name, "x"))).await.unwrap();
    assert_eq!(groups[0].reasons[0].name.as_deref(), Some(r"\u{1b}[2J\u{202e}"));
}

#[tokio::test]
async fn no_more_is_kept_than_is_wanted() {
    let many = (0..500).fold(Tar::new(), |tar, number| tar.file(&format!("f{number}"), ""));
    let groups = why(Image::of(Tar::new()), Image::of(many)).await.unwrap();
    assert_eq!((groups.len(), groups[0].count, groups[0].reasons.len()), (1, 500, 10));
}
