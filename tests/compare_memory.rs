//! How much memory it takes to compare images of very many entries that another program has made. It is the only test in
//! its process, whose memory it measures.

mod archives;

use std::fs;

use archives::{Image, Tar};
use bndlr::compare::{Depth, Difference, Error, Sides, Subject, WhyOptions, compare, explain};

/// How many files there are, and how many bytes may be held for them: with what a process has anyway, 64 MiB. Two images that
/// are read at once take more.
const FILES: usize = 100_000;
const LIMIT: u64 = 48 * 1024 * 1024;

/// An image of many files, of which those whose number `differs` have other contents.
fn image(differs: impl Fn(usize) -> bool) -> Image {
    let file = |tar: Tar, number: usize| {
        let name = format!("service-{:03}/component-{:02}/manifest-{number:06}.yaml", number / 1000, number / 20 % 50);
        tar.file(&name, if differs(number) { "new\n" } else { "old\n" })
    };
    Image::of((0..FILES).fold(Tar::new(), file))
}

/// A number of this process, in bytes.
fn of_process(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Does `work`, and sees that it takes little memory.
async fn bounded<T>(name: &str, work: impl Future<Output = T>) -> T {
    // From here on, the peak counts anew (proc(5)).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = of_process("VmRSS");
    let done = work.await;
    let taken = of_process("VmHWM").saturating_sub(before);
    assert!(taken <= LIMIT, "{name} took {taken} bytes");
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_a_hundred_thousand_files_are_compared_in_bounded_memory() {
    let (mut old, mut new) = (image(|_| false), image(|number| number % 100 == 0));
    let (old_manifest, new_manifest) = (old.manifest(), new.manifest());
    bounded("compare", async {
        let sides = Sides::new(old.options());
        let open = |image: &Image| Box::new(image.clone());
        let (a, b) =
            futures::try_join!(sides.image(open(&old), &old_manifest), sides.image(open(&new), &new_manifest)).unwrap();
        let mut paths = 0;
        let visit = |_: Difference| {
            paths += 1;
            Ok::<(), Error>(())
        };
        assert!(compare(&a, &b, Depth::Texts, visit).await.unwrap());
        assert_eq!((paths, a.count()), (FILES / 100, b.count()));
    })
    .await;
    let subject = |image: &Image, manifest: &bndlr::manifest::RawManifest| Subject {
        source: Box::new(image.clone()),
        root: manifest.clone(),
        manifest: manifest.clone(),
    };
    let (a, b) = (subject(&old, &old_manifest), subject(&new, &new_manifest));
    let found = bounded("why", Box::pin(explain(a, b, &WhyOptions::default()))).await.unwrap();
    assert_eq!((found.len(), found[0].count, found[0].reasons.len()), (1, FILES / 100, 10));
}
