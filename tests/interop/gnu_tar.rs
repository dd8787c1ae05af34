//! GNU tar lists and extracts the layer, names in PAX headers and all.

use std::collections::BTreeSet;

use crate::build::Built;
use crate::run::{arg, command, run, text};
use crate::table::{Program, proved};
use crate::{peer, shapes, tree};

#[test]
fn gnu_tar_lists_and_extracts_what_was_packed() {
    let Some(tar) = peer::require("tar") else { return };
    let tree = tree::sample();
    let built = Built::new(tree.path(), &[]);
    let layer = built.layer();
    let listed = text(&mut command(&tar, &["--quoting-style=literal", "-tzf", arg(&layer)]));
    assert_eq!(listed.lines().map(str::to_owned).collect::<BTreeSet<_>>(), tree::paths(tree.path()));

    let extracted = built.directory("extracted");
    run(&mut command(&tar, &["-xzf", arg(&layer), "-C", arg(&extracted)]));
    tree::assert_same(tree.path(), &extracted);

    shapes::extracted(
        |_| true,
        |layer, directory| drop(run(&mut command(&tar, &["-xzf", arg(layer), "-C", arg(directory)]))),
    );
    proved(Program::GnuTar, "lists and extracts layers of every shape");
}
