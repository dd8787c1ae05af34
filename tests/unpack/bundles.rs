//! Bundles: they become the directories that they were.

use std::collections::BTreeMap;
use std::fs;
use std::iter;

use bndlr::bundle::{Kind, MEMBER_HEADER};
use bndlr::digest::Digest;
use bndlr::unpack::Unpacked;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use proptest::prelude::*;

use super::archives::ours::{Layer, Row, dir, file, link, program};
use super::archives::{Image, Tar, snapshot};
use super::{names, unpacked};

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
async fn the_longest_path_and_the_longest_target_come_back() {
    // What the format allows, and what Linux can open: 4,095 bytes.
    let target = "t/".repeat(2047) + "t";
    let names = vec!["n".repeat(255); 16];
    let mut rows: Vec<_> = (1..16).map(|depth| dir(&names[..depth].join("/"))).collect();
    rows.push(file(&names.join("/"), "deep"));
    let parent = tempfile::tempdir().unwrap();
    Layer::of(&rows).image().unpack(&parent.path().join("t")).await.unwrap();
    let top = Dir::open_ambient_dir(parent.path().join("t"), ambient_authority()).unwrap();
    assert_eq!(top.read_to_string(names.join("/")).unwrap(), "deep");

    let found = unpacked(Layer::of(&[link("l", &target)]).image()).await.unwrap();
    assert_eq!(found["l"], format!("-> {target}"));
    // Others may lead there through a link.
    let short = Tar::new().long_link(&names[..15].join("/")).symlink("short", "");
    let short = short.long_name(&format!("short/{}", names[15])).file("", "deep");
    let listed = Image::of(short).list().await.unwrap();
    assert!(listed.iter().any(|item| item.path.as_os_str().len() == 4095));
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

/// The same bytes in a file, where nothing compresses them, or a whole layer of ours, end nothing and begin nothing.
#[tokio::test]
async fn files_may_have_in_them_what_members_begin_with() {
    let random = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let mut noise: Vec<u8> =
        iter::successors(Some(1_u64), random).map(|state| (state >> 56) as u8).take(700_000).collect();
    for at in [0, 1000, 1010, 350_000, 699_990] {
        noise[at..at + 10].copy_from_slice(&MEMBER_HEADER);
    }
    let inner = Layer::of(&[file("a", noise.clone()), file("b", "b")]).bytes;
    let rows = [file("a", "a"), file("b", noise), file("c", inner), file("d", "d")];
    for chunk in [11, 4096, 1 << 16, 1 << 22] {
        let mut image = Layer::of(&rows).image();
        image.chunk = chunk;
        let found = unpacked(image).await.unwrap();
        for (entry, contents) in &rows {
            assert!(found[entry.path()].ends_with(&Digest::sha256(contents).short()), "{} in {chunk}", entry.path());
        }
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
fn trees() -> impl Strategy<Value = Vec<Row>> {
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
                Kind::Directory => prop_assert_eq!(what, "directory 755"),
                Kind::Symlink { target } => prop_assert_eq!(what, &format!("-> {target}")),
                Kind::File { .. } => {
                    let front = format!("file {:o} {} ", entry.mode(), contents.len());
                    prop_assert!(what.starts_with(&front), "{} is not {}", what, front);
                    prop_assert!(what.ends_with(&Digest::sha256(contents).short()));
                }
            }
        }
    }
}
