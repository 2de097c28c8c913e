//! Random histories against brute force.

use super::*;
use crate::clock::{Random, SeededRandom};

/// Random histories with random dates against brute force; then with random cuts, where an answer may be a
/// doubt but never wrong.
#[test]
fn answers_are_exact_whatever_the_dates_and_never_wrong_whatever_is_cut_off() {
    const COMMITS: usize = 10;
    let (mut yes, mut no, mut unrelated, mut cuts, mut certain) = (0, 0, 0, 0, 0);
    for seed in 0..80 {
        let (made, random) = (Made::new(), SeededRandom::new(seed));
        let pick = |below: usize| usize::try_from(random.below(below as u64)).unwrap();
        let mut all: Vec<Oid> = Vec::new();
        let mut above: Vec<BTreeSet<Oid>> = Vec::new();
        for index in 0..COMMITS {
            let count = if index == 0 || random.chance(8) { 0 } else { 1 + pick(2) };
            let parents: BTreeSet<usize> = (0..count).map(|_| pick(index)).collect();
            let time = i64::try_from(random.next() % 50).unwrap();
            let ids: Vec<Oid> = parents.iter().map(|parent| all[*parent]).collect();
            let id = made.at(time, &index.to_string(), &ids);
            let mut contained: BTreeSet<Oid> =
                parents.iter().flat_map(|parent| above[*parent].clone()).collect();
            contained.insert(id);
            all.push(id);
            above.push(contained);
        }
        let cut = [all[pick(COMMITS)], all[pick(COMMITS)]];
        for shallow in [false, true] {
            if shallow {
                made.shallow(&cut);
            }
            for (one, two) in (0..COMMITS).flat_map(|one| (0..COMMITS).map(move |two| (one, two))) {
                let truth = above[one].contains(&all[two]);
                let apart = above[one].is_disjoint(&above[two]);
                let reach = Graph::of(&made.git).unwrap().reach(all[one], all[two]).unwrap();
                match reach {
                    Reach::Yes => assert!(truth),
                    Reach::No => assert!(!truth && !apart),
                    Reach::Unrelated => assert!(apart),
                    Reach::Cut(at) => assert!(shallow && cut.contains(&at)),
                }
                let new: BTreeSet<Oid> = above[one].difference(&above[two]).copied().collect();
                let between = Graph::of(&made.git).unwrap().between(all[two], all[one]).unwrap();
                match between {
                    Ok(found) => {
                        assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), new, "seed {seed}");
                        assert_eq!(found.len(), new.len());
                        let place = |id: &Oid| found.iter().position(|other| other == id);
                        for (index, id) in found.iter().enumerate() {
                            let parents: Vec<Oid> = made.git.find_commit(*id).unwrap().parent_ids().collect();
                            assert!(parents.iter().filter_map(place).all(|parent| parent > index));
                        }
                        certain += usize::from(shallow);
                    }
                    Err(Reach::Unrelated) => assert!(apart),
                    Err(doubt) => assert!(shallow && matches!(doubt, Reach::Cut(_)), "{doubt:?}"),
                }
                yes += usize::from(reach == Reach::Yes);
                no += usize::from(reach == Reach::No);
                unrelated += usize::from(reach == Reach::Unrelated);
                cuts += usize::from(matches!(reach, Reach::Cut(_)));
            }
        }
    }
    for (what, count) in
        [("yes", yes), ("no", no), ("unrelated", unrelated), ("cut", cuts), ("certain though cut", certain)]
    {
        assert!(count > 100, "{what} was met {count} times");
    }
}
