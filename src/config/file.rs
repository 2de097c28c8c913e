//! The whole file: its top, its layers, and the targets that come of them.

use std::{ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    layer::{self, Layer, Table, kind, shown, unknown},
    problem::{Problem, position},
    schema, similar,
    target::{self, TargetConfig},
};

const TOP: &[&str] = &["version", "state", "defaults", "env", "app"];
/// The version of the file's format.
const VERSION: &str = "1";

/// An environment, with the layer `[env.E]`.
#[derive(Debug)]
pub(super) struct Env {
    pub(super) name: String,
    pub(super) layer: Layer,
}

/// An app, with the layer `[app.A]` and those of `[app.A.env.E]`.
#[derive(Debug)]
pub(super) struct App {
    pub(super) name: String,
    pub(super) span: Range<usize>,
    pub(super) layer: Layer,
    /// The environments that it says it is in.
    pub(super) only: Option<Vec<String>>,
    pub(super) envs: Vec<Env>,
}

/// A file, as far as it could be read.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) state: Option<String>,
    pub(super) defaults: Layer,
    pub(super) envs: Vec<Env>,
    pub(super) apps: Vec<App>,
    /// It is no TOML: what is missing may be there.
    broken: bool,
}

impl File {
    pub(super) fn read(text: &str, problems: &mut Vec<Problem>) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut file = Self { broken: !errors.is_empty(), ..Self::default() };
        let syntax = errors.iter().map(|error| {
            let at = error.span().unwrap_or(0..0);
            let problem = Problem::new(&at, format!("no TOML: {}", error.message().replace('\n', ", ")));
            // The one thing about TOML that a file like this stumbles over.
            let twice = error.message().contains("duplicate key");
            problem.label(if twice {
                "a table is written as a header or as dotted keys, not both"
            } else {
                ""
            })
        });
        let syntax: Vec<Problem> = syntax.collect();
        let mut rest = Vec::new();
        file.top(root.get_ref(), &mut rest);
        // What stands on a broken line was perhaps not read as it was meant.
        let lines: Vec<usize> = syntax.iter().map(|problem| position(text, problem.start()).0).collect();
        rest.retain(|problem: &Problem| !lines.contains(&position(text, problem.start()).0));
        problems.extend(syntax);
        problems.extend(rest);
        file
    }

    fn top(&mut self, root: &Table<'_>, problems: &mut Vec<Problem>) {
        if !self.broken && !root.contains_key("version") {
            let help = "the first line of the file is `version = 1`";
            problems.push(Problem::new(&(0..0), "the file says no version").label(help));
        }
        // Environments first: apps name them.
        let mut entries = layer::entries(root);
        entries.sort_by_key(|(key, ..)| *key == "app");
        for (key, span, value) in entries {
            match key {
                "version" => version(value, problems),
                "state" => self.state = state(value, problems),
                "defaults" => {
                    if let Some(table) = table(key, value, problems) {
                        self.defaults = layer::read(table, "defaults", &[], problems);
                        foreign_is_not_built(&self.defaults, problems);
                    }
                }
                "env" => {
                    for (name, span, table) in named(key, value, problems) {
                        if !schema::part_of_a_target(name) {
                            problems.push(bad_name(name, "an environment", &span));
                        }
                        let layer = layer::read(table, &format!("env.{name}"), &[], problems);
                        foreign_is_not_built(&layer, problems);
                        self.envs.push(Env { name: name.to_owned(), layer });
                    }
                }
                "app" => {
                    for (name, span, table) in named(key, value, problems) {
                        if !schema::part_of_a_target(name) {
                            problems.push(bad_name(name, "an app", &span));
                        }
                        let app = self.app(name, span, table, problems);
                        self.apps.push(app);
                    }
                }
                "alerts" => problems.push(layer::not_built(key, &span, "telling people how deploys end")),
                other => problems.push(unknown(other, &span, "", "", TOP, &["alerts"])),
            }
        }
    }

    fn app(&self, name: &str, span: Range<usize>, table: &Table<'_>, problems: &mut Vec<Problem>) -> App {
        let section = format!("app.{name}");
        let layer = layer::read(table, &section, &["env", "envs"], problems);
        let mut app = App { name: name.to_owned(), span, layer, only: None, envs: Vec::new() };
        if let Some(value) = table.get("envs") {
            app.only = Some(self.names(&section, value, problems));
        }
        if let Some(value) = table.get("env") {
            for (env, span, table) in self::named(&format!("{section}.env"), value, problems) {
                self.known_env(env, &span, problems);
                if app.only.as_ref().is_some_and(|only| !only.iter().any(|one| one == env)) {
                    let title = format!("{name} is not in `{}`", shown(env));
                    problems.push(Problem::new(&span, title).label("add it to `envs`, or take this out"));
                }
                let layer = layer::read(table, &format!("{section}.env.{env}"), &[], problems);
                app.envs.push(Env { name: env.to_owned(), layer });
            }
        }
        app
    }

    /// The environments that `envs` names.
    fn names(&self, section: &str, value: &Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) -> Vec<String> {
        let mut names = Vec::new();
        let help = "write it like envs = [\"staging\"]";
        let Some(list) = value.get_ref().as_array() else {
            let title = format!("envs takes a list, not {}, in [{section}]", kind(value.get_ref()));
            problems.push(Problem::new(&value.span(), title).label(help));
            return names;
        };
        if list.is_empty() {
            let title = format!("envs is empty in [{section}]: the app would be nowhere");
            problems.push(Problem::new(&value.span(), title).label(help));
        }
        for one in list.iter() {
            let Some(name) = one.get_ref().as_str() else {
                let title = format!("envs takes names, not {}, in [{section}]", kind(one.get_ref()));
                problems.push(Problem::new(&one.span(), title).label(help));
                continue;
            };
            self.known_env(name, &one.span(), problems);
            names.push(name.to_owned());
        }
        names
    }

    fn known_env(&self, name: &str, span: &Range<usize>, problems: &mut Vec<Problem>) {
        if self.envs.iter().any(|env| env.name == name) {
            return;
        }
        let known: Vec<&str> = self.envs.iter().map(|env| env.name.as_str()).collect();
        let meant = similar(name, known.iter().copied());
        let label = meant.map_or_else(
            || format!("add [env.{}] if it is a new one", shown(name)),
            |meant| format!("did you mean `{meant}`?"),
        );
        let mut problem = Problem::new(span, format!("no environment `{}`", shown(name))).label(label);
        if !known.is_empty() {
            problem = problem.note(format!("environments: {}", known.join(", ")));
        }
        problems.push(problem);
    }

    /// The environments that an app is in, in the order of the file.
    pub(super) fn envs_of(&self, app: &App) -> Vec<String> {
        let known = self.envs.iter().map(|env| &env.name);
        let is_in = |name: &&String| app.only.as_ref().is_none_or(|only| only.contains(name));
        known.filter(is_in).cloned().collect()
    }

    /// All targets. What is missing is a problem here, and what only shows once the layers are merged.
    pub(super) fn targets(&self, path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<TargetConfig> {
        let mut targets = Vec::new();
        if self.broken {
            return targets;
        }
        if problems.is_empty() && (self.apps.is_empty() || self.envs.is_empty()) {
            let what = if self.apps.is_empty() { "app" } else { "environment" };
            let help = "a target is an app in an environment: [env.production] and [app.NAME]";
            problems.push(Problem::new(&(0..0), format!("the file has no {what}")).label(help));
        }
        let clean = problems.is_empty();
        let mut missing = Vec::new();
        for app in &self.apps {
            for env in self.envs.iter().filter(|env| self.envs_of(app).contains(&env.name)) {
                let mut merged = self.defaults.clone();
                merged.extend(&env.layer);
                // What follows belongs to the app alone: tables of other platforms are its own mistake.
                merged.foreign.clear();
                merged.extend(&app.layer);
                if let Some(own) = app.envs.iter().find(|own| own.name == env.name) {
                    merged.extend(&own.layer);
                }
                let making = target::Making { path, text, app: &app.name, env: &env.name };
                targets.extend(making.make(&merged, &mut missing, problems));
            }
            // A key that is missing may be one that another problem is about.
            if clean {
                problems.extend(missing_keys(app, &mut missing));
            }
            missing.clear();
        }
        target::two_of_a_place(&targets, problems);
        targets
    }
}

/// One problem for each key, whatever the number of environments.
fn missing_keys(app: &App, missing: &mut Vec<(&'static str, String)>) -> Vec<Problem> {
    let mut keys: Vec<&str> = missing.iter().map(|(key, _)| *key).collect();
    keys.dedup();
    keys.sort_unstable();
    keys.dedup();
    let problem = |key: &str| {
        let targets = missing.iter().filter(|(of, _)| *of == key).map(|(_, target)| target.as_str());
        let title = format!("`{key}` is missing for {}", targets.collect::<Vec<_>>().join(", "));
        let help = match key.split_once('.') {
            Some((table, key)) => format!("set `{key}` in [app.{}.{table}] or [defaults.{table}]", app.name),
            None => format!("set `{key}` in [app.{}] or [defaults]", app.name),
        };
        Problem::new(&app.span, title).label(help)
    };
    keys.into_iter().map(problem).collect()
}

fn foreign_is_not_built(layer: &Layer, problems: &mut Vec<Problem>) {
    for (table, span) in &layer.foreign {
        problems.push(layer::not_built(table, span, "deploying to this platform"));
    }
}

fn bad_name(name: &str, what: &str, span: &Range<usize>) -> Problem {
    let title = format!("`{}` cannot be the name of {what}", shown(name));
    Problem::new(span, title).label("a target is app/env: letters, digits, - _ and dots")
}

fn version(value: &Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) {
    if value.get_ref().as_integer().is_some_and(|number| number.as_str() == VERSION) {
        return;
    }
    let title = "this build reads version 1 of the file";
    problems.push(Problem::new(&value.span(), title).label("write `version = 1`"));
}

fn state(value: &Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) -> Option<String> {
    let at = value.span();
    let help = "write it like \"sqlite:.deploy/state.db\"";
    let Some(url) = value.get_ref().as_str() else {
        let title = format!("state takes text, not {}", kind(value.get_ref()));
        problems.push(Problem::new(&at, title).label(help));
        return None;
    };
    match super::connect::check_state(url) {
        Ok(()) => Some(url.to_owned()),
        Err(what) => {
            problems.push(Problem::new(&at, format!("state = \"{}\" {what}", shown(url))).label(help));
            None
        }
    }
}

fn table<'t, 'i>(
    key: &str,
    value: &'t Spanned<DeValue<'i>>,
    problems: &mut Vec<Problem>,
) -> Option<&'t Table<'i>> {
    let found = value.get_ref().as_table();
    if found.is_none() {
        let title = format!("`{key}` takes a table, not {}", kind(value.get_ref()));
        problems
            .push(Problem::new(&value.span(), title).label(format!("write [{key}] on a line of its own")));
    }
    found
}

/// The tables of a table, in the order of the file.
fn named<'t, 'i>(
    key: &str,
    value: &'t Spanned<DeValue<'i>>,
    problems: &mut Vec<Problem>,
) -> Vec<(&'t str, Range<usize>, &'t Table<'i>)> {
    let Some(all) = table(key, value, problems) else { return Vec::new() };
    let mut tables = Vec::new();
    for (name, span, value) in layer::entries(all) {
        if let Some(found) = table(&format!("{key}.{name}"), value, problems) {
            tables.push((name, span, found));
        }
    }
    tables
}
