//! Images that are wrong, and directories that somebody changes meanwhile: nothing is written where it should not be.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use bndlr::bundle::annotation;
use bndlr::content::{self, ErrorKind, Open, OpenRange, Reader};
use bndlr::manifest::Descriptor;
use bndlr::unpack::{Outcome, UpdateOptions};
use bytes::Bytes;

use crate::archives::ours::{Layer, Member, Row, bundle, dir, file, honest, link, rows};
use crate::archives::{Image, Tar, snapshot};
use crate::model::{Site, fresh, names, without_top};

fn annotate(key: &str, value: impl FnOnce(&str) -> String) -> Image {
    let mut layer = Layer::of(&rows());
    let new = value(&layer.annotations[key]);
    layer.annotations.insert(key.to_owned(), new);
    layer.image()
}

/// What is noted of work that has ended is no trace in the directory.
fn without_lock(mut seen: BTreeMap<String, String>) -> BTreeMap<String, String> {
    seen.retain(|path, _| Path::new(path).extension() != Some("lock".as_ref()));
    seen
}

#[tokio::test]
async fn a_wrong_image_is_refused_and_nothing_is_written() {
    let cases: Vec<(&str, Image)> = vec![
        ("members that overlap", bundle(|_, index| index[1].gzip.push(0))),
        ("a member beyond the index", bundle(|_, index| index[2].gzip.extend([0; 100]))),
        ("a member with another digest", bundle(|_, index| index[1].tar[600] ^= 1)),
        ("an entry that is not in the layer", bundle(|_, index| index[2].entries.push(file("e", "").0))),
        ("an entry of another size", bundle(|_, index| index[0].entries[1] = file("a/one", "x").0)),
        ("a link that leads elsewhere", bundle(|_, index| index[2].entries[0] = link("c", "d").0)),
        ("a member that is no gzip", honest(|members| members[1].gzip[0] ^= 1)),
        (
            "padding that is not zeros",
            honest(|members| {
                let end = members[1].tar.len() - 1;
                members[1].tar[end] = 1;
                members[1] = Member::new(members[1].tar.clone(), members[1].entries.clone());
            }),
        ),
        ("a section beyond the layer", annotate(annotation::MEMBERS, |value| format!("9{value}"))),
        ("a link that leads out", Layer::of(&[dir("a"), link("a/b", "../../x")]).image()),
        ("too much", Layer::of(&rows()).image().limited(1000, 1000)),
        ("too many", Layer::of(&rows()).image().limited(2, u64::MAX)),
        ("a foreign path that leads out", Image::of(Tar::new().file("new", "new").file("../x", "x"))),
        ("a foreign layer with another diff ID", {
            let mut image = Image::of(Tar::new().file("new", "new"));
            image.diff_ids[0] = bndlr::digest::Digest::sha256(b"");
            image
        }),
    ];
    for (name, mut image) in cases {
        let site = Site::new();
        site.pull(&mut Layer::of(&[dir("a"), file("a/one", "1"), file("z", "z")]).image()).await;
        let outside = site.target().parent().unwrap().to_owned();
        let before = (without_lock(snapshot(&outside)), site.look());
        let manifest = image.manifest();
        let options = bndlr::unpack::UnpackOptions { limits: image.limits, ..site.options() };
        let how = UpdateOptions { force: true, verify: false };
        let result = bndlr::unpack::update(&image, &manifest, &site.target(), how, &options).await;
        let error = content::Error::from(result.expect_err(name));
        assert_eq!(error.kind(), ErrorKind::Content, "{name}: {error}");
        let after = (without_lock(snapshot(&outside)), site.look());
        assert_eq!(after, before, "{name}: something was written");
    }
}

#[tokio::test]
async fn a_directory_that_has_become_a_link_is_a_change_and_is_not_followed() {
    for rows in [vec![dir("a"), file("a/one", "new")], vec![file("b", "b")]] {
        let (site, mut new) = (Site::new(), Layer::of(&rows).image());
        site.pull(&mut Layer::of(&[dir("a"), file("a/one", "old")]).image()).await;
        let outside = site.target().with_file_name("outside");
        fs::rename(site.target().join("a"), &outside).unwrap();
        symlink(&outside, site.target().join("a")).unwrap();
        assert!(site.update(&mut new).await.unwrap_err().to_string().contains("a (modified)"));
        site.update_so(&mut new, UpdateOptions { force: true, verify: true }).await.unwrap();
        assert_eq!(without_top(site.look().0), fresh(&mut new).await);
        assert_eq!(fs::read(outside.join("one")).unwrap(), b"old");
    }
}

/// Does something to the directory once members of the bundle are asked for.
struct Meanwhile(Image, Mutex<Option<Box<dyn FnOnce() + Send>>>);

#[async_trait]
impl Open for Meanwhile {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        self.0.open(descriptor).await
    }
}

#[async_trait]
impl OpenRange for Meanwhile {
    async fn range_within(&self, descriptor: &Descriptor, offset: u64, length: u64) -> Result<Bytes, content::Error> {
        if offset == 0
            && let Some(act) = self.1.lock().unwrap().take()
        {
            act();
        }
        self.0.range_within(descriptor, offset, length).await
    }
}

#[tokio::test]
async fn what_happens_to_the_directory_meanwhile_is_noticed_before_anything_is_replaced() {
    type Act = fn(PathBuf, PathBuf);
    let acts: &[(&str, Act)] = &[
        ("a file is changed", |target, _| fs::write(target.join("a/one"), "mine").unwrap()),
        ("a file is added", |target, _| fs::write(target.join("a/new"), "mine").unwrap()),
        ("a link takes the place of a directory", |target, outside| {
            fs::rename(target.join("a"), &outside).unwrap();
            symlink(&outside, target.join("a")).unwrap();
        }),
    ];
    for (name, act) in acts {
        let (site, rows): (_, [Row; 3]) = (Site::new(), [dir("a"), file("a/new", "new"), file("a/one", "new")]);
        site.pull(&mut Layer::of(&[dir("a"), file("a/one", "old")]).image()).await;
        let mut image = Layer::of(&rows).image();
        let (manifest, outside) = (image.manifest(), site.target().with_file_name("outside"));
        let (target, elsewhere, act) = (site.target(), outside.clone(), *act);
        let source = Meanwhile(image.clone(), Mutex::new(Some(Box::new(move || act(target, elsewhere)))));
        let error = site.update_from(&source, &manifest, UpdateOptions::default()).await.expect_err(name);
        assert!(source.1.lock().unwrap().is_none(), "{name}: {error}");
        if outside.exists() {
            assert_eq!(
                (names(&outside), fs::read(outside.join("one")).unwrap()),
                (vec!["one".to_owned()], b"old".into())
            );
            fs::remove_file(site.target().join("a")).unwrap();
            fs::rename(&outside, site.target().join("a")).unwrap();
            assert_eq!(site.update(&mut image).await.unwrap().outcome, Outcome::Updated, "{name}");
        } else {
            assert!(snapshot(&site.target()).values().any(|what| what.contains("mine")), "{name}");
            assert!(site.update(&mut image).await.unwrap_err().to_string().contains("local change"), "{name}");
        }
        assert!(names(&site.target()).iter().all(|name| !name.starts_with('.')), "{name}");
    }
}
