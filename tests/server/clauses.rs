//! The table of clauses in `docs/registry.md` is about tests that are there.

use std::path::Path;

/// The tests that the table names: `file::name`.
fn named() -> Vec<(String, String)> {
    let text = include_str!("../../docs/registry.md");
    let section = text.split("## The specification, clause by clause").nth(1).expect("the section is there");
    let table = section.split("\n## ").next().unwrap();
    let quoted = table.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::"));
    quoted.map(|(file, name)| (file.to_owned(), name.to_owned())).collect()
}

#[test]
fn every_test_in_the_table_of_clauses_exists() {
    let tests = named();
    assert!(tests.len() > 30, "the table is read: {tests:?}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server");
    for (file, name) in tests {
        let source = std::fs::read_to_string(folder.join(format!("{file}.rs"))).unwrap_or_default();
        let found = source.contains(&format!("#[tokio::test]\nasync fn {name}()"));
        assert!(found, "docs/registry.md names {file}::{name}, which is no test");
    }
}
