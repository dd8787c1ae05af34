//! What the program says, as it was when somebody looked at it: in `tests/snapshots/`, a file each.

use std::env;
use std::fs;
use std::path::Path;

/// That `text` is what the snapshot `name` has. With `BNDLR_UPDATE_SNAPSHOTS=1` it is, from now on.
#[track_caller]
pub fn assert(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if env::var_os("BNDLR_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "{name} is not what it was. BNDLR_UPDATE_SNAPSHOTS=1 takes it as it is, and git diff shows what has changed.\n\
         --- was\n{expected}\n--- is\n{text}"
    );
}
