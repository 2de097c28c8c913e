//! Golden files: every stored format, byte for byte, and whole journals that are replayed.
//!
//! Kept for ever from the first release on, because a store is read by builds that did not write it. `tests/golden/v1`
//! holds records one by one, with the values that they mean in [`samples`], and in `stores/` all records of a store after
//! a few deploys. A missing file is written with `DEPLOY_GOLDEN=write`. One that is there is never changed by that:
//! `DEPLOY_GOLDEN=overwrite` does, and is for formats that no release has written yet.

mod facts;
mod forms;
mod plans;
mod samples;
mod stores;
mod words;

use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden/v1", name].iter().collect()
}

/// What the file holds. `now` is what this build writes: it is stored first, if that was asked for.
fn golden(name: &str, now: &str) -> String {
    let path = path(name);
    let asked = std::env::var("DEPLOY_GOLDEN").unwrap_or_default();
    if asked == "overwrite" || asked == "write" && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("{now}\n")).unwrap();
    }
    stored(name)
}

/// What the file holds, without the newline at its end.
fn stored(name: &str) -> String {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|error| {
        panic!("{name} is no golden file: {error} (DEPLOY_GOLDEN=write writes what is missing)")
    });
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

/// What is stored is what is there already: to the byte, and with the same meaning.
fn same<T>(name: &str, value: &T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let now = serde_json::to_string(value).unwrap();
    let stored = golden(name, &now);
    let read: T = serde_json::from_str(&stored).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(read, *value, "{name} is read as something else");
    assert_eq!(serde_json::to_string(&read).unwrap(), stored, "{name} would be written otherwise");
    read
}

/// What an entry states: the fact's word, and its content.
fn fact(entry: &serde_json::Value) -> (&str, serde_json::Value) {
    let (word, content) = entry["fact"].as_object().and_then(|fact| fact.iter().next()).unwrap();
    (word, content.clone())
}

/// Fails unless each variant is among the values. A variant that is not listed does not compile.
macro_rules! covered {
    ($values:expr, $type:ident { $($variant:ident),* $(,)? }) => {{
        let mut seen = std::collections::BTreeSet::new();
        for value in $values {
            seen.insert(match value { $($type::$variant { .. } => stringify!($variant)),* });
        }
        let all = std::collections::BTreeSet::from([$(stringify!($variant)),*]);
        let missing: Vec<_> = all.difference(&seen).collect();
        assert!(missing.is_empty(), "{} without a golden file: {missing:?}", stringify!($type));
    }};
}
use covered;
