//! What the clients saw: the truth that metrics and verdicts are held against.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::latency::Latency;

/// How one request ended for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// An answer: its status and the version that says it gave it.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The version, if a model server answered.
        version: Option<String>,
    },
    /// No answer, with the reason.
    Broken(String),
}

impl Ending {
    /// Whether the user was let down: 5xx or no answer.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        match self {
            Ending::Answered { status, .. } => *status >= 500,
            Ending::Broken(_) => true,
        }
    }
}

/// Requests and how many of them went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// All requests.
    pub requests: u64,
    /// Those that ended with 5xx or without an answer.
    pub bad: u64,
}

impl Count {
    fn add(&mut self, bad: bool) {
        self.requests += 1;
        self.bad += u64::from(bad);
    }
}

/// Counts of what the clients saw, over all and for each user.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Slots of the schedule that passed before a connection was free for them; they were not sent.
    pub late: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer, by reason.
    pub broken: BTreeMap<String, u64>,
    /// Time from sending to the whole answer.
    pub latency: Latency,
    versions: Vec<(String, Count)>,
    // A user meets one version or two, so a list is smaller and faster than a map.
    users: HashMap<u64, Vec<(u8, Count)>>,
    total: Count,
}

/// The name under which answers of no version are counted.
pub const NO_VERSION: &str = "";

impl Tally {
    /// Counts one request of a user.
    pub fn record(&mut self, user: u64, ending: &Ending, latency: Duration) {
        let bad = ending.is_bad();
        let version = match ending {
            Ending::Answered { status, version } => {
                *self.statuses.entry(*status).or_default() += 1;
                version.as_deref().unwrap_or(NO_VERSION)
            }
            Ending::Broken(reason) => {
                *self.broken.entry(reason.clone()).or_default() += 1;
                NO_VERSION
            }
        };
        self.latency.record(latency);
        self.total.add(bad);
        let index = self.index(version);
        self.versions[index].1.add(bad);
        // Versions are few; should there be more than 256, the rest are counted as one for the user.
        let index = u8::try_from(index).unwrap_or(u8::MAX);
        let seen = self.users.entry(user).or_default();
        match seen.iter_mut().find(|(version, _)| *version == index) {
            Some((_, count)) => count.add(bad),
            None => {
                let mut count = Count::default();
                count.add(bad);
                seen.push((index, count));
            }
        }
    }

    fn index(&mut self, version: &str) -> usize {
        if let Some(index) = self.versions.iter().position(|(name, _)| name == version) {
            return index;
        }
        self.versions.push((version.to_owned(), Count::default()));
        self.versions.len() - 1
    }

    /// All requests.
    #[must_use]
    pub fn total(&self) -> Count {
        self.total
    }

    /// The requests that a version answered.
    #[must_use]
    pub fn version(&self, version: &str) -> Count {
        self.versions
            .iter()
            .find(|(name, _)| name == version)
            .map_or(Count::default(), |found| found.1)
    }

    /// The versions that answered, with their requests.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<&str, Count> {
        self.versions
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
            .collect()
    }

    /// How many users a version answered, and how many of them it let down at least once.
    #[must_use]
    pub fn reached(&self, version: &str) -> Count {
        let mut reached = Count::default();
        for seen in self.users.values() {
            if let Some((_, count)) = seen.iter().find(|(index, _)| self.name(*index) == version) {
                reached.add(count.bad > 0);
            }
        }
        reached
    }

    /// The one version that answered each user.
    ///
    /// # Errors
    /// Names a user whom two versions answered.
    pub fn assignment(&self) -> anyhow::Result<BTreeMap<u64, &str>> {
        let mut assignment = BTreeMap::new();
        for (user, seen) in &self.users {
            let [(index, _)] = seen.as_slice() else {
                let names: Vec<&str> = seen.iter().map(|(index, _)| self.name(*index)).collect();
                anyhow::bail!("user {user} was answered by {names:?}");
            };
            assignment.insert(*user, self.name(*index));
        }
        Ok(assignment)
    }

    fn name(&self, index: u8) -> &str {
        self.versions
            .get(usize::from(index))
            .map_or(NO_VERSION, |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(requests: &[(u64, u16, &str)]) -> Tally {
        let mut tally = Tally::default();
        for (user, status, version) in requests {
            let version = Some((*version).to_owned());
            let ending = Ending::Answered {
                status: *status,
                version,
            };
            tally.record(*user, &ending, Duration::from_millis(1));
        }
        tally
    }

    #[test]
    fn users_reached_and_let_down_are_counted_once() {
        let tally = tally(&[
            (1, 200, "8"),
            (1, 500, "8"),
            (1, 503, "8"),
            (2, 200, "8"),
            (3, 500, "7"),
        ]);
        assert_eq!(
            tally.reached("8"),
            Count {
                requests: 2,
                bad: 1
            }
        );
        assert_eq!(
            tally.version("8"),
            Count {
                requests: 4,
                bad: 2
            }
        );
        assert_eq!(
            tally.total(),
            Count {
                requests: 5,
                bad: 3
            }
        );
        assert_eq!(tally.reached("9"), Count::default());
    }

    #[test]
    fn an_assignment_wants_one_version_per_user() {
        let stable = tally(&[(1, 200, "7"), (2, 200, "8"), (1, 200, "7")]);
        assert_eq!(
            stable.assignment().unwrap(),
            BTreeMap::from([(1, "7"), (2, "8")])
        );
        let moved = tally(&[(1, 200, "7"), (1, 200, "8")]);
        let error = moved.assignment().unwrap_err().to_string();
        assert_eq!(error, "user 1 was answered by [\"7\", \"8\"]");
    }

    #[test]
    fn a_request_without_an_answer_is_bad_and_of_no_version() {
        let mut tally = Tally::default();
        tally.record(1, &Ending::Broken("reset".to_owned()), Duration::ZERO);
        assert_eq!(
            tally.version(NO_VERSION),
            Count {
                requests: 1,
                bad: 1
            }
        );
        assert_eq!(tally.broken["reset"], 1);
    }
}
