//! Heads, segments and target records, and what every reader does with what it does not know.

use serde_json::{Value, json};

use super::{
    covered, facts, plans, same,
    samples::{claim, held, pointer, record, segment, target},
    stored,
};
use crate::{
    error::ErrorKind,
    model::Plan,
    state::{
        format::{self, Stored},
        head::{Head, Segment, TargetRecord},
        journal::CommandKind,
    },
};

fn heads() -> [(&'static str, Head); 3] {
    [
        ("head/first.json", Head::first(claim(), target())),
        ("head/held.json", held()),
        ("head/pointer.json", pointer()),
    ]
}

fn segments() -> [(&'static str, Segment); 2] {
    [("segment/first.json", segment(false)), ("segment/next.json", segment(true))]
}

fn records() -> [(&'static str, TargetRecord); 2] {
    [
        ("target/pinned.json", record(None)),
        ("target/pinned-again.json", record(Some("the cluster has moved"))),
    ]
}

#[test]
fn every_record_is_stored_as_it_always_was() {
    let heads = heads().map(|(name, head)| {
        let read = same(name, &head);
        // The readers that are used read the same.
        assert_eq!(Head::parse(stored(name).as_bytes()).unwrap(), head);
        assert_eq!(head.to_bytes(), stored(name).as_bytes());
        read
    });
    let commands = heads.iter().flat_map(|head| &head.commands).map(|command| &command.command);
    covered!(commands, CommandKind { Pause, Resume, Promote, Approve, Abort, Rollback, Abandon });
    segments().iter().for_each(|(name, segment)| drop(same(name, segment)));
    records().iter().for_each(|(name, record)| drop(same(name, record)));
}

/// The records of one kind, as JSON, with their reader.
fn each(check: impl Fn(&str, &Value, &dyn Fn(&Value) -> Result<(), crate::Error>)) {
    fn reader<T: Stored>(value: &Value) -> Result<(), crate::Error> {
        format::parse::<T>(value.to_string().as_bytes()).map(drop)
    }
    let read = |name: &str| serde_json::from_str::<Value>(&stored(name)).unwrap();
    heads().iter().for_each(|(name, _)| check(name, &read(name), &reader::<Head>));
    segments().iter().for_each(|(name, _)| check(name, &read(name), &reader::<Segment>));
    records().iter().for_each(|(name, _)| check(name, &read(name), &reader::<TargetRecord>));
    plans::all().iter().for_each(|(name, _)| check(name, &read(name), &reader::<Plan>));
}

#[test]
fn a_newer_format_is_refused_as_such() {
    each(|name, value, read| {
        read(value).unwrap();
        let mut newer = value.clone();
        newer["v"] = json!(2);
        for refused in [newer, json!({ "v": 2 }), json!({ "v": 2, "tail": "elsewhere now" })] {
            let error = read(&refused).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}");
            assert!(error.to_string().contains("has format 2; this build knows 1"), "{name}: {error}");
            assert!(error.to_string().contains("newer one"), "what to do is said: {error}");
        }
        // Nothing at all is damage, and not news.
        assert_eq!(read(&json!({})).unwrap_err().kind(), ErrorKind::Malformed, "{name}");
    });
}

#[test]
fn a_newer_entry_in_an_old_record_is_refused_as_such() {
    for (name, place) in [("head/held.json", "tail"), ("segment/next.json", "entries")] {
        let mut value: Value = serde_json::from_str(&stored(name)).unwrap();
        let read = |value: &Value| {
            let body = value.to_string();
            let head = format::parse::<Head>(body.as_bytes()).map(drop);
            if place == "tail" { head } else { format::parse::<Segment>(body.as_bytes()).map(drop) }
        };
        value[place][0]["v"] = json!(2);
        assert_eq!(read(&value).unwrap_err().kind(), ErrorKind::Unsupported, "{name}");
        value[place][0]["fact"] = json!({ "later": {} });
        assert_eq!(read(&value).unwrap_err().kind(), ErrorKind::Unsupported, "{name}");
    }
}

/// A word that is not known is refused and not skipped: what follows would mean something else without it.
#[test]
fn an_unknown_word_is_refused() {
    let mut tried = 0;
    for (name, entry) in facts::all() {
        let mut head = serde_json::to_value(held()).unwrap();
        head["tail"] = json!([entry]);
        assert!(Head::parse(head.to_string().as_bytes()).is_ok(), "{name}");
        let (fact, content) = super::fact(&head["tail"][0]);
        let mut refused = |changed: Value, what: &str| {
            let mut head = head.clone();
            head["tail"][0]["fact"] = changed;
            let error = Head::parse(head.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{name} {what}");
            tried += 1;
        };
        refused(json!({ "later": content }), "as a fact");
        for word in ["state", "closed", "decision", "command", "how", "result", "class", "blame"] {
            // The state of a migration is free text.
            if content.get(word).is_some() && (word, fact) != ("state", "migration") {
                let mut content = content.clone();
                content[word] = json!("later");
                refused(json!({ fact: content }), word);
            }
        }
    }
    assert!(tried > 60, "{tried}");
    let mut head = serde_json::to_value(held()).unwrap();
    head["commands"][0]["command"] = json!("later");
    assert!(Head::parse(head.to_string().as_bytes()).is_err(), "nobody may say yes to what it does not know");
}

/// Fields of a later version are skipped wherever they are; everything else means what it meant.
#[test]
fn an_unknown_field_is_skipped() {
    let places = [
        "",
        "/holder",
        "/open/0",
        "/tail/0",
        "/tail/0/fact/notice",
        "/segment",
        "/commands/0",
        "/blocks/0",
        "/obligations/0",
        "/known_good/0",
        "/known_good/0/revision",
    ];
    for place in places {
        let mut value = serde_json::to_value(held()).unwrap();
        value.pointer_mut(place).unwrap()["later"] = json!({ "much": [1, 2] });
        assert_eq!(Head::parse(value.to_string().as_bytes()).unwrap(), held(), "{place}");
    }
    for place in ["", "/capabilities", "/capabilities/lateness", "/steps/0", "/way_back", "/base", "/diff/0"]
    {
        let mut value = serde_json::to_value(plans::full()).unwrap();
        value.pointer_mut(place).unwrap()["later"] = json!(true);
        let body = value.to_string();
        assert_eq!(format::parse::<Plan>(body.as_bytes()).unwrap(), plans::full(), "{place}");
    }
    for (name, entry) in facts::all() {
        let mut value = serde_json::to_value(&entry).unwrap();
        let (fact, mut content) = super::fact(&value);
        content["later"] = json!(1);
        value["fact"] = json!({ fact: content });
        assert_eq!(serde_json::from_value::<crate::state::journal::Entry>(value).unwrap(), entry, "{name}");
    }
}

/// What must be there is not made up.
#[test]
fn a_missing_field_is_refused() {
    let optional = ["obligations", "plan"];
    let whole = serde_json::to_value(held()).unwrap();
    for field in whole.as_object().unwrap().keys() {
        let mut value = whole.clone();
        value.as_object_mut().unwrap().remove(field);
        let read = Head::parse(value.to_string().as_bytes());
        // `Option` fields read as absent; of them, those that decide who may write are listed here.
        let may = optional.contains(&field.as_str()) || whole[field].is_null();
        let is_option = ["holder", "claim", "segment"].contains(&field.as_str());
        assert_eq!(read.is_ok(), may || is_option, "{field}");
    }
}
