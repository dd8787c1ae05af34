//! bsdtar, and with it libarchive.

use std::collections::BTreeSet;

use crate::build::Built;
use crate::run::{arg, command, run, text};
use crate::table::{Program, proved};
use crate::{peer, shapes, tree};

#[test]
fn bsdtar_lists_and_extracts_what_was_packed() {
    let Some(bsdtar) = peer::require("bsdtar") else { return };
    let bsdtar = |arguments: &[&str]| {
        // It shows names as the locale has them.
        let mut command = command(&bsdtar, arguments);
        command.env("LC_ALL", "C.UTF-8");
        command
    };
    let tree = tree::sample();
    let built = Built::new(tree.path(), &[]);
    let layer = built.layer();
    let listed = text(&mut bsdtar(&["-tf", arg(&layer)]));
    assert_eq!(listed.lines().map(str::to_owned).collect::<BTreeSet<_>>(), tree::paths(tree.path()));

    let extracted = built.directory("extracted");
    run(&mut bsdtar(&["-xf", arg(&layer), "-C", arg(&extracted)]));
    tree::assert_same(tree.path(), &extracted);

    shapes::extracted(|_| true, |layer, directory| drop(run(&mut bsdtar(&["-xf", arg(layer), "-C", arg(directory)]))));
    proved(Program::Bsdtar, "lists and extracts layers of every shape");
}
