//! Whether a commit was reverted, by what the messages of later commits say.

use std::collections::{HashMap, HashSet};

use git2::{Oid, Repository};

use super::{
    Graph, Reach, cannot_read, commit,
    names::{ID_DIGITS, pair},
    short, why,
};
use crate::{error::Result, source::Reverted};

pub(super) fn is_reverted(repository: &Repository, wanted: &str, within: &str) -> Result<Reverted> {
    let (wanted, within) = match pair(repository, wanted, within)? {
        Ok(both) => both,
        Err(why) => return Ok(Reverted::CannotKnow(why)),
    };
    let mut graph = Graph::of(repository)?;
    match graph.reach(within, wanted)? {
        Reach::Yes => {}
        Reach::No => return Ok(Reverted::No),
        doubt => return Ok(Reverted::CannotKnow(why(doubt, within, wanted))),
    }
    let later = match graph.between(wanted, within)? {
        Ok(later) => later,
        Err(doubt) => return Ok(Reverted::CannotKnow(why(doubt, within, wanted))),
    };
    let said = match said(repository, &mut graph, wanted, &later)? {
        Ok(said) => said,
        Err(why) => return Ok(Reverted::CannotKnow(why)),
    };
    let mut fates = HashMap::new();
    // A revert contains what it reverts, so it comes first and its own fate is known when it is needed.
    for id in later {
        let fate = fate(&mut graph, &said, &fates, id)?;
        fates.insert(id, fate);
    }
    Ok(match fate(&mut graph, &said, &fates, wanted)? {
        Fate::Stands => Reverted::No,
        Fate::Reverted(by) => Reverted::Yes(commit(repository, by)?),
        Fate::Doubt(why) => Reverted::CannotKnow(why),
    })
}

#[derive(Debug, Clone)]
enum Fate {
    Stands,
    Reverted(Oid),
    Doubt(String),
}

fn fate(graph: &mut Graph<'_>, said: &Said, fates: &HashMap<Oid, Fate>, id: Oid) -> Result<Fate> {
    let (mut stands, mut undone) = (Vec::new(), Vec::new());
    for revert in said.get(&id).into_iter().flatten() {
        if graph.reach(*revert, id)? != Reach::Yes {
            let (revert, id) = (short(*revert), short(id));
            return Ok(Fate::Doubt(format!("{revert} says that it reverts {id}, and does not contain it")));
        }
        match fates.get(revert) {
            Some(Fate::Doubt(why)) => return Ok(Fate::Doubt(why.clone())),
            Some(Fate::Reverted(by)) => undone.push(*by),
            Some(Fate::Stands) | None => stands.push(*revert),
        }
    }
    let Some(last) = stands.first() else { return Ok(Fate::Stands) };
    // Taking back one of two reverts brings the commit back if it came after both.
    for back in undone {
        for revert in &stands {
            if graph.reach(back, *revert)? == Reach::Yes {
                let (back, revert, id) = (short(back), short(*revert), short(id));
                let text = format!("{revert} reverts {id}, and later {back} takes back another revert of it");
                return Ok(Fate::Doubt(text));
            }
        }
    }
    Ok(Fate::Reverted(*last))
}

/// Which commits are reverted by which, as these say, newest first.
type Said = HashMap<Oid, Vec<Oid>>;

fn said(
    repository: &Repository,
    graph: &mut Graph<'_>,
    wanted: Oid,
    later: &[Oid],
) -> Result<Result<Said, String>> {
    let mut known: HashSet<Oid> = later.iter().copied().collect();
    known.insert(wanted);
    let mut said = Said::new();
    for id in later {
        let revert = repository.find_commit(*id).map_err(|error| cannot_read(&id.to_string(), error))?;
        for line in lines(revert.message_bytes()) {
            let Some(reverted) = full(repository, &line.id).filter(|id| known.contains(id)) else { continue };
            let mainline = line.mainline.and_then(|id| full(repository, &id));
            let brought = match brought(graph, reverted, mainline)? {
                Ok(brought) => brought,
                Err(why) if graph.reach(reverted, wanted)? != Reach::No && reverted != wanted => {
                    return Ok(Err(why));
                }
                Err(_) => Vec::new(),
            };
            let all = brought.into_iter().filter(|id| *id != reverted).chain([reverted]);
            for reverted in all.filter(|id| known.contains(id)) {
                let by = said.entry(reverted).or_default();
                if !by.contains(id) {
                    by.push(*id);
                }
            }
        }
    }
    Ok(Ok(said))
}

/// What a merge brought: what it contains and its mainline does not. Nothing but itself, if it is no merge.
fn brought(graph: &mut Graph<'_>, merge: Oid, mainline: Option<Oid>) -> Result<Result<Vec<Oid>, String>> {
    if graph.read(merge)?.is_none_or(|raw| raw.parents.len() < 2) {
        return Ok(Ok(Vec::new()));
    }
    let Some(mainline) = mainline else {
        return Ok(Err(format!(
            "the merge {} was reverted, and to which of its sides is not said",
            short(merge)
        )));
    };
    Ok(graph.between(mainline, merge)?.map_err(|doubt| why(doubt, merge, mainline)))
}

/// `git revert --reference` writes abbreviated ids.
fn full(repository: &Repository, id: &str) -> Option<Oid> {
    repository.find_commit_by_prefix(id).ok().map(|commit| commit.id())
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    id: String,
    mainline: Option<String>,
}

/// `This reverts commit ID.`, or of a merge `This reverts commit ID, reversing` and `changes made to ID.`.
fn lines(message: &[u8]) -> Vec<Line> {
    let text = String::from_utf8_lossy(message);
    let mut lines = text.lines().map(str::trim).peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some((id, rest)) = line.strip_prefix("This reverts commit ").and_then(leading_id) else {
            continue;
        };
        let rest = rest.strip_prefix(", reversing").map(str::trim_start);
        let of_merge = match rest {
            Some("") => lines.peek().copied(),
            other => other,
        };
        let mainline = of_merge.and_then(|rest| leading_id(rest.strip_prefix("changes made to ")?));
        found.push(Line { id: id.to_owned(), mainline: mainline.map(|(id, _)| id.to_owned()) });
    }
    found
}

fn leading_id(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
    let (id, rest) = text.split_at(end);
    ((ID_DIGITS..=40).contains(&id.len()) && !rest.starts_with(char::is_alphanumeric)).then_some((id, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gits_own_lines_are_read() {
        let (id, other) = ("a".repeat(40), "b".repeat(40));
        let plain = Line { id: id.clone(), mainline: None };
        let merge = Line { id: id.clone(), mainline: Some(other.clone()) };
        for (message, expected) in [
            (format!("Revert \"x\"\n\nThis reverts commit {id}.\n"), vec![&plain]),
            (format!("Reapply \"x\"\r\n\r\nThis reverts commit {id}.\r\n"), vec![&plain]),
            (format!("Squash\n\n    This reverts commit {id}."), vec![&plain]),
            (format!("x\n\nThis reverts commit {id}, reversing\nchanges made to {other}.\n"), vec![&merge]),
            (format!("x\n\nThis reverts commit {id}, reversing changes made to {other}.\n"), vec![&merge]),
            (format!("x\n\nThis reverts commit {id}, reversing\nnothing"), vec![&plain]),
            (format!("This reverts commit {id}.\nThis reverts commit {id}."), vec![&plain, &plain]),
            (format!("not: This reverts commit {id}."), vec![]),
            (format!("> This reverts commit {id}."), vec![]),
            (format!("This reverts commit {id}a."), vec![]),
            ("This reverts commit abcdef.".to_owned(), vec![]),
            (format!("This reverts commit {}g", &id[..8]), vec![]),
            ("This reverts commit ".to_owned(), vec![]),
            (String::new(), vec![]),
        ] {
            let found = lines(message.as_bytes());
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{message:?}");
        }
        assert_eq!(lines(b"This reverts commit abcdef1 (x, 2024-01-01).\n\xff\xfe").len(), 1);
    }
}
