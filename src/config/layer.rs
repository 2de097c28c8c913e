//! One layer: its typed values by key, each with the place where it stands.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use deploy_core::model::SecretRef;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    problem::Problem,
    schema::{self, Check, Rule, Takes},
    similar,
};

/// A table of the file: a name of each key with its value, in the order of the file.
pub(super) type Table<'a> = DeTable<'a>;

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) value: Value,
    /// The value in the text.
    pub(super) span: Range<usize>,
    /// The layer that it stands in: `app.prod-api`.
    pub(super) section: String,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Text with placeholders, and what it must be once they are filled in.
    Text(String, Check),
    Time(Duration),
    Flag(bool),
    Secret(SecretRef),
    /// Removed by `false`.
    Gone,
}

/// A layer: `ecs.service` to its value; and the tables of platforms that are not built.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    pub(super) values: BTreeMap<String, At>,
    pub(super) foreign: Vec<(String, Range<usize>)>,
}

impl Layer {
    /// Puts a later layer on top.
    pub(super) fn extend(&mut self, later: &Self) {
        self.values.extend(later.values.clone());
        self.foreign.extend(later.foreign.iter().cloned());
    }
}

/// The entries of a table in the order of the file.
pub(super) fn entries<'t, 'i>(
    table: &'t Table<'i>,
) -> Vec<(&'t str, Range<usize>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> =
        table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
    entries.sort_by_key(|(_, span, _)| span.start);
    entries
}

/// Reads the keys of a layer. `beside` are keys that the caller reads by itself.
pub(super) fn read(
    table: &Table<'_>,
    section: &str,
    beside: &[&'static str],
    problems: &mut Vec<Problem>,
) -> Layer {
    let mut reader = Reader { section, layer: Layer::default(), problems };
    reader.keys(table, "", schema::LAYER, beside);
    reader.layer
}

/// `in [app.prod-app.ecs]`.
fn place(section: &str, path: &str) -> String {
    let whole = [section, path.trim_end_matches('.')].into_iter().filter(|part| !part.is_empty());
    let whole = whole.collect::<Vec<_>>().join(".");
    if whole.is_empty() { "at the top".into() } else { format!("in [{whole}]") }
}

/// A key that is not known here, with the one that was probably meant.
pub(super) fn unknown(
    key: &str,
    span: &Range<usize>,
    section: &str,
    path: &str,
    known: &[&str],
    not_built: &[&str],
) -> Problem {
    let mut known: Vec<&str> = known.to_vec();
    known.sort_unstable();
    let meant = similar(key, known.iter().chain(not_built).copied());
    let label = meant.map_or_else(String::new, |meant| format!("did you mean `{meant}`?"));
    Problem::new(span, format!("unknown key `{}` {}", shown(key), place(section, path)))
        .label(label)
        .note(format!("keys here: {}", known.join(", ")))
        .secret(schema::sounds_secret(key))
}

/// A text of the file inside a message: short, and on one line.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.escape_debug().take(60).collect();
    if short.len() < text.len() {
        short += "...";
    }
    short
}

struct Reader<'p> {
    section: &'p str,
    layer: Layer,
    problems: &'p mut Vec<Problem>,
}

impl Reader<'_> {
    fn keys(&mut self, table: &Table<'_>, path: &str, rules: &'static [Rule], beside: &[&'static str]) {
        for (key, span, value) in entries(table) {
            if beside.contains(&key) {
                continue;
            }
            match rules.iter().find(|rule| rule.key == key) {
                Some(rule) => self.value(&format!("{path}{key}"), &span, value, &rule.takes),
                None => {
                    let names = |built: bool| {
                        rules.iter().filter(move |rule| rule.takes.is_built() == built).map(|rule| rule.key)
                    };
                    let known: Vec<_> = names(true).chain(beside.iter().copied()).collect();
                    let planned: Vec<_> = names(false).collect();
                    self.problems.push(unknown(key, &span, self.section, path, &known, &planned));
                }
            }
        }
    }

    fn value(&mut self, path: &str, key: &Range<usize>, value: &Spanned<DeValue<'_>>, takes: &'static Takes) {
        let at = value.span();
        match (takes, value.get_ref()) {
            (Takes::NotBuilt(what), _) => self.problems.push(not_built(path, key, what)),
            (Takes::NoPlatform, _) => self.layer.foreign.push((path.to_owned(), key.clone())),
            (Takes::Keys(rules), DeValue::Table(table)) => self.keys(table, &format!("{path}."), rules, &[]),
            (Takes::Named(what, check), DeValue::Table(table)) => {
                for (name, value) in self.named(table, path, what) {
                    self.text(&name, value, *check);
                }
            }
            (Takes::Secrets, DeValue::Table(table)) => {
                for (name, value) in self.named(table, path, "a secret") {
                    self.secret(&name, value);
                }
            }
            (Takes::Each(rules), DeValue::Table(table)) => {
                for (name, value) in self.named(table, path, "a container") {
                    self.each(&name, value, rules);
                }
            }
            (Takes::Text(check), _) => self.text(path, value, *check),
            (Takes::Time, DeValue::String(text)) => match duration(text) {
                Some(time) => self.put(path, Value::Time(time), at),
                None => self.wrong(path, &at, &format!("\"{}\" is no duration", shown(text)), DURATION),
            },
            (Takes::Time, other) => {
                // A number without unit: most probably seconds were meant.
                let help = match other.as_integer() {
                    Some(number) if number.as_str().len() < 10 => format!("write \"{}s\"", number.as_str()),
                    _ => DURATION.to_owned(),
                };
                self.wrong(path, &at, &format!("takes a duration, not {}", kind(other)), &help);
            }
            (Takes::Flag, DeValue::Boolean(flag)) => self.put(path, Value::Flag(*flag), at),
            (Takes::Flag, other) => {
                let text = format!("takes true or false, not {}", kind(other));
                self.wrong(path, &at, &text, "write true or false, without quotation marks");
            }
            (Takes::Keys(_) | Takes::Named(..) | Takes::Secrets | Takes::Each(_), other) => {
                let text = format!("takes a table, not {}", kind(other));
                self.wrong(path, &at, &text, &format!("its keys stand as `{path}.KEY = ...`"));
            }
        }
    }

    /// The entries of a table whose names are the file's own; those that are removed or no names are dealt with.
    fn named<'t, 'i>(
        &mut self,
        table: &'t Table<'i>,
        path: &str,
        what: &str,
    ) -> Vec<(String, &'t Spanned<DeValue<'i>>)> {
        let mut named = Vec::new();
        for (name, span, value) in entries(table) {
            if !schema::container(name) {
                let title = format!("`{}` is no name of {what}", shown(name));
                self.problems.push(Problem::new(&span, title).label("letters, digits, - and _ alone"));
            } else if value.get_ref().as_bool() == Some(false) {
                self.put(&format!("{path}.{name}"), Value::Gone, value.span());
            } else {
                named.push((format!("{path}.{name}"), value));
            }
        }
        named
    }

    /// A table with keys, which may be empty; `true` is short for that.
    fn each(&mut self, path: &str, value: &Spanned<DeValue<'_>>, rules: &'static [Rule]) {
        match value.get_ref() {
            DeValue::Boolean(true) => self.put(path, Value::Flag(true), value.span()),
            DeValue::Table(table) => {
                self.put(path, Value::Flag(true), value.span());
                self.keys(table, &format!("{path}."), rules, &[]);
            }
            other => {
                let text = format!("takes a table, or true, not {}", kind(other));
                self.wrong(path, &value.span(), &text, &format!("its keys stand as `{path}.KEY = ...`"));
            }
        }
    }

    /// `{ from_env = "NAME" }` or `{ file = "PATH" }`.
    fn secret(&mut self, path: &str, value: &Spanned<DeValue<'_>>) {
        let at = value.span();
        let found = value.get_ref().as_table().filter(|table| table.len() == 1).and_then(|table| {
            let (key, inner) = table.iter().next()?;
            let inner = inner.get_ref().as_str().filter(|text| !text.trim().is_empty())?.to_owned();
            match key.get_ref().as_ref() {
                "from_env" => Some(SecretRef::FromEnv(inner)),
                "file" => Some(SecretRef::File(inner)),
                _ => None,
            }
        });
        match found {
            Some(secret) => self.put(path, Value::Secret(secret), at),
            None => {
                let title = format!("{path} takes the place of a secret, and never its value");
                let help = "write { from_env = \"NAME\" } or { file = \"PATH\" }";
                self.problems.push(Problem::new(&at, title).label(help).secret(true));
            }
        }
    }

    fn text(&mut self, path: &str, value: &Spanned<DeValue<'_>>, check: Check) {
        let at = value.span();
        let Some(text) = value.get_ref().as_str() else {
            let help = match value.get_ref() {
                // An account without quotation marks would lose its zeroes.
                DeValue::Integer(number) => format!("write \"{}\"", shown(number.as_str())),
                DeValue::Table(_) => "it is no secret: write its value in quotation marks".to_owned(),
                _ => "write it in quotation marks".to_owned(),
            };
            let text = format!("takes text, not {}", kind(value.get_ref()));
            return self.wrong(path, &at, &text, &help);
        };
        if let Err((label, note)) = placeholders(text) {
            let title = format!("{path} {}", place(self.section, ""));
            self.problems.push(Problem::new(&at, format!("{label} in {title}")).label(note));
        } else if !text.contains('{')
            && let Err(wrong) = check(text)
        {
            self.problems.push(bad_value(path, &at, self.section, text, &wrong));
        } else {
            self.put(path, Value::Text(text.to_owned(), check), at);
        }
    }

    fn put(&mut self, path: &str, value: Value, span: Range<usize>) {
        self.layer.values.insert(path.to_owned(), At { value, span, section: self.section.to_owned() });
    }

    fn wrong(&mut self, path: &str, at: &Range<usize>, what: &str, help: &str) {
        let title = format!("{path} {what}");
        self.problems.push(Problem::new(at, title).label(help));
    }
}

const DURATION: &str = "write it like \"90s\", \"10m\" or \"1h30m\"";

pub(super) fn not_built(path: &str, key: &Range<usize>, what: &str) -> Problem {
    Problem::new(key, format!("`{path}` is not built yet: {what}"))
        .label("take it out for now: it would be ignored")
        .secret(true)
}

pub(super) fn bad_value(
    path: &str,
    at: &Range<usize>,
    section: &str,
    value: &str,
    wrong: &schema::Wrong,
) -> Problem {
    let title = format!("{path} = \"{}\" {} {}", shown(value), wrong.0, place(section, ""));
    Problem::new(at, title).label(wrong.1.clone())
}

pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Fills in `{app}` and `{env}`.
pub(super) fn fill(text: &str, app: &str, env: &str) -> String {
    text.replace("{app}", app).replace("{env}", env)
}

/// Whether all placeholders are known: what is wrong, and what to write.
fn placeholders(text: &str) -> Result<(), (String, String)> {
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let inside = &rest[at + 1..];
        let Some(end) = inside.find('}').filter(|_| rest[at..].starts_with('{')) else {
            return Err(("a lone brace".into(), "placeholders are {app} and {env}".into()));
        };
        match &inside[..end] {
            "app" | "env" => {}
            "commit" => {
                let help = "images take their tag from it by themselves; elsewhere it is not known yet";
                return Err(("{commit} cannot stand".into(), help.into()));
            }
            other => {
                return Err((
                    format!("unknown placeholder {{{}}}", shown(other)),
                    "placeholders are {app} and {env}".into(),
                ));
            }
        }
        rest = &inside[end + 1..];
    }
    Ok(())
}

/// `90s`, `10m`, `1h30m`, `2d`.
fn duration(text: &str) -> Option<Duration> {
    let (mut seconds, mut rest) = (0_u64, text);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let mut letters = after.chars();
        let unit = match letters.next()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = letters.as_str();
    }
    // Above a year it is a slip, and sums of milliseconds stay far from their bounds.
    (seconds <= 366 * 86_400).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("10m", Some(600)),
            ("1h30m", Some(5_400)),
            ("2d", Some(172_800)),
            ("0s", Some(0)),
        ] {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
        }
        for text in ["", "90", "s", "1.5h", "-1s", "1 m", "5min", "99999999999999999999s", "400d", "1ms", "é"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_known_placeholders_are_taken() {
        assert!(placeholders("{app}-{env}").is_ok());
        for text in ["{", "}", "{ap}", "{app", "a}b{", "{commit}", "{{app}}", "{}"] {
            assert!(placeholders(text).is_err(), "{text}");
        }
    }
}
