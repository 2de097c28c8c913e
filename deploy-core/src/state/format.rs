//! Reading what is stored: the format version first, then the rest.
//!
//! A record of a newer format is refused as such, whatever else of it cannot be understood: "use a newer build" helps,
//! "this is damaged" would send a person to a backup. Fields that are not known are skipped; words that are not known
//! (a fact, a state, a command) are refused, because leaving one out would change what the rest means.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    head::{Head, Segment, TargetRecord},
    journal::{Entry, STATE_VERSION},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{PLAN_VERSION, Plan},
};

/// A record with a format version of its own.
pub(crate) trait Stored: DeserializeOwned {
    /// What it is called in errors.
    const WHAT: &'static str;
    /// The newest format that this build reads.
    const KNOWN: u32 = STATE_VERSION;

    /// The newest format in it, that of its entries included.
    fn newest(&self) -> u32;
}

impl Stored for Head {
    const WHAT: &'static str = "head";

    fn newest(&self) -> u32 {
        newest(self.v, &self.tail)
    }
}

impl Stored for Segment {
    const WHAT: &'static str = "journal segment";

    fn newest(&self) -> u32 {
        newest(self.v, &self.entries)
    }
}

impl Stored for TargetRecord {
    const WHAT: &'static str = "target record";

    fn newest(&self) -> u32 {
        self.v
    }
}

impl Stored for Plan {
    const WHAT: &'static str = "plan";
    const KNOWN: u32 = PLAN_VERSION;

    fn newest(&self) -> u32 {
        self.v
    }
}

fn newest(v: u32, entries: &[Entry]) -> u32 {
    entries.iter().map(|entry| entry.v).fold(v, u32::max)
}

/// The newest version in a record of which nothing else may be understood.
fn newest_of_unknown(body: &[u8]) -> u64 {
    let Ok(record) = serde_json::from_slice::<Value>(body) else { return 0 };
    let of = |value: &Value| value.get("v").and_then(Value::as_u64).unwrap_or(0);
    let entries = ["tail", "entries"].into_iter().filter_map(|list| record.get(list)?.as_array()).flatten();
    entries.map(of).fold(of(&record), u64::max)
}

/// Reads a stored record.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if a newer version wrote it, [`ErrorKind::Malformed`] if it is not one.
pub(crate) fn parse<T: Stored>(body: &[u8]) -> Result<T> {
    let read = serde_json::from_slice::<T>(body);
    let found = match &read {
        Ok(record) => record.newest().into(),
        Err(_) => newest_of_unknown(body),
    };
    if found > u64::from(T::KNOWN) {
        let text = format!("a stored {} has format {found}; this build knows {}", T::WHAT, T::KNOWN);
        return Err(
            Error::new(ErrorKind::Unsupported, text).next("use the build that wrote it, or a newer one")
        );
    }
    read.map_err(|error| {
        Error::new(ErrorKind::Malformed, format!("a stored {} cannot be read: {error}", T::WHAT))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        hash,
        model::{Claim, RolloutId, TargetName, Timestamp},
        state::{
            Expect, Key, StateStore, head::SegmentRef, journal::Fact, records::Records,
            stores::memory::MemoryStore,
        },
    };

    /// A store with one segment of this text, and a head that names it by the hash of another.
    async fn with_segment(body: &str, hashed: &str) -> Result<Vec<Entry>> {
        let (store, claim) = (MemoryStore::new(), Claim::new("c"));
        let mut head = Head::first(claim.clone(), TargetName::new("shop", "test")?);
        head.segment = Some(SegmentRef { name: "s".into(), hash: hash::bytes(hashed.as_bytes()) });
        let records = Records::new(Arc::new(store.clone()), None);
        store.write(&records.segment_key(&claim, "s"), Expect::Absent, body.into()).await?;
        records.entries_back(&claim, &head, |_| false).await
    }

    fn segment() -> Segment {
        let fact = Fact::Notice { level: "info".into(), code: "c".into(), about: "a".into() };
        Segment::new(None, vec![Entry::new(1, Timestamp::from_millis(0), RolloutId::new("r"), fact)])
    }

    #[tokio::test]
    async fn a_segment_with_more_fields_than_are_known_is_what_it_was() {
        let mut later = serde_json::to_value(segment()).unwrap();
        (later["later"], later["entries"][0]["later"]) = (json!(1), json!([2]));
        let later = later.to_string();
        assert_eq!(with_segment(&later, &later).await.unwrap(), segment().entries);
        let error = with_segment(&later.replace("info", "warn"), &later).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store, "other bytes than were written: {error}");
    }

    #[tokio::test]
    async fn records_of_a_newer_format_are_refused_wherever_they_are_read() {
        let later = json!({ "v": 2, "entries": "elsewhere now" }).to_string();
        assert_eq!(with_segment(&later, &later).await.unwrap_err().kind(), ErrorKind::Unsupported);
        let (store, name) = (MemoryStore::new(), TargetName::new("shop", "test").unwrap());
        let records = Records::new(Arc::new(store.clone()), None);
        let key = Key::new(["v1", "target", "shop", "test"]);
        store.write(&key, Expect::Absent, later.clone().into()).await.unwrap();
        let error = records.target(&name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("v1/target/shop/test"), "{error}");
        let plan = hash::bytes(later.as_bytes());
        store.write(&Key::new(["v1", "obj", &plan]), Expect::Absent, later.into()).await.unwrap();
        assert_eq!(records.plan(&plan).await.unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
