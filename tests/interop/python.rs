//! Python's modules for archives.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::build::Built;
use crate::run::{arg, command, run};
use crate::table::{Program, proved};
use crate::{peer, shapes, tree};

/// Reads a layer with the modules `gzip` and `tarfile`, extracts it, and says what it found.
const SCRIPT: &str = "
import gzip, hashlib, json, sys, tarfile
layer, directory = sys.argv[1:]
with gzip.open(layer) as archive:
    digest = 'sha256:' + hashlib.sha256(archive.read()).hexdigest()
with tarfile.open(layer, mode='r:gz') as archive:
    members = archive.getmembers()
    names = [member.name + '/' * member.isdir() for member in members]
    pax = [member.pax_headers for member in members if member.pax_headers]
    archive.extractall(directory)
print(json.dumps({'digest': digest, 'names': names, 'pax': pax}))
";

#[test]
fn python_reads_every_member_and_the_names_in_pax_headers() {
    let Some(python) = peer::require("python3") else { return };
    let tree = tree::sample();
    let built = Built::new(tree.path(), &[]);
    let extracted = built.directory("extracted");
    let found = run(&mut command(&python, &["-c", SCRIPT, arg(&built.layer()), arg(&extracted)]));
    let found: Value = serde_json::from_slice(&found).unwrap();
    assert_eq!(found["digest"], built.diff_id());
    let names: BTreeSet<String> = serde_json::from_value(found["names"].clone()).unwrap();
    assert_eq!(names, tree::paths(tree.path()));
    let pax: BTreeSet<&str> = found["pax"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|records| records.as_object().unwrap().keys())
        .map(String::as_str)
        .collect();
    assert_eq!(pax, BTreeSet::from(["linkpath", "path"]));
    tree::assert_same(tree.path(), &extracted);

    shapes::extracted(
        |_| true,
        |layer, directory| drop(run(&mut command(&python, &["-c", SCRIPT, arg(layer), arg(directory)]))),
    );
    proved(Program::Python, "reads and extracts layers of every shape with the modules gzip and tarfile");
}
