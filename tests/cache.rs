//! The cache: what has been packed before is not compressed again, and whatever becomes of the cache, the bundle is the
//! one that packing without it makes.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bndlr::content::Open;
use bndlr::pack::{Bundle, Cache, DEFAULT_CACHE_SIZE, PackOptions, Reuse, Selection, scan};
use proptest::prelude::*;
use tempfile::TempDir;

mod program;

use program::{Desk, finish, noise};

/// A directory to pack, and a cache.
struct Scene {
    scratch: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("tree")).unwrap();
        Self { scratch }
    }

    /// One with as many files as fill several members.
    fn with_files() -> Self {
        let scene = Self::new();
        for number in 0..160_u32 {
            scene.write(&format!("directory-{}/file-{number:03}.yaml", number % 7), &text(number, 4000));
        }
        scene.write("large.bin", &text(9, 2_300_000));
        symlink("large.bin", scene.tree().join("link")).unwrap();
        scene
    }

    fn tree(&self) -> PathBuf {
        self.scratch.path().join("tree")
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn cache(&self) -> Cache {
        self.cache_of(DEFAULT_CACHE_SIZE)
    }

    fn cache_of(&self, limit: u64) -> Cache {
        Cache::open(&self.scratch.path().join("cache"), limit).unwrap()
    }

    /// The files of the cache.
    fn files(&self) -> Vec<PathBuf> {
        files(&self.scratch.path().join("cache/layers"))
    }

    /// Packs with the cache, and sees that it makes no difference.
    #[track_caller]
    fn pack(&self) -> Reuse {
        let bundle = pack(&self.tree(), Some(self.cache()));
        let expected = pack(&self.tree(), None);
        assert_eq!(bundle.raw_manifest().digest(), expected.raw_manifest().digest());
        // Reading it verifies it.
        assert_eq!(layer(&bundle).len() as u64, expected.layers()[0].size);
        bundle.reuse()
    }
}

/// What is in a directory of layers, but for what says that it is one.
fn files(layers: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(layers).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| !path.ends_with("CACHEDIR.TAG") && !path.ends_with(".gitignore")).collect()
}

fn pack(directory: &Path, cache: Option<Cache>) -> Bundle {
    let options = PackOptions { cache, ..PackOptions::default() };
    scan(directory, &Selection::default()).unwrap().pack(&options, &|_| ()).unwrap()
}

fn layer(bundle: &Bundle) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { bundle.open(&bundle.layers()[0]).await.unwrap().read_all().await.unwrap().to_vec() })
}

/// Text that compresses somewhat, another for each seed.
fn text(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut out = Vec::with_capacity(length);
    while out.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        writeln!(out, "key-{}: {}", (state >> 33) % 100, state >> 48).unwrap();
    }
    out.truncate(length);
    out
}

#[test]
fn a_file_that_goes_while_another_comes_leaves_nothing_behind() {
    // Each is a member of its own, so that there are as many as before, and the second is the one that was the third.
    let scene = Scene::new();
    for (number, name) in (1..).zip(["a", "b", "c", "z"]) {
        scene.write(name, &text(number, 700_000));
    }
    assert_eq!(scene.pack(), Reuse { members: 4, cached: 0 });
    fs::remove_file(scene.tree().join("b")).unwrap();
    scene.write("d", &text(9, 700_000));
    assert_eq!(scene.pack(), Reuse { members: 4, cached: 3 });
}

#[test]
fn an_unchanged_directory_is_not_compressed_again() {
    let scene = Scene::with_files();
    let first = scene.pack();
    assert!(first.members > 5 && first.cached == 0, "{first:?}");
    let again = Reuse { cached: first.members, ..first };
    assert_eq!(scene.pack(), again);
    // What time it is, or where the directory is, makes no difference.
    fs::rename(scene.tree(), scene.scratch.path().join("moved")).unwrap();
    assert_eq!(pack(&scene.scratch.path().join("moved"), Some(scene.cache())).reuse(), again);
    assert_eq!(scene.files().len(), 1);
}

#[test]
fn of_a_changed_directory_only_the_changed_members_are_compressed() {
    let scene = Scene::with_files();
    let all = scene.pack().members;
    // As long as it was.
    scene.write("directory-3/file-010.yaml", &text(1000, 4000));
    assert_eq!(scene.pack(), Reuse { members: all, cached: all - 1 });
    // Longer.
    scene.write("directory-5/file-012.yaml", &text(1001, 4100));
    assert_eq!(scene.pack(), Reuse { members: all, cached: all - 1 });
    // In the middle of a large one, which is cut at each mebibyte.
    let large = OpenOptions::new().write(true).open(scene.tree().join("large.bin")).unwrap();
    large.write_all_at(b"changed", 1_500_000).unwrap();
    drop(large);
    assert_eq!(scene.pack(), Reuse { members: all, cached: all - 1 });
    // Nothing but a mode.
    fs::set_permissions(scene.tree().join("directory-0/file-007.yaml"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(scene.pack(), Reuse { members: all, cached: all - 1 });
}

#[test]
fn what_was_packed_before_the_last_time_is_still_known() {
    let scene = Scene::with_files();
    let all = scene.pack().members;
    let (path, old, new) = ("directory-3/file-010.yaml", text(10, 4000), text(1000, 4000));
    for content in [&new, &old, &new, &old] {
        scene.write(path, content);
        let reuse = scene.pack();
        assert!(reuse.cached >= all - 1, "{reuse:?}");
    }
    scene.write(path, &new);
    assert_eq!(scene.pack(), Reuse { members: all, cached: all });
    assert_eq!(scene.files().len(), 2);
}

#[test]
fn members_are_found_in_a_bundle_of_another_directory() {
    let scene = Scene::with_files();
    let all = scene.pack().members;
    fs::rename(scene.tree(), scene.scratch.path().join("elsewhere")).unwrap();
    fs::rename(scene.scratch.path().join("elsewhere"), scene.tree()).unwrap();
    fs::remove_file(scene.tree().join("link")).unwrap();
    scene.write("zzz", b"new");
    let reuse = scene.pack();
    assert!(reuse.cached + 2 >= all, "{reuse:?} of {all}");
}

#[test]
fn an_empty_directory_and_a_single_file_are_cached_too() {
    let scene = Scene::new();
    assert_eq!(scene.pack(), Reuse { members: 1, cached: 0 });
    assert_eq!(scene.pack(), Reuse { members: 1, cached: 1 });
    scene.write("one", b"1");
    assert_eq!(scene.pack(), Reuse { members: 1, cached: 0 });
    assert_eq!(scene.pack(), Reuse { members: 1, cached: 1 });
}

#[test]
fn a_damaged_cache_costs_time_and_nothing_else() {
    let scene = Scene::with_files();
    scene.pack();
    let file = scene.files().remove(0);
    let whole = fs::read(&file).unwrap();
    // In members, in the index, in what is known of the layer, in its digest, in its length.
    let end = whole.len();
    let places =
        [0, 3, 4, 9, end / 3, end / 2, end - 1500, end - 900, end - 600, end - 300, end - 20, end - 4, end - 1];
    for place in places {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x41;
        fs::write(&file, damaged).unwrap();
        let reuse = scene.pack();
        assert!(reuse.cached <= reuse.members, "{place}: {reuse:?}");
        fs::write(&file, &whole).unwrap();
    }
    for length in [0, 35, end / 2, end - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        assert_eq!(scene.pack().cached, 0, "{length}");
    }
    fs::write(&file, vec![0xff; 100_000]).unwrap();
    assert_eq!(scene.pack().cached, 0);
}

#[test]
fn a_damaged_layer_is_kept_anew_when_it_is_packed_again() {
    let scene = Scene::with_files();
    let all = scene.pack().members;
    let file = scene.files().remove(0);
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 3] ^= 0x41;
    fs::write(&file, damaged).unwrap();
    assert_eq!(scene.pack(), Reuse { members: all, cached: all - 1 });
    assert_eq!(scene.files(), std::slice::from_ref(&file));
    assert!(fs::read(&file).unwrap() == whole);
    assert_eq!(scene.pack(), Reuse { members: all, cached: all });
}

#[test]
fn where_few_files_may_be_open_a_cache_of_many_layers_neither_fails_a_push_nor_is_lost() {
    let (desk, build) = (Desk::new(), "build tree -o archive:packed.tar --split=1kB");
    // Each file is a layer of its own, and as long each time: the cache has several for each.
    let write = |round: u32| {
        for number in 0..60 {
            desk.write(&format!("tree/{number:02}"), &format!("{round}-{number:02}\n").repeat(27_000));
        }
    };
    for round in 0..4 {
        write(round);
        desk.run(build).ok();
    }
    write(4);
    let kept = || desk.run("cache info --format json").json()["layers"].as_u64().unwrap();
    assert_eq!(kept(), 4 * 60);
    let expected = desk.run(&format!("{build} --no-cache")).ok();
    let mut limited = desk.process("sh");
    limited.args(["-c", &format!("ulimit -n 128; exec bndlr {build}")]);
    assert_eq!(finish(limited).ok(), expected);
    assert_eq!(kept(), 5 * 60);
}

#[test]
fn a_cached_member_that_is_another_one_is_not_taken() {
    let scene = Scene::with_files();
    let all = scene.pack().members;
    let (file, other) = (scene.files().remove(0), Scene::with_files());
    // The layer of other contents, of the same sizes, under the name of this one.
    for number in 0..160 {
        other.write(&format!("directory-{}/file-{number:03}.yaml", number % 7), &text(number + 500, 4000));
    }
    other.pack();
    fs::copy(other.files().remove(0), file).unwrap();
    let reuse = scene.pack();
    assert!(0 < reuse.cached && reuse.cached < all, "the large file is the same, and no other: {reuse:?}");
}

#[test]
fn a_cache_holds_no_more_than_its_limit_and_keeps_what_was_used_last() {
    let scene = Scene::new();
    // Small layers count for 256 KiB each.
    let (limit, mut packed) = (4 * 256 * 1024, Vec::new());
    for number in 0..8_u32 {
        scene.write("one", &text(number, 1000 + number as usize));
        packed.push(pack(&scene.tree(), Some(scene.cache_of(limit))).layers()[0].digest);
        // The first one is used again and again.
        scene.write("one", &text(0, 1000));
        let used = pack(&scene.tree(), Some(scene.cache_of(limit)));
        assert_eq!(used.reuse().cached, 1, "{number}");
        assert!(scene.files().len() <= 4, "{:?}", scene.files());
    }
    let kept = |digest: &bndlr::digest::Digest| {
        scene.files().iter().any(|file| file.to_string_lossy().ends_with(&digest.hex()))
    };
    let kept: Vec<bool> = packed.iter().map(kept).collect();
    assert_eq!(kept, [true, false, false, false, false, true, true, true]);
}

#[test]
fn layers_whose_time_is_yet_to_come_make_room_for_new_ones() {
    let scene = Scene::new();
    let pack = || pack(&scene.tree(), Some(scene.cache_of(2 * 256 * 1024)));
    for number in 0..2 {
        scene.write("one", &text(number, 1000));
        pack();
    }
    for file in scene.files() {
        File::open(file).unwrap().set_modified(SystemTime::now() + Duration::from_hours(1000)).unwrap();
    }
    scene.write("one", &text(2, 1000));
    assert_eq!((pack().reuse().cached, pack().reuse().cached), (0, 1));
    assert_eq!(scene.files().len(), 2);
}

#[test]
fn what_is_no_file_in_a_cache_is_passed_over_and_stays() {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v1").ok();
    let layers = desk.path(".cache/bndlr/layers");
    let layer = files(&layers).remove(0);
    let name = layer.file_name().unwrap().to_str().unwrap();
    // Of the same entries, so that it would be looked at.
    let other = |digit: char| layers.join(format!("{}{}", &name[..34], String::from(digit).repeat(64)));
    let (pipe, folder) = (other('a'), other('b'));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::create_dir(&folder).unwrap();
    fs::create_dir(layers.join(".spool-folder")).unwrap();
    desk.run("build tree -o oci:layout:v1").ok();
    assert_eq!(desk.run("cache info --format json").json()["layers"], 1);
    assert!(desk.run("cache clear").ok().starts_with("Removed 1 layer, "));
    assert!(!layer.exists() && pipe.exists() && folder.exists());
}

#[test]
fn a_file_as_large_as_the_cache_finds_room_though_it_cannot_be_compressed() {
    let scene = Scene::new();
    let limit = 4 * 1024 * 1024;
    let noise = noise(limit as usize + 1);
    for contents in [&noise[1..], &noise[..limit as usize]] {
        scene.write("one", contents);
        let packed = || pack(&scene.tree(), Some(scene.cache_of(limit)));
        assert!(packed().layers()[0].size > limit);
        let again = packed().reuse();
        assert_eq!(again.cached, again.members);
        assert_eq!(scene.files().len(), 1, "{:?}", scene.files());
    }
}

#[test]
fn a_layer_that_is_larger_than_the_cache_is_not_kept() {
    let scene = Scene::with_files();
    let bundle = pack(&scene.tree(), Some(scene.cache_of(100_000)));
    assert!(bundle.layers()[0].size > 100_000);
    assert_eq!(scene.files(), Vec::<PathBuf>::new());
}

#[test]
fn a_cache_that_others_can_write_to_is_refused() {
    let scene = Scene::new();
    scene.pack();
    for path in ["cache", "cache/layers"] {
        let path = scene.scratch.path().join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Cache::open(&scene.scratch.path().join("cache"), 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), format!("others may write to {}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn clearing_a_cache_leaves_what_is_not_the_caches() {
    let scene = Scene::new();
    scene.pack();
    let layers = scene.scratch.path().join("cache/layers");
    fs::write(layers.join("notes.txt"), "mine").unwrap();
    fs::write(layers.join(".spool-left"), "left behind").unwrap();
    assert_eq!(scene.cache().contents().unwrap().layers, 1);
    assert_eq!(scene.cache().clear().unwrap().layers, 1);
    assert_eq!(scene.files(), [layers.join("notes.txt")]);
    assert_eq!(scene.cache().contents().unwrap(), bndlr::pack::CacheContents::default());
}

#[test]
fn many_can_use_a_cache_at_the_same_time() {
    let scene = Scene::new();
    let trees: Vec<(PathBuf, _)> = (0..4_u32)
        .map(|number| {
            let tree = scene.scratch.path().join(format!("tree-{number}"));
            fs::create_dir(&tree).unwrap();
            for file in 0..20 {
                fs::write(tree.join(format!("{file}")), text(file * number, 30_000)).unwrap();
            }
            let expected = pack(&tree, None).raw_manifest().digest();
            (tree, expected)
        })
        .collect();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (trees, scene) = (&trees, &scene);
            scope.spawn(move || {
                for round in 0..12 {
                    let (tree, expected) = &trees[(worker + round) % trees.len()];
                    // So small that they remove each other's layers all the time.
                    let bundle = pack(tree, Some(scene.cache_of(600_000)));
                    assert_eq!(bundle.raw_manifest().digest(), *expected);
                    assert_eq!(layer(&bundle).len() as u64, bundle.layers()[0].size);
                }
            });
        }
    });
}

/// What happens to a tree between two times that it is packed.
#[derive(Clone, Debug)]
enum Edit {
    Write { file: u32, seed: u32, length: usize },
    Remove { file: u32 },
    Flip { file: u32 },
}

fn edit() -> impl Strategy<Value = Edit> {
    let length = prop_oneof![0..3000_usize, 100_000..300_000_usize, 1_000_000..1_500_000_usize];
    prop_oneof![
        3 => (0..12_u32, 0..4_u32, length).prop_map(|(file, seed, length)| Edit::Write { file, seed, length }),
        1 => (0..12_u32).prop_map(|file| Edit::Remove { file }),
        1 => (0..12_u32).prop_map(|file| Edit::Flip { file }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn whatever_changes_the_bundle_is_that_of_packing_without_a_cache(rounds in prop::collection::vec(prop::collection::vec(edit(), 0..5), 1..6)) {
        let scene = Scene::new();
        for edits in rounds {
            for edit in edits {
                let path = |file: u32| format!("{}/{file}", file % 3);
                match edit {
                    Edit::Write { file, seed, length } => scene.write(&path(file), &text(seed, length)),
                    Edit::Remove { file } => drop(fs::remove_file(scene.tree().join(path(file)))),
                    Edit::Flip { file } => {
                        if let Ok(mut content) = fs::read(scene.tree().join(path(file))) {
                            content.reverse();
                            scene.write(&path(file), &content);
                        }
                    }
                }
            }
            scene.pack();
        }
    }

    /// Of files that are a member each, some are there, and some others the next time.
    #[test]
    fn whichever_members_come_and_go_the_bundle_is_that_of_packing_without_a_cache(rounds in prop::collection::vec(prop::array::uniform6(0_u32..3), 2..6)) {
        let scene = Scene::new();
        for seeds in rounds {
            for (name, seed) in ["a", "b", "c", "d", "e", "f"].into_iter().zip(seeds) {
                match seed {
                    0 => drop(fs::remove_file(scene.tree().join(name))),
                    _ => scene.write(name, &text(seed, 600_000)),
                }
            }
            scene.pack();
        }
    }
}

#[test]
fn the_program_caches_and_says_what_it_has() {
    let desk = Desk::with_tree();
    let info = desk.run("cache info").ok();
    assert!(info.ends_with("/.cache/bndlr: 0 layers, 0 B, of 1.1 GB at most\n"), "{info}");
    let digest = desk.run("build tree -o oci:first:v1").ok();
    assert_eq!(desk.run("build tree -o oci:second:v1").ok(), digest);
    let json = desk.run("cache info --format json").json();
    assert_eq!((&json["layers"], &json["limit"]), (&1.into(), &(1_u64 << 30).into()));
    assert!(json["bytes"].as_u64().unwrap() > 20_000);
    let cleared = desk.run("cache clear").ok();
    assert!(cleared.starts_with("Removed 1 layer, 21 kB, from /"), "{cleared}");
    assert_eq!(desk.run("build tree -o oci:third:v1 --no-cache").ok(), digest);
    assert_eq!(desk.run("cache info --format json").json()["layers"], 0);
}

#[test]
fn a_cache_in_the_directory_stays_out_of_it() {
    // Where HOME is there, where the variable says so, next to something else, and at the top.
    for (variable, value, cache) in [
        ("HOME", "tree", "tree/.cache"),
        ("BNDLR_CACHE_DIR", "tree/.cache/bndlr", "tree/.cache"),
        ("BNDLR_CACHE_DIR", "tree/sub/bndlr", "tree/sub/bndlr"),
        ("BNDLR_CACHE_DIR", "tree", "tree/layers"),
    ] {
        let desk = Desk::with_tree();
        let expected = desk.run("build tree -o oci:clean:v1 --no-cache").ok();
        let value = desk.path(value);
        let variables = [(variable, value.to_str().unwrap())];
        let run = |arguments: &str| desk.run_with(&arguments.split(' ').collect::<Vec<_>>(), &variables);
        for _ in 0..3 {
            let ran = run("push tree oci:layout:v1 --format json");
            assert_eq!(
                (format!("{}\n", ran.json()["digest"].as_str().unwrap()), ran.stderr.contains("warning")),
                (expected.clone(), false)
            );
        }
        assert_eq!(files(&value.join(if variable == "HOME" { ".cache/bndlr/layers" } else { "layers" })).len(), 1);
        // Whoever looks at the directory, knowing of the cache or not.
        for arguments in [
            "diff ./tree oci:layout:v1",
            "verify tree oci:layout:v1",
            "why ./tree oci:layout:v1",
            "push tree oci:layout:v1 --check",
        ] {
            for ran in [run(arguments), desk.run(arguments)] {
                assert_eq!(ran.code, Some(0), "{arguments}: {ran:?}");
            }
        }
        let left_out = format!("- {}/ (bndlr's own cache)\n", cache.strip_prefix("tree/").unwrap());
        let listed = run("push tree --list").ok();
        assert!(listed.contains(&left_out) && !listed.contains("CACHEDIR"), "{listed}");
        let json = run("push tree --list --format json").json();
        assert_eq!(json["leftOut"][0]["reason"], "cache");
        // What is next to it goes in, and what is in its directory beside it.
        desk.write(&format!("{cache}/../beside"), "x");
        assert_ne!(run("build tree -o oci:layout:v1").ok(), expected);
    }
}

#[test]
fn what_is_no_cache_of_this_program_goes_in() {
    let desk = Desk::with_tree();
    let packed = || {
        desk.run("build tree -o oci:layout:v1").ok();
        desk.run("ls oci:layout:v1").ok()
    };
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# This file is a cache directory tag created by cargo.\n";
    desk.write("tree/target/CACHEDIR.TAG", tag);
    desk.write("tree/layers/CACHEDIR.TAG", tag);
    fs::create_dir(desk.path("tree/.cache")).unwrap();
    let listed = packed();
    for path in [".cache", "layers", "layers/CACHEDIR.TAG", "target/CACHEDIR.TAG"] {
        assert!(listed.lines().any(|line| line == path), "{path}: {listed}");
    }
    // Nor does it become one because the variable says so.
    let ran = desk.run_with(&["build", "tree", "-o", "oci:layout:v1"], &[("BNDLR_CACHE_DIR", "tree")]);
    assert!(ran.stderr.contains("not used: tree/layers/CACHEDIR.TAG is none of a cache"), "{ran:?}");
    fs::remove_file(desk.path("tree/layers/CACHEDIR.TAG")).unwrap();
    desk.write("tree/layers/mine.txt", "mine");
    let expected = desk.run("build tree -o oci:layout:v1").ok();
    let ran = desk.run_with(&["build", "tree", "-o", "oci:layout:v1"], &[("BNDLR_CACHE_DIR", "tree")]);
    assert!(ran.stderr.contains("the cache in tree is not used: tree/layers/mine.txt is none of a cache"), "{ran:?}");
    assert_eq!(ran.ok(), expected);
}

/// The machine may have gone down while it was written.
#[test]
fn a_cache_whose_tag_was_cut_short_is_one() {
    let desk = Desk::with_tree();
    let build = || desk.run_with(&["build", "tree", "-o", "oci:layout:v1"], &[("BNDLR_CACHE_DIR", "tree/c")]).ok();
    let expected = build();
    for length in [0, 50] {
        let tag = desk.path("tree/c/layers/CACHEDIR.TAG");
        let text = fs::read(&tag).unwrap();
        fs::write(&tag, &text[..length]).unwrap();
        assert_eq!(build(), expected);
        assert_eq!(fs::read(&tag).unwrap(), text);
    }
}

#[test]
fn a_cache_in_a_repository_does_not_make_it_dirty() {
    let desk = Desk::with_tree();
    let git = |arguments: &[&str]| {
        let mut git = desk.process("git");
        git.args(["-C", "tree", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "safe.directory=*"])
            .args(arguments);
        finish(git).ok()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "all"]);
    let arguments = ["build", "tree", "-o", "oci:layout:v1", "--annotate-git"];
    let built = || desk.run_with(&arguments, &[("BNDLR_CACHE_DIR", "tree/.cache/bndlr")]).ok();
    assert_eq!(built(), built());
    assert_eq!(git(&["status", "--porcelain"]), "");
}

#[test]
fn a_check_changes_nothing_in_the_cache() {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v1").ok();
    let layer = || files(&desk.path(".cache/bndlr/layers")).pop();
    let old = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let path = layer().unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.set_modified(old).unwrap();
    let check = || assert_eq!(desk.run("push tree oci:layout:v1 --check").code, Some(0));
    check();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), old);
    // Not even what is damaged goes.
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    check();
    assert_eq!(layer(), Some(path.clone()));
    desk.run("push tree oci:layout:v1").ok();
    assert_ne!(fs::metadata(&path).unwrap().modified().unwrap(), old);
    check();
}

#[test]
fn the_environment_says_where_the_cache_is_and_how_large() {
    let desk = Desk::with_tree();
    let build = ["build", "tree", "-o", "oci:layout:v1"];
    let ran = desk.run_with(&build, &[("BNDLR_CACHE_DIR", "here"), ("XDG_CACHE_HOME", "/nowhere")]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(files(&desk.path("here/layers")).len(), 1);
    desk.run_with(&build, &[("BNDLR_CACHE_SIZE", "0")]).ok();
    assert!(!desk.path(".cache").exists());
    let ran = desk.run_with(&build, &[("BNDLR_CACHE_SIZE", "much")]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("BNDLR_CACHE_SIZE is \"much\", and not a number of bytes"), "{ran:?}");
    // A cache that cannot be used is said to be so, and missed by nobody.
    desk.write("file", "");
    let ran = desk.run_with(&build, &[("BNDLR_CACHE_DIR", "file")]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("warning: the cache in file is not used: "), "{ran:?}");
    let ran = desk.run_with(&build, &[("HOME", "/proc/nowhere")]);
    assert!(ran.code == Some(0) && !ran.stderr.contains("warning"), "{ran:?}");
}
