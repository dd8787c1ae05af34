//! gzip reads the layer as one compressed file.

use bndlr::digest::Digest;

use crate::build::Built;
use crate::run::{arg, command, run};
use crate::shapes::decompressed;
use crate::table::{Program, proved};
use crate::{peer, tree};

#[test]
fn gzip_finds_no_fault_and_the_archive_is_the_one_that_the_config_names() {
    let Some(gzip) = peer::require("gzip") else { return };
    let tree = tree::sample();
    let built = Built::new(tree.path(), &[]);
    let layer = built.layer();
    assert!(command(&gzip, &["-t", arg(&layer)]).output().unwrap().stderr.is_empty(), "not even a warning");
    let archive = run(&mut command(&gzip, &["-dc", arg(&layer)]));
    assert_eq!(Digest::sha256(&archive).to_string(), built.diff_id());

    decompressed(|layer| Digest::sha256(&run(&mut command(&gzip, &["-dc", arg(layer)]))).to_string());
    proved(Program::Gzip, "inflates a layer of every shape to the bytes that the diff ID names");
}
