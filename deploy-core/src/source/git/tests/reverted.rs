//! Whether a commit was reverted, and whether that still stands.

use super::*;
use crate::source::Reverted;

impl Made {
    fn revert(&self, time: i64, of: Oid, parent: Oid) -> Oid {
        self.at(time, &format!("Revert \"x\"\n\nThis reverts commit {of}.\n"), &[parent])
    }

    async fn reverted(&self, commit: Oid, within: Oid) -> Reverted {
        self.repo.reverted(&commit.to_string(), &within.to_string()).await.unwrap()
    }

    async fn reverted_by(&self, commit: Oid, within: Oid) -> Option<String> {
        match self.reverted(commit, within).await {
            Reverted::Yes(by) => Some(by.id),
            Reverted::No => None,
            other => panic!("{other:?}"),
        }
    }
}

fn doubtful(answer: Reverted) -> String {
    match answer {
        Reverted::CannotKnow(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_revert_counts_until_it_is_reverted_itself() {
    let made = Made::new();
    let line = made.line(3, &[], "commit");
    assert_eq!(made.reverted_by(line[1], line[2]).await, None);
    let first = made.revert(300, line[1], line[2]);
    assert_eq!(made.reverted_by(line[1], first).await, Some(first.to_string()));
    assert_eq!(made.reverted_by(line[1], line[2]).await, None, "before it");
    assert_eq!(made.reverted_by(line[0], first).await, None, "another commit");
    let back = made.revert(360, first, first);
    assert_eq!(made.reverted_by(line[1], back).await, None);
    assert_eq!(made.reverted_by(first, back).await, Some(back.to_string()));
    let again = made.revert(420, back, back);
    assert_eq!(made.reverted_by(line[1], again).await, Some(first.to_string()), "its revert stands again");
    let anew = made.revert(420, line[1], back);
    let end = made.at(480, "end", &[anew]);
    assert_eq!(made.reverted_by(line[1], end).await, Some(anew.to_string()));
}

#[tokio::test]
async fn a_revert_comes_with_its_merge_and_a_merge_is_reverted_with_what_it_brought() {
    let made = Made::new();
    let base = made.line(2, &[], "base");
    let feature = made.line(2, &[base[0]], "feature");
    let merge = made.at(300, "merge", &[base[1], feature[1]]);
    let message =
        format!("Revert \"merge\"\n\nThis reverts commit {merge}, reversing\nchanges made to {}.\n", base[1]);
    let revert = made.at(400, &message, &[merge]);
    for commit in [merge, feature[0], feature[1]] {
        assert_eq!(made.reverted_by(commit, revert).await, Some(revert.to_string()));
    }
    for commit in [base[0], base[1]] {
        assert_eq!(made.reverted_by(commit, revert).await, None);
    }
    let back = made.revert(500, revert, revert);
    assert_eq!(made.reverted_by(feature[0], back).await, None);
    // Without its side, what came with the merge is a doubt, and the merge itself is not.
    let sideless = made.revert(400, merge, merge);
    assert_eq!(made.reverted_by(merge, sideless).await, Some(sideless.to_string()));
    assert!(doubtful(made.reverted(feature[0], sideless).await).contains("to which of its sides"));
    assert_eq!(made.reverted_by(merge, made.at(500, "end", &[sideless])).await, Some(sideless.to_string()));
    // A revert on a branch counts from the merge on.
    let fix = made.revert(350, base[1], base[1]);
    let side = made.at(360, "side", &[base[1]]);
    let merged = made.at(450, "merge the fix", &[side, fix]);
    assert_eq!(made.reverted_by(base[1], side).await, None);
    assert_eq!(made.reverted_by(base[1], merged).await, Some(fix.to_string()));
}

#[tokio::test]
async fn abbreviated_ids_are_read_as_git_reads_them() {
    let made = Made::new();
    let line = made.line(2, &[], "commit");
    let id = line[1].to_string();
    let revert =
        made.at(300, &format!("x\n\nThis reverts commit {} (commit 1, 2023-11-14).", &id[..9]), &[line[1]]);
    assert_eq!(made.reverted_by(line[1], revert).await, Some(revert.to_string()));
    let absent = "This reverts commit 1234567890123456789012345678901234567890.";
    let other = made.at(300, absent, &[line[1]]);
    assert_eq!(made.reverted_by(line[1], other).await, None);
}

#[tokio::test]
async fn two_reverts_of_which_one_was_taken_back_are_a_doubt_if_that_came_last() {
    let made = Made::new();
    let line = made.line(2, &[], "commit");
    let one = made.revert(300, line[1], line[1]);
    let other = made.revert(310, line[1], line[1]);
    let taken_back = made.revert(400, one, one);
    // The other side's revert was merged after it.
    let merge = made.at(500, "merge", &[taken_back, other]);
    assert_eq!(made.reverted_by(line[1], merge).await, Some(other.to_string()));
    // Here both were merged first, and what taking one of them back did is not in any message.
    let merge = made.at(400, "merge", &[one, other]);
    let after = made.revert(500, one, merge);
    let why = doubtful(made.reverted(line[1], after).await);
    assert!(why.contains(&after.to_string()[..7]) && why.contains(&other.to_string()[..7]), "{why}");
}

#[tokio::test]
async fn what_cannot_be_known_is_said_and_what_is_not_there_was_not_reverted() {
    let made = Made::new();
    let line = made.line(4, &[], "commit");
    let apart = made.line(2, &[], "apart");
    assert_eq!(made.reverted_by(line[3], line[1]).await, None);
    assert!(doubtful(made.reverted(apart[1], line[3]).await).contains("share no commit"));
    // A message that speaks of a commit which is not below it.
    let side = made.revert(300, line[2], line[1]);
    let merge = made.at(400, "merge", &[line[3], side]);
    let why = doubtful(made.reverted(line[2], merge).await);
    assert!(why.contains("does not contain it"), "{why}");
    made.shallow(&[line[1]]);
    assert_eq!(made.reverted_by(line[2], line[3]).await, None);
    assert!(doubtful(made.reverted(line[0], line[3]).await).contains("--unshallow"));
    let absent = "1234567890123456789012345678901234567890";
    let answer = made.repo.reverted(absent, &line[3].to_string()).await.unwrap();
    assert!(doubtful(answer).contains("not in this shallow clone"));
}

#[tokio::test]
async fn a_long_chain_of_reverts_has_an_end() {
    let made = Made::new();
    let root = made.at(0, "root", &[]);
    let mut at = made.at(60, "commit", &[root]);
    let commit = at;
    let mut reverts = Vec::new();
    for index in 0..301 {
        at = made.revert(120 + index * 60, at, at);
        reverts.push(at);
    }
    // 301 reverts, each of the one before: the first one stands.
    assert_eq!(made.reverted_by(commit, at).await, Some(reverts[0].to_string()));
    assert_eq!(made.reverted_by(commit, reverts[299]).await, None);
}
