//! Which name was probably meant, and which names a pattern means.

/// The one of these names that was probably meant: one that begins so, or one that is only some letters away.
pub fn similar<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody means a name by a page of text, and measuring it would take a while.
    if given.is_empty() || given.len() > 64 {
        return None;
    }
    let far = |name: &str| {
        let begins = given.len() >= 2 && (name.starts_with(given) || given.starts_with(name));
        if begins { 1 } else { distance(given, name) }
    };
    let nearest = names.into_iter().map(|name| (far(name), name)).min_by_key(|(far, _)| *far);
    let (far, name) = nearest?;
    (far <= (given.chars().count() / 3).max(1)).then_some(name)
}

/// How many letters have to be put in, taken out, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = (0..=a.len()).map(|i| vec![i; b.len() + 1]).collect();
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

/// Whether a name fits a pattern of `*` and `?`, neither of which stands for a slash.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Which beginnings of the pattern fit the part of the name that was read.
    let mut open = vec![false; pattern.len() + 1];
    open[0] = true;
    let through_stars = |open: &mut Vec<bool>| {
        for at in 0..pattern.len() {
            open[at + 1] |= open[at] && pattern[at] == '*';
        }
    };
    through_stars(&mut open);
    for letter in name {
        let mut next = vec![false; pattern.len() + 1];
        for at in (0..pattern.len()).filter(|at| open[*at]) {
            match pattern[at] {
                '*' if letter != '/' => next[at] = true,
                '?' if letter != '/' => next[at + 1] = true,
                same => next[at + 1] |= same == letter && same != '*' && same != '?',
            }
        }
        open = next;
        through_stars(&mut open);
    }
    open[pattern.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_another_word_is_not() {
        let keys = ["account", "cluster", "family", "region", "service"];
        for (given, meant) in [
            ("servce", Some("service")),
            ("sevrice", Some("service")),
            ("acount", Some("account")),
            ("fam", Some("family")),
            ("Region", Some("region")),
            ("taskdef", None),
            ("", None),
        ] {
            assert_eq!(similar(given, keys), meant, "{given}");
        }
        assert_eq!(similar("prod", ["staging", "production"]), Some("production"));
        assert_eq!(similar(&"x".repeat(100_000), keys), None);
    }

    #[test]
    fn patterns_stop_at_the_slash() {
        for (pattern, name, yes) in [
            ("*/staging", "drums/staging", true),
            ("*/staging", "drums/production", false),
            ("prod-*/*", "prod-api/production", true),
            ("*", "drums/staging", false),
            ("dr?ms/*", "drums/staging", true),
            ("dr?ms/staging", "dr/ms/staging", false),
            ("*a*a*/*", "banana/x", true),
            ("drums/staging", "drums/staging", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, name), yes, "{pattern} {name}");
        }
    }
}
