//! The end of the demo: what happened when, and whom it met.

use comfy_table::{Table, presets};
use serin_controller::rollout::Phase;

use super::models::Version;
use super::story::Chapter;

/// The table of what happened when; with a width in columns, no line is longer.
#[must_use]
pub fn timeline(chapters: &[Chapter], width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["RELEASE", "AFTER", "WEIGHT", "WHAT HAPPENED"]);
    if let Some(width) = width {
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
        table.set_width(width);
    }
    for chapter in chapters {
        for record in &chapter.records {
            let since = chapter.records.first().map_or(0.0, |first| {
                (record.at - first.at)
                    .total(jiff::Unit::Second)
                    .unwrap_or(0.0)
            });
            table.add_row([
                format!("version {}", chapter.version),
                format!("{since:.1} s"),
                format!("{:.0} %", record.weight),
                record.message.clone(),
            ]);
        }
    }
    // Without the blanks that fill the last column.
    table.trim_fmt()
}

/// One line for each release: its end, its cost in users, its offline promise.
#[must_use]
pub fn verdicts(chapters: &[Chapter], versions: &[Version], users: usize) -> Vec<String> {
    let line = |chapter: &Chapter| {
        let number = chapter.version.to_string();
        let served = chapter.tally.version(&number);
        let met = chapter.tally.reached(&number);
        let auc = versions
            .iter()
            .find(|version| version.number == chapter.version)
            .map_or(f64::NAN, |version| version.auc);
        let took = chapter.duration().as_secs_f64();
        let end = match chapter.phase {
            Phase::Succeeded => format!("became live {took:.1} s after it began"),
            Phase::RolledBack => format!("was detected and rolled back {took:.1} s after it began"),
            _ => format!("has not ended after {took:.1} s"),
        };
        format!(
            "version {number} (offline AUC {auc:.3}) {end}; {} of {users} users met it with {} requests, {} of them bad; {} users saw an error",
            met.requests, served.requests, served.bad, met.bad
        )
    };
    chapters.iter().map(line).collect()
}
