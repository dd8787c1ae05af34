//! BusyBox, as the smallest images have it: its gunzip is the strictest about what stands in a header.

use bndlr::digest::Digest;

use crate::build::Built;
use crate::run::{arg, command, run};
use crate::{peer, tree};

#[test]
fn busybox_gunzip_gives_the_archive() {
    let Some(busybox) = peer::require("busybox") else { return };
    let tree = tree::sample();
    let built = Built::new(tree.path(), &[]);
    let layer = built.layer();
    let archive = run(&mut command(&busybox, &["gunzip", "-c", arg(&layer)]));
    assert_eq!(Digest::sha256(&archive).to_string(), built.diff_id());
    run(&mut command(&busybox, &["tar", "-tzf", arg(&layer)]));
}

#[test]
fn busybox_tar_extracts_what_needs_no_pax_header() {
    let Some(busybox) = peer::require("busybox") else { return };
    let tree = tree::plain();
    let built = Built::new(tree.path(), &[]);
    let extracted = built.directory("extracted");
    run(&mut command(&busybox, &["tar", "-xzf", arg(&built.layer()), "-C", arg(&extracted)]));
    tree::assert_same(tree.path(), &extracted);
}
