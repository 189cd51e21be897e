//! What clients notice of a change: when it reached them, and what they waited meanwhile.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

use crate::traffic::Visit;

/// A change as the clients saw it; all from the moment when the file was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When the first answer by the new weights had come.
    pub first_new: Duration,
    /// When the last request was sent that was still decided by the old ones, by whichever worker; zero for none.
    pub last_old: Duration,
    /// The longest that a request took which was under way meanwhile.
    pub worst: Duration,
    /// The longest that a request took which was over before the change: what this machine does to any request.
    pub calm: Duration,
}

impl Seen {
    /// What was seen of a change at `changed` to the version `new`. The change is over `grace` after both the first new
    /// and the last old answer: what comes with its end, such as the freeing of the old configuration, counts as well.
    ///
    /// # Errors
    /// When a request failed, or none met the new version.
    pub fn of(changed: Instant, visits: &[Visit], new: &str, grace: Duration) -> Result<Seen> {
        if let Some(bad) = visits.iter().find(|visit| visit.ending.is_bad()) {
            bail!("a request failed: {:?}", bad.ending);
        }
        let after = |at: Instant| at.saturating_duration_since(changed);
        let end = |visit: &Visit| visit.sent + visit.took;
        let is_new = |visit: &&Visit| visit.version() == Some(new);
        let first_new = visits.iter().filter(is_new).map(end).min();
        let Some(first_new) = first_new.map(after) else {
            bail!("no request met version {new}");
        };
        let old = visits.iter().filter(|visit| !is_new(visit));
        let last_old = old.map(|visit| after(visit.sent)).max();
        let last_old = last_old.unwrap_or_default();
        let over = changed + first_new.max(last_old) + grace;
        let (before, since): (Vec<&Visit>, _) =
            visits.iter().partition(|visit| end(visit) < changed);
        let meanwhile = since.iter().filter(|visit| visit.sent <= over);
        Ok(Seen {
            first_new,
            last_old,
            worst: meanwhile.map(|visit| visit.took).max().unwrap_or_default(),
            calm: before
                .iter()
                .map(|visit| visit.took)
                .max()
                .unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Ending;

    const GRACE: Duration = Duration::from_millis(50);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn visit(sent: Instant, took: u64, status: u16, version: &str) -> Visit {
        let version = Some(version.to_owned());
        Visit {
            user: 0,
            sent,
            took: ms(took),
            ending: Ending::Answered { status, version },
        }
    }

    #[test]
    fn the_change_is_seen_from_its_first_answer_to_the_last_worker_that_had_not_heard() {
        let begin = Instant::now();
        let changed = begin + ms(1_000);
        let visits = [
            visit(begin, 3, 200, "7"),
            visit(changed - ms(2), 9, 200, "7"),
            visit(changed + ms(10), 5, 200, "8"),
            visit(changed + ms(30), 2, 200, "7"),
            visit(changed + ms(79), 20, 200, "8"),
            visit(changed + ms(81), 40, 200, "8"),
        ];
        let seen = Seen::of(changed, &visits, "8", GRACE).unwrap();
        let expected = Seen {
            first_new: ms(15),
            last_old: ms(30),
            worst: ms(20),
            calm: ms(3),
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_failed_request_or_a_change_that_nobody_saw_is_no_measurement() {
        let now = Instant::now();
        let failed = [visit(now, 1, 503, "8")];
        assert!(Seen::of(now, &failed, "8", GRACE).is_err());
        let old = [visit(now, 1, 200, "7")];
        assert!(Seen::of(now, &old, "8", GRACE).is_err());
    }
}
