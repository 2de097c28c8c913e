//! Golden files: what is written is compared byte for byte, and changed only on purpose.

use std::path::Path;

/// Compares with a file of this directory. With `DEPLOY_GOLDEN=write` the file is written instead.
pub(crate) fn same(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("DEPLOY_GOLDEN").is_some_and(|what| what == "write") {
        std::fs::write(&path, text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    for (at, (stored, now)) in stored.lines().zip(text.lines()).enumerate() {
        assert_eq!(stored, now, "line {} of {name}", at + 1);
    }
    assert_eq!(stored, text, "{name}");
}
