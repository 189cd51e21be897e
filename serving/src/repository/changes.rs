//! What a new reading of the repository asks for. Pure: nothing is read or loaded here.
//!
//! A reading may come in the middle of a copy. So a change counts once two readings in a row have found the same, unless
//! somebody has told that the repository is complete. And no version of a model goes before all that are to serve in its
//! place do.

use std::collections::{BTreeMap, BTreeSet};

use super::Entry;

/// A model and a version.
pub type Key = (String, u64);

/// What is known when the repository has been read.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The reading.
    pub now: &'a [Entry],
    /// The reading before, if it had no problems.
    pub before: Option<&'a [Entry]>,
    /// Whether somebody has said that what is there is complete: then nothing waits for a second reading, and what has
    /// failed is tried again.
    pub told: bool,
    /// What is loaded.
    pub served: &'a [Entry],
    /// What was tried and does not start, as it was then.
    pub failed: &'a BTreeMap<Key, (Entry, String)>,
    /// Models that somebody has unloaded.
    pub unloaded: &'a BTreeSet<String>,
}

/// What has to be done with a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    /// Versions that are new or other than what is loaded, lowest first.
    pub load: Vec<Entry>,
    /// Versions that nobody wants any more. They go when all of `load` serve, and never while it is `incomplete`.
    pub retire: Vec<u64>,
    /// Whether another version will have to be loaded: it is still being written, or does not start.
    pub incomplete: bool,
}

impl Entry {
    /// The model and the version.
    #[must_use]
    pub fn key(&self) -> Key {
        (self.model.clone(), self.version)
    }

    fn is_of(&self, other: &Self) -> bool {
        (&self.model, self.version) == (&other.model, other.version)
    }
}

/// What has to be done, by model.
#[must_use]
pub fn plan(view: &View<'_>) -> BTreeMap<String, Change> {
    let View {
        now,
        before,
        told,
        served,
        failed,
        unloaded,
    } = *view;
    let mut changes: BTreeMap<String, Change> = BTreeMap::new();
    for entry in now {
        if unloaded.contains(&entry.model) || served.contains(entry) {
            continue;
        }
        let change = changes.entry(entry.model.clone()).or_default();
        let in_vain = failed.get(&entry.key()).is_some_and(|(it, _)| it == entry);
        let settled = before.is_some_and(|before| before.contains(entry));
        if told || (settled && !in_vain) {
            change.load.push(entry.clone());
        } else {
            change.incomplete = true;
        }
    }
    for entry in served {
        let gone = |reading: &[Entry]| {
            unloaded.contains(&entry.model) || !reading.iter().any(|it| it.is_of(entry))
        };
        if gone(now) && (told || before.is_some_and(gone)) {
            let change = changes.entry(entry.model.clone()).or_default();
            change.retire.push(entry.version);
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, sync::Arc};

    use super::*;
    use crate::{device::Device, repository::Stamp, spec::ModelSpec};

    /// A version of `fraud` whose file has so many bytes.
    fn entry(version: u64, bytes: usize) -> Entry {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![0; bytes]).unwrap();
        Entry {
            model: "fraud".to_owned(),
            version,
            spec: Arc::new(ModelSpec::default()),
            notes: Arc::default(),
            file: PathBuf::from(version.to_string()),
            stamp: Stamp::of(file.path()).unwrap(),
            manifest: None,
        }
    }

    struct Known {
        failed: BTreeMap<Key, (Entry, String)>,
        unloaded: BTreeSet<String>,
        told: bool,
    }

    const PLAIN: Known = Known {
        failed: BTreeMap::new(),
        unloaded: BTreeSet::new(),
        told: false,
    };

    impl Known {
        /// Versions to load, versions to retire, and whether it is incomplete.
        fn plan(
            &self,
            served: &[&Entry],
            before: Option<&[&Entry]>,
            now: &[&Entry],
        ) -> (Vec<u64>, Vec<u64>, bool) {
            let owned = |all: &[&Entry]| all.iter().copied().cloned().collect::<Vec<_>>();
            let changes = plan(&View {
                now: &owned(now),
                before: before.map(owned).as_deref(),
                told: self.told,
                served: &owned(served),
                failed: &self.failed,
                unloaded: &self.unloaded,
            });
            let change = changes.get("fraud").cloned().unwrap_or_default();
            let load = change.load.iter().map(|it| it.version).collect();
            (load, change.retire, change.incomplete)
        }
    }

    #[test]
    fn what_is_as_it_was_asks_for_nothing() {
        let one = entry(1, 5);
        let found = PLAIN.plan(&[&one], Some(&[&one]), &[&one]);
        assert_eq!(found, (vec![], vec![], false));
    }

    #[test]
    fn a_version_is_loaded_once_two_readings_have_found_the_same() {
        let (one, part, whole) = (entry(1, 5), entry(2, 3), entry(2, 7));
        let check = |before: Option<&[&Entry]>, load: &[u64]| {
            let found = PLAIN.plan(&[&one], before, &[&one, &whole]);
            assert_eq!(found, (load.to_vec(), vec![], load.is_empty()));
        };
        check(Some(&[&one]), &[]);
        check(Some(&[&one, &part]), &[]);
        check(None, &[]);
        check(Some(&[&one, &whole]), &[2]);
    }

    #[test]
    fn another_file_or_model_yaml_of_a_version_is_loaded_in_its_place() {
        let (old, new) = (entry(1, 5), entry(1, 6));
        let found = PLAIN.plan(&[&old], Some(&[&new]), &[&new]);
        assert_eq!(found, (vec![1], vec![], false));
        let mut other = old.clone();
        Arc::make_mut(&mut other.spec)
            .serving
            .instances
            .push(Device::Cpu);
        let found = PLAIN.plan(&[&old], Some(&[&other]), &[&other]);
        assert_eq!(found, (vec![1], vec![], false));
    }

    #[test]
    fn a_version_goes_once_two_readings_have_missed_it() {
        let (one, two) = (entry(1, 5), entry(2, 5));
        let check = |before: Option<&[&Entry]>, retire: &[u64]| {
            let found = PLAIN.plan(&[&one, &two], before, &[&two]);
            assert_eq!(found, (vec![], retire.to_vec(), false));
        };
        check(Some(&[&one, &two]), &[]);
        check(None, &[]);
        check(Some(&[&two]), &[1]);
    }

    #[test]
    fn nothing_goes_while_its_successor_is_written_or_does_not_start() {
        let (one, part, two) = (entry(1, 5), entry(2, 3), entry(2, 5));
        let found = PLAIN.plan(&[&one], Some(&[&part]), &[&two]);
        assert_eq!(found, (vec![], vec![1], true));
        let failing = Known {
            failed: BTreeMap::from([(two.key(), (two.clone(), "no".to_owned()))]),
            ..PLAIN
        };
        let found = failing.plan(&[&one], Some(&[&two]), &[&two]);
        assert_eq!(found, (vec![], vec![1], true));
    }

    #[test]
    fn what_failed_is_tried_again_when_it_changes_or_somebody_says_so() {
        let (one, bad, good) = (entry(1, 5), entry(2, 3), entry(2, 5));
        let mut failing = Known {
            failed: BTreeMap::from([(bad.key(), (bad.clone(), "no".to_owned()))]),
            ..PLAIN
        };
        let found = failing.plan(&[&one], Some(&[&one, &good]), &[&one, &good]);
        assert_eq!(found, (vec![2], vec![], false));
        failing.told = true;
        let found = failing.plan(&[&one], Some(&[&one, &bad]), &[&one, &bad]);
        assert_eq!(found, (vec![2], vec![], false));
    }

    #[test]
    fn who_says_that_it_is_complete_need_not_wait() {
        let (one, two) = (entry(1, 5), entry(2, 5));
        let told = Known {
            told: true,
            ..PLAIN
        };
        let found = told.plan(&[&one], None, &[&two]);
        assert_eq!(found, (vec![2], vec![1], false));
    }

    #[test]
    fn an_unloaded_model_goes_and_stays_away() {
        let one = entry(1, 5);
        let unloaded = Known {
            unloaded: BTreeSet::from(["fraud".to_owned()]),
            ..PLAIN
        };
        let found = unloaded.plan(&[&one], Some(&[&one]), &[&one]);
        assert_eq!(found, (vec![], vec![1], false));
        let found = unloaded.plan(&[], Some(&[&one]), &[&one]);
        assert_eq!(found, (vec![], vec![], false));
    }
}
