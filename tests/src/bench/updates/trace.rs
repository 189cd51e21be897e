//! When the filter worked on a configuration, as Envoy's own trace of its Wasm calls tells it: the filter says nothing
//! of it, and from outside the waiting of Envoy's threads for one another cannot be told apart from work.

use std::collections::BTreeMap;
use std::time::Duration;

/// One thread's work on one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// From the entry with the configuration to the end of the last piece, to the millisecond.
    pub whole: Duration,
    /// The longest of the pieces, in which the thread serves no request.
    pub longest: Duration,
    /// How many pieces there were.
    pub pieces: usize,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What each thread did, by thread id, for its last configuration in this log. The lines that count look like
/// `[2026-11-21 16:08:52.117][30949][trace][wasm] [...] [host->vm] proxy_on_tick(2)`, and `[host<-vm]` at the end; the
/// times are of the day, in milliseconds.
#[must_use]
pub fn works(log: &str) -> BTreeMap<u32, Work> {
    let mut works = BTreeMap::new();
    for (thread, pieces) in pieces(log) {
        let last = pieces.iter().rposition(|piece| piece.configures);
        let pieces = pieces.get(last.unwrap_or(pieces.len())..).unwrap_or(&[]);
        if let [first, ..] = pieces {
            let end = |piece: &Piece| since(first.begin, piece.end);
            let work = Work {
                whole: pieces.last().map(end).unwrap_or_default(),
                longest: pieces.iter().map(Piece::took).max().unwrap_or_default(),
                pieces: pieces.len(),
            };
            works.insert(thread, work);
        }
    }
    works
}

/// A stay in the VM.
struct Piece {
    configures: bool,
    begin: Duration,
    end: Duration,
}

impl Piece {
    fn took(&self) -> Duration {
        since(self.begin, self.end)
    }
}

fn pieces(log: &str) -> BTreeMap<u32, Vec<Piece>> {
    let mut begun = BTreeMap::new();
    let mut pieces: BTreeMap<u32, Vec<Piece>> = BTreeMap::new();
    for (time, thread, what) in log.lines().filter_map(parts) {
        let configures = what.contains("proxy_on_configure");
        if !configures && !what.contains("proxy_on_tick") {
            continue;
        }
        if what.starts_with("[host->vm]") {
            begun.insert(thread, time);
        } else if what.starts_with("[host<-vm]")
            && let Some(begin) = begun.remove(&thread)
        {
            pieces.entry(thread).or_default().push(Piece {
                configures,
                begin,
                end: time,
            });
        }
    }
    pieces
}

/// Time of day, thread and message of a trace line.
fn parts(line: &str) -> Option<(Duration, u32, &str)> {
    let (stamp, rest) = line.strip_prefix('[')?.split_once("][")?;
    let (thread, rest) = rest.split_once("][trace][wasm] ")?;
    let at = rest.find("[host")?;
    let time: jiff::civil::Time = stamp.split_once(' ')?.1.parse().ok()?;
    let time = time.duration_since(jiff::civil::Time::midnight());
    Some((time.try_into().ok()?, thread.parse().ok()?, rest.get(at..)?))
}

/// Time between two times of day, the second of which may be of the next day.
fn since(begin: Duration, end: Duration) -> Duration {
    let end = if end < begin { end + DAY } else { end };
    end.saturating_sub(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(time: &str, thread: u32, what: &str) -> String {
        format!("[2026-11-21 {time}][{thread}][trace][wasm] [source/x.cc:39] {what}\n")
    }

    fn piece(begin: &str, end: &str, thread: u32, entry: &str) -> String {
        let enter = line(begin, thread, &format!("[host->vm] {entry}(3, 42)"));
        let call = line(begin, thread, "[vm->host] env.proxy_get_buffer_bytes(7)");
        let leave = line(end, thread, &format!("[host<-vm] {entry} return: 1"));
        enter + &call + &leave
    }

    #[test]
    fn the_work_ends_with_the_last_piece_of_the_last_configuration() {
        let log = [
            "[2026-11-21 16:08:00.000][1][warning][main] no trace\n".to_owned(),
            piece("16:08:01.000", "16:08:01.900", 7, "proxy_on_configure"),
            piece("16:08:02.000", "16:08:02.024", 7, "proxy_on_configure"),
            piece("16:08:02.010", "16:08:02.011", 8, "proxy_on_configure"),
            piece("16:08:02.025", "16:08:02.055", 7, "proxy_on_tick"),
            piece(
                "16:08:02.030",
                "16:08:02.040",
                7,
                "proxy_on_request_headers",
            ),
            piece("16:08:02.056", "16:08:02.060", 7, "proxy_on_tick"),
        ]
        .concat();
        let works = works(&log);
        assert_eq!(works.keys().copied().collect::<Vec<_>>(), [7, 8]);
        let expected = Work {
            whole: Duration::from_millis(60),
            longest: Duration::from_millis(30),
            pieces: 3,
        };
        assert_eq!(works[&7], expected);
        assert_eq!(works[&8].whole, Duration::from_millis(1));
    }

    #[test]
    fn midnight_is_no_loss_of_time() {
        let log = piece("23:59:59.990", "00:00:00.010", 7, "proxy_on_configure");
        assert_eq!(works(&log)[&7].whole, Duration::from_millis(20));
    }

    #[test]
    fn ticks_without_a_configuration_are_no_work() {
        let log = piece("16:08:01.000", "16:08:01.900", 7, "proxy_on_tick");
        assert_eq!(works(&log), BTreeMap::new());
    }
}
