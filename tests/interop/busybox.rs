//! BusyBox, as the smallest images have it: its gunzip is the strictest about what stands in a header.

use std::path::Path;

use bndlr::digest::Digest;

use crate::build::Built;
use crate::run::{arg, command, run};
use crate::shapes::{PLAIN, decompressed};
use crate::table::{Program, proved};
use crate::{peer, shapes, tree};

#[test]
fn busybox_gunzip_gives_the_archive() {
    let Some(busybox) = peer::require("busybox") else { return };
    let tree = tree::sample();
    let built = Built::new(tree.path(), &[]);
    let layer = built.layer();
    let archive = run(&mut command(&busybox, &["gunzip", "-c", arg(&layer)]));
    assert_eq!(Digest::sha256(&archive).to_string(), built.diff_id());
    run(&mut command(&busybox, &["tar", "-tzf", arg(&layer)]));
    decompressed(|layer| Digest::sha256(&run(&mut command(&busybox, &["gunzip", "-c", arg(layer)]))).to_string());
    proved(Program::BusyBox, "inflates a layer of every shape to the bytes that the diff ID names");
}

#[test]
fn busybox_tar_extracts_what_needs_no_pax_header() {
    let Some(busybox) = peer::require("busybox") else { return };
    let tree = tree::plain();
    let built = Built::new(tree.path(), &[]);
    let extracted = built.directory("extracted");
    let extract = |layer: &Path, directory: &Path| {
        run(&mut command(&busybox, &["tar", "-xzf", arg(layer), "-C", arg(directory)]));
    };
    extract(&built.layer(), &extracted);
    tree::assert_same(tree.path(), &extracted);
    shapes::extracted(|name| PLAIN.contains(&name), extract);
    proved(Program::BusyBox, "extracts layers of every shape that needs no PAX headers, which it passes over");
}
