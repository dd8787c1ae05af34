//! The index of a bundle, and the headers of its archive.

use bndlr::bundle::{Entry, Index, IndexBuilder, Kind, Place, read_entry};
use bndlr::digest::Digest;

use crate::random::Random;
use crate::run::fuzz;

fn entry(random: &mut Random) -> Entry {
    let long = "l".repeat(random.below(300));
    let names = ["a", "größe", "b.yaml", &long, "with space"];
    let path: Vec<&str> = (0..=random.below(3)).map(|_| *random.pick(&names)).filter(|name| !name.is_empty()).collect();
    let kind = match random.below(3) {
        0 => Kind::Directory,
        1 => Kind::File { size: random.number() >> random.below(40), executable: random.once_in(2) },
        _ => Kind::Symlink { target: format!("../{}", random.pick(&names)) },
    };
    let path = if path.is_empty() { "a".to_owned() } else { path.join("/") };
    Entry::new(path, kind).unwrap()
}

/// Makes the checksum of a header what it has to be (POSIX, pax, "ustar Interchange Format").
fn correct_checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn an_entry_is_read_only_from_what_it_would_be_written_as() {
    fuzz(|random| {
        let entry = entry(random);
        let mut tar = entry.head();
        assert_eq!(read_entry(&mut &*tar).unwrap(), Some(entry));
        random.mutate(&mut tar);
        tar.resize(tar.len().next_multiple_of(512), 0);
        if !random.once_in(3) {
            tar.chunks_mut(512).for_each(correct_checksum);
        }
        let mut rest = &*tar;
        if let Ok(Some(entry)) = read_entry(&mut rest) {
            assert_eq!(entry.head(), tar[..tar.len() - rest.len()], "{entry:?}");
        }
    });
}

#[test]
fn an_index_is_read_or_refused() {
    fuzz(|random| {
        let mut builder = IndexBuilder::default();
        let mut entries: Vec<Entry> = (0..random.below(5)).map(|_| entry(random)).collect();
        entries.sort_by(|a, b| bndlr::bundle::compare_paths(a.path(), b.path()));
        entries.dedup_by(|a, b| a.path() == b.path());
        for entry in &entries {
            builder.entry(entry, Place::Begins);
            builder.member(random.next() % 1000, entry.tar_size(), &Digest::sha256(b"member"));
        }
        let offset = random.next() % 5000;
        let (bytes, index) = builder.finish(offset).unwrap();
        let size = offset + bytes.len() as u64;
        assert_eq!(Index::of_layer(&index.annotations(), size).unwrap(), Some(index));

        let mut annotations = index.annotations();
        let key = annotations.keys().nth(random.below(annotations.len())).unwrap().clone();
        let value = random.mutated(&annotations[&key]);
        let number = random.number().to_string();
        let first = value.find(|c: char| c.is_ascii_digit()).unwrap_or_default();
        let value = if random.once_in(3) { format!("{}{number}{}", &value[..first], &value[first..]) } else { value };
        annotations.insert(key, value);
        let _ = Index::of_layer(&annotations, if random.once_in(2) { size } else { random.number() });

        // What has been changed has the right digest again: it may come from whoever made the bundle.
        let (mut list, mut table) = split(&bytes, &index);
        let changes_list = random.once_in(2);
        random.mutate(if changes_list { &mut list } else { &mut table });
        let mut changed = index;
        for (location, bytes) in [(&mut changed.entries, &list), (&mut changed.members, &table)] {
            (location.length, location.digest) = (bytes.len() as u64, Digest::sha256(bytes));
        }
        let _ = (changed.decode_entries(&list), changed.decode_members(&table));
    });
}

fn split(bytes: &[u8], index: &Index) -> (Vec<u8>, Vec<u8>) {
    let (list, table) = bytes.split_at(usize::try_from(index.entries.length).unwrap());
    (list.to_vec(), table.to_vec())
}
