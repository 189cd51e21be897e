//! Rollouts as a table. Pure.

use comfy_table::{Table, presets};
use jiff::Timestamp;

use super::installation::Seen;
use super::view::weight;
use crate::report::ArmStatus;

/// What a table can show of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Rollout,
    Phase,
    Step,
    Weight,
    Observed,
    Verdict,
    /// Since it was made, until then.
    Age(Timestamp),
    Live,
    Message,
}

impl Column {
    fn head(self) -> &'static str {
        match self {
            Self::Rollout => "ROLLOUT",
            Self::Phase => "PHASE",
            Self::Step => "STEP",
            Self::Weight => "WEIGHT",
            Self::Observed => "OBSERVED",
            Self::Verdict => "VERDICT",
            Self::Age(_) => "AGE",
            Self::Live => "LIVE",
            Self::Message => "MESSAGE",
        }
    }

    fn cell(self, seen: &Seen) -> Option<String> {
        let status = &seen.status;
        let release = status.release.as_ref();
        Some(match self {
            Self::Rollout => status.name.to_string(),
            Self::Phase => format!("{:?}", status.phase),
            Self::Step => {
                let (step, of) = release?.step?;
                format!("{step}/{of}")
            }
            Self::Weight => weights(&release?.arms, |arm| Some(arm.weight)),
            Self::Observed => weights(&release?.arms, |arm| arm.observed_weight),
            Self::Verdict => format!("{:?}", release?.verdict),
            Self::Age(now) => age(now.as_second() - seen.made?.as_second()),
            Self::Live => status.live.version.clone(),
            Self::Message => status.message.lines().next().unwrap_or_default().to_owned(),
        })
    }
}

/// Of several versions one after the other.
fn weights(arms: &[ArmStatus], of: impl Fn(&ArmStatus) -> Option<f64>) -> String {
    let each: Vec<_> = arms.iter().map(|arm| weight(of(arm))).collect();
    each.join(" + ")
}

/// A span as kubectl shows it: the greatest unit, while it is small with the next one.
pub(super) fn age(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let with = |great: i64, unit: &str, small: i64, next: &str| {
        if great < 10 && small > 0 {
            format!("{great}{unit}{small}{next}")
        } else {
            format!("{great}{unit}")
        }
    };
    match seconds {
        ..120 => format!("{}s", seconds.max(0)),
        120..7200 => with(minutes, "m", seconds % 60, "s"),
        7200..172_800 => with(hours, "h", minutes % 60, "m"),
        _ => with(days, "d", hours % 24, "h"),
    }
}

/// The table, without trailing blanks.
pub(super) fn table(columns: &[Column], rollouts: &[Seen]) -> String {
    let rows = rollouts.iter().map(|seen| {
        let cell = |column: &Column| column.cell(seen).unwrap_or_else(|| "-".to_owned());
        columns.iter().map(cell).collect()
    });
    plain(columns.iter().map(|column| column.head()), rows)
}

/// Any table of ours.
pub(super) fn plain<'a>(
    head: impl Iterator<Item = &'a str>,
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head);
    table.add_rows(rows);
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::started;
    use crate::report::{View, report};

    #[test]
    fn an_age_reads_as_in_kubectl() {
        for (seconds, said) in [
            (-5, "0s"),
            (119, "119s"),
            (125, "2m5s"),
            (600, "10m"),
            (7200, "2h"),
            (7260, "2h1m"),
            (172_800, "2d"),
            (10 * 86_400 + 3600, "10d"),
        ] {
            assert_eq!(age(seconds), said);
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let (plan, state) = started();
        let mut seen = Seen {
            status: report(Some(&plan), &state, &View::default()),
            made: None,
            current: true,
            pending: None,
            version: None,
        };
        let columns = [
            Column::Rollout,
            Column::Step,
            Column::Weight,
            Column::Observed,
            Column::Age(Timestamp::UNIX_EPOCH),
        ];
        let text = table(&columns, std::slice::from_ref(&seen));
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["ml/fraud", "1/3", "10.0", "%", "-", "-"]);
        seen.status.release = None;
        let text = table(&columns, &[seen]);
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["ml/fraud", "-", "-", "-", "-"]);
    }
}
