//! The zstd program, which inflates gzip, too.

use bndlr::digest::Digest;

use crate::build::Built;
use crate::run::{arg, command, run};
use crate::shapes::decompressed;
use crate::table::{Program, proved};
use crate::{peer, tree};

#[test]
fn zstd_finds_no_fault_and_the_same_archive() {
    let Some(zstd) = peer::require("zstd") else { return };
    let tree = tree::sample();
    let built = Built::new(tree.path(), &[]);
    let layer = built.layer();
    run(&mut command(&zstd, &["-q", "-t", arg(&layer)]));
    let archive = run(&mut command(&zstd, &["-q", "-dc", arg(&layer)]));
    assert_eq!(Digest::sha256(&archive).to_string(), built.diff_id());

    decompressed(|layer| Digest::sha256(&run(&mut command(&zstd, &["-q", "-dc", arg(layer)]))).to_string());
    proved(Program::Zstd, "inflates a layer of every shape to the bytes that the diff ID names");
}
