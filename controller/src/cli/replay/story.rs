//! A replay in lines. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::quantity::Span;
use crate::replay::Replay;
use crate::simulate::engine::{By, Ending};

/// The story with its times, the verdicts if there are any, how it ended, and what was taken as it is.
pub(super) fn lines(rollout: &str, cell: Span, replay: &Replay) -> Vec<String> {
    let empty = match replay.empty_cells {
        0 => String::new(),
        empty => format!(", {empty} of them without a row, taken as without requests"),
    };
    let mut lines = vec![format!(
        "{rollout}: {} cells of {cell} from {:.0}{empty}",
        replay.cells, replay.begin
    )];
    let said = |at: Timestamp, weight: f64, what: String| {
        let since = elapsed(replay.begin, at);
        (at, format!("{at:.0}  {since:>12}  {weight:>6} %  {what}"))
    };
    let records = replay
        .records
        .iter()
        .map(|record| said(record.at, record.weight, record.message.clone()));
    let verdicts = replay.verdicts.iter().map(|spoken| {
        let waiting = spoken.waiting_for.as_ref();
        let waiting = waiting.map_or_else(String::new, |reason| format!(" [{reason}]"));
        let what = format!("  {:?}: {}{waiting}", spoken.verdict, spoken.sentence);
        said(spoken.at, spoken.weight, what)
    });
    let mut story: Vec<(Timestamp, String)> = records.chain(verdicts).collect();
    // Stable: at the same time the record comes before the verdict.
    story.sort_by_key(|(at, _)| *at);
    lines.extend(story.into_iter().map(|(_, line)| line));
    lines.push(ending(replay));
    if replay.cells_after > 0 {
        lines.push(format!(
            "{} recorded cells after that were not looked at",
            replay.cells_after
        ));
    }
    lines.push(
        "Taken as they are: the counts, whatever weights they were recorded under. Taken as honoured: every config by \
         every proxy, every route, every approval. Guards look at whole cells."
            .to_owned(),
    );
    lines
}

fn ending(replay: &Replay) -> String {
    let after = elapsed(replay.begin, replay.end);
    let after = after.trim_start_matches('+');
    let how = match replay.ending {
        Some(Ending::Promoted) => "promoted",
        Some(Ending::Stopped(By::Judge)) => "stopped by the comparison",
        Some(Ending::Stopped(By::Guard)) => "stopped by a guard",
        Some(Ending::Stopped(By::Deadline)) => "rolled back by the deadline",
        Some(Ending::Held) => "held by the deadline",
        None => {
            let sentence = replay.verdict.as_ref().map(|spoken| {
                let waiting = spoken.waiting_for.as_ref();
                waiting.unwrap_or(&spoken.sentence).clone()
            });
            return format!(
                "not decided after {after}: {}",
                sentence.unwrap_or_default()
            );
        }
    };
    format!("{how} after {after}")
}

fn elapsed(from: Timestamp, to: Timestamp) -> String {
    let ms = to.as_millisecond().saturating_sub(from.as_millisecond());
    let span = Duration::from_millis(ms.max(0).unsigned_abs());
    format!("+{}", Span(span))
}
