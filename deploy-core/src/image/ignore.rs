//! `.dockerignore`: which files of a folder are no part of a build.
//!
//! The rules are Docker's own (<https://docs.docker.com/build/concepts/context/#dockerignore-files>), which are neither
//! git's nor a shell's: patterns are rooted at the context, a pattern matches what lies below a match too, the last
//! pattern that matches decides, and `**` may stand anywhere.

use regex_lite::Regex;

use crate::error::{Error, ErrorKind, Result};

/// The patterns of a `.dockerignore`, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Ignore(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    /// Brings back what an earlier pattern took out.
    exception: bool,
    matches: Regex,
    /// The text up to the first special character: what it matches begins so.
    literal: String,
    is_literal: bool,
}

/// Which patterns matched a folder: they match everything in it, too.
#[derive(Debug, Clone, Default)]
pub(super) struct Matched(Vec<bool>);

impl Ignore {
    /// Reads patterns, one a line. `file` is its name, for errors.
    pub(super) fn parse(text: &str, file: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (exception, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let bad = || {
                let text = format!("{file}, line {}: `{}` is not a pattern", at + 1, line.escape_debug());
                Error::new(ErrorKind::Invalid, text).next("Docker would refuse it, too")
            };
            if pattern.is_empty() {
                if exception {
                    return Err(bad());
                }
                continue;
            }
            patterns.push(Pattern::new(&clean(pattern), exception).ok_or_else(bad)?);
        }
        Ok(Self(patterns))
    }

    /// Brings one path back, whatever the patterns say.
    pub(super) fn always(&mut self, path: &str) {
        let escaped: String = path.chars().flat_map(|c| escape(c, "*?[]\\")).collect();
        self.0.extend(Pattern::new(&escaped, true));
    }

    /// Whether a path is taken out. `parent` is what matched its folder.
    pub(super) fn excludes(&self, path: &str, parent: &Matched) -> (bool, Matched) {
        let (mut excluded, mut matched) = (false, Vec::with_capacity(self.0.len()));
        for (at, pattern) in self.0.iter().enumerate() {
            let hit = parent.0.get(at).copied().unwrap_or(false) || pattern.matches.is_match(path);
            matched.push(hit);
            if hit {
                excluded = !pattern.exception;
            }
        }
        (excluded, Matched(matched))
    }

    /// Whether something below a folder that is taken out may be brought back, so that it has to be looked into.
    pub(super) fn may_keep_below(&self, folder: &str) -> bool {
        let below = format!("{folder}/");
        self.0.iter().filter(|pattern| pattern.exception).any(|pattern| {
            pattern.literal.starts_with(&below) || !pattern.is_literal && below.starts_with(&pattern.literal)
        })
    }
}

/// As a path in its shortest form: without `.`, `..`, doubled and outer slashes.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            // Above the root is the root.
            ".." if pattern.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

impl Pattern {
    fn new(pattern: &str, exception: bool) -> Option<Self> {
        let mut regex = String::from("(?s)^");
        let (mut literal, mut is_literal) = (String::new(), true);
        let mut chars = pattern.chars().peekable();
        let rest_is_plain = |rest: &str| !rest.contains(['*', '?', '[', ']', '\\']);
        let mut at_start = true;
        while let Some(c) = chars.next() {
            let was_literal = is_literal;
            match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    is_literal = false;
                    let folder = chars.next_if_eq(&'/').is_some();
                    let rest: String = chars.clone().collect();
                    let anything = rest.is_empty() || at_start && !folder && rest_is_plain(&rest);
                    regex.push_str(if anything { ".*" } else { "(?:.*/)?" });
                }
                '*' => {
                    is_literal = false;
                    regex.push_str("[^/]*");
                }
                '?' => {
                    is_literal = false;
                    regex.push_str("[^/]");
                }
                '[' => {
                    is_literal = false;
                    regex.push_str(&class(&mut chars)?);
                }
                c => {
                    let c = if c == '\\' { chars.next()? } else { c };
                    regex.extend(escape(c, ".+*?()|[]{}^$\\"));
                    if was_literal {
                        literal.push(c);
                    }
                }
            }
            at_start = false;
        }
        regex.push('$');
        Some(Self { exception, matches: Regex::new(&regex).ok()?, literal, is_literal })
    }
}

fn escape(c: char, special: &str) -> impl Iterator<Item = char> + use<> {
    let backslash = special.contains(c).then_some('\\');
    backslash.into_iter().chain([c])
}

/// A class of characters, from after its opening bracket: `[a-z]`, `[^a-z]`, with `\` before what would be special.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut out = String::from(if chars.next_if_eq(&'^').is_some() { "[^" } else { "[" });
    let one = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    };
    let mut empty = true;
    loop {
        if !empty && chars.next_if_eq(&']').is_some() {
            out.push(']');
            return Some(out);
        }
        empty = false;
        let low = one(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { one(chars)? } else { low };
        if high < low {
            return None;
        }
        for (at, c) in [low, high].into_iter().enumerate() {
            out.push_str(if at == 0 { "" } else { "-" });
            out.extend(escape(c, "[]^-\\&~"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the walk asks: folder by folder.
    fn excluded(patterns: &str, path: &str) -> bool {
        let ignore = Ignore::parse(patterns, ".dockerignore").unwrap();
        let (mut last, mut parent) = (false, Matched::default());
        for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
            (last, parent) = ignore.excludes(&path[..at], &parent);
        }
        last
    }

    #[test]
    fn patterns_mean_what_docker_says_they_mean() {
        for (patterns, path, expected) in [
            ("# a comment\n\n  \n", "a comment", false),
            (" #x", "#x", true),
            ("\u{feff}a", "a", true),
            ("a", "a", true),
            ("a", "a/b/c", true),
            ("a", "b/a", false),
            ("/a/", "a/b", true),
            ("./a//b/../c", "a/c", true),
            ("../a", "a", false),
            ("/../a", "a", true),
            (".", "a", false),
            ("*", "a/b", true),
            ("*/temp*", "dir/temporary.txt", true),
            ("*/temp*", "temporary", false),
            ("*/*/temp*", "dir/sub/temporary.txt", true),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("temp?", "temp/a", false),
            ("*.md", "a.md", true),
            ("*.md", "docs/a.md", false),
            ("*.md", "a.mdx", false),
            ("**/*.go", "a.go", true),
            ("**/*.go", "x/y/a.go", true),
            ("**/*.go", "x/y/ago", false),
            ("**", "a/b", true),
            ("**/", "a/b", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("**/foo", "foo", true),
            ("**/foo", "x/foo/bar", true),
            ("**/foo", "xfoo", false),
            ("**foo", "xfoo", true),
            ("a**b", "a/x/b", true),
            ("a**b", "axb", false),
            ("a**b", "ax/b", true),
            ("a**b", "ab", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            (r"[\]a]x", "]x", true),
            ("[&&]x", "&x", true),
            (r"\*.md", "*.md", true),
            (r"\*.md", "a.md", false),
            ("a.b", "aXb", false),
            ("a+(b)|c{1}$", "a+(b)|c{1}$", true),
            ("a]", "a]", true),
            ("ä*", "äß", true),
        ] {
            assert_eq!(excluded(patterns, path), expected, "{patterns:?} of {path:?}");
        }
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        for (patterns, path, expected) in [
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
            ("docs\n!docs/README.md", "docs/README.md", false),
            ("docs\n!docs/README.md", "docs/other.md", true),
            ("*\n!src", "src/a/b.rs", false),
            ("*\n!src\nsrc/a", "src/a/b.rs", true),
            ("!a", "a", false),
            ("a\n! a", "a", false),
        ] {
            assert_eq!(excluded(patterns, path), expected, "{patterns:?} of {path:?}");
        }
    }

    #[test]
    fn what_docker_refuses_is_refused_with_its_line() {
        for bad in ["a\n!", "a\n[", "a\n[]a]", "a\n[a-", "a\n[z-a]", "a\nb\\", "a\n[-x]"] {
            let error = Ignore::parse(bad, "Dockerfile.dockerignore").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().starts_with("Dockerfile.dockerignore, line 2: `"), "{error}");
        }
    }

    #[test]
    fn a_folder_is_looked_into_if_something_may_be_brought_back() {
        for (patterns, folder, expected) in [
            ("a", "a", false),
            ("a\n!a/b", "a", true),
            ("a\n!a", "a/b", false),
            ("a\n!b", "a", false),
            ("a\n!ab/c", "a", false),
            ("a\n!**/keep", "a", true),
            ("a\n!a/*/keep", "a/x", true),
            ("a\n!b/*", "a", false),
        ] {
            let ignore = Ignore::parse(patterns, ".dockerignore").unwrap();
            assert_eq!(ignore.may_keep_below(folder), expected, "{patterns:?} {folder}");
        }
    }

    #[test]
    fn one_path_can_be_kept_whatever_its_name() {
        let mut ignore = Ignore::parse("**", "x").unwrap();
        ignore.always("a[1]*.Dockerfile");
        assert!(!ignore.excludes("a[1]*.Dockerfile", &Matched::default()).0);
        assert!(ignore.excludes("a1b.Dockerfile", &Matched::default()).0);
    }
}
