//! pigz, which inflates with threads of its own.

use bndlr::digest::Digest;

use crate::build::Built;
use crate::run::{arg, command, run};
use crate::shapes::decompressed;
use crate::table::{Program, proved};
use crate::{peer, tree};

#[test]
fn pigz_finds_no_fault_and_the_same_archive() {
    let Some(pigz) = peer::require("pigz") else { return };
    let tree = tree::sample();
    let built = Built::new(tree.path(), &[]);
    let layer = built.layer();
    run(&mut command(&pigz, &["-t", arg(&layer)]));
    let archive = run(&mut command(&pigz, &["-dc", arg(&layer)]));
    assert_eq!(Digest::sha256(&archive).to_string(), built.diff_id());

    decompressed(|layer| Digest::sha256(&run(&mut command(&pigz, &["-dc", arg(layer)]))).to_string());
    proved(Program::Pigz, "inflates a layer of every shape to the bytes that the diff ID names");
}
