//! A simulation in two tables and the sentences that go with them. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::{Kind, Report};
use crate::evidence::thousands;
use crate::quantity::{Fraction, Span};
use crate::simulate::{Share, Spread, Wanted};

/// Everything that a person reads.
pub(super) fn text(report: &Report) -> String {
    let mut out = head(report);
    let _ = write!(
        out,
        "\n\n{}\n\n{}\n",
        ends(&report.releases, report),
        times(&report.releases, report)
    );
    for sentence in promises(
        &report.releases,
        Some((report.false_rollback, report.false_promotion)),
    ) {
        let _ = write!(out, "\n{sentence}");
    }
    for other in &report.against {
        let _ = write!(
            out,
            "\n\n{}: {}\n\n{}\n\n{}\n",
            other.system,
            other.settings,
            ends(&other.releases, report),
            times(&other.releases, report)
        );
        for sentence in promises(&other.releases, None) {
            let _ = write!(out, "\n{sentence}");
        }
    }
    if !report.against.is_empty() {
        out.push('\n');
    }
    let _ = write!(
        out,
        "\nIn brackets: 95 % interval of the simulation's own error, and of times, requests and users the 90 % quantile.\n\
         Taken as honoured: proxies run each config at once, routes lead where they should, approvals are given at once.\n\
         The fuse is not simulated: it cuts an outage off sooner than this."
    );
    out
}

fn head(report: &Report) -> String {
    let users = match (report.users, report.failing) {
        (None, _) => "users alike".to_owned(),
        (Some(users), None) => format!("{} users alike", thousands(u64::from(users))),
        (Some(users), Some((share, rate))) => format!(
            "{} users, {} of whom fail {} of the time",
            thousands(u64::from(users)),
            Fraction(share),
            Fraction(rate)
        ),
    };
    let mut extra = String::new();
    if report.zipf > 0.0 {
        let _ = write!(extra, ", activity by rank^-{}", report.zipf);
    }
    if report.bursts > 1.0 {
        let _ = write!(extra, ", errors in bursts of {} on average", report.bursts);
    }
    format!(
        "{}: {} requests/min, stable fails {}, {users}{extra}\n{} releases of each kind, seed {}, cells of {}, at most {}",
        report.rollout,
        requests(report.requests_per_minute),
        Fraction(report.error_rate),
        thousands(report.runs),
        report.seed,
        span(report.cell_seconds),
        span(report.horizon_seconds)
    )
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn trimmed(table: &Table) -> String {
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

fn ends(releases: &[Kind], report: &Report) -> String {
    let mut table = table(["RELEASE", "FAILS", "PROMOTED", "ROLLED BACK", "NEITHER"]);
    for kind in releases {
        let summary = &kind.summary;
        let neither = Share::of(summary.held.count + summary.undecided.count, report.runs);
        table.add_row([
            kind.name.clone(),
            percent(kind.canary_error_rate),
            share(summary.promoted.share),
            share(summary.rolled_back.share),
            share(neither),
        ]);
    }
    trimmed(&table)
}

fn times(releases: &[Kind], report: &Report) -> String {
    let exposed = if report.users.is_some() {
        "USERS WITH AN ERROR"
    } else {
        "BAD ANSWERS"
    };
    let mut table = table(["RELEASE", "ENDS", "AFTER", "CANARY REQUESTS", exposed]);
    for kind in releases {
        let ways = [
            ("promoted", &kind.summary.promoted),
            ("rolled back", &kind.summary.rolled_back),
        ];
        for (name, way) in ways.iter().filter(|(_, way)| way.share.count > 0) {
            table.add_row([
                kind.name.clone(),
                (*name).to_owned(),
                spread(way.seconds, span),
                spread(way.canary_requests, requests),
                spread(way.exposed, requests),
            ]);
        }
    }
    trimmed(&table)
}

/// What was promised, and what was seen of it.
fn promises(releases: &[Kind], bounds: Option<(f64, f64)>) -> Vec<String> {
    let worst = |wanted: Wanted, of: &dyn Fn(&Kind) -> Share| {
        let kinds = releases.iter().filter(|kind| kind.wanted == wanted);
        // Of equals the first: it lies nearest to the line.
        kinds
            .rev()
            .map(|kind| (of(kind), kind.name.as_str()))
            .max_by(|a, b| a.0.share.total_cmp(&b.0.share))
    };
    let line = |what: &str, found: Option<(Share, &str)>, bound: Option<f64>| {
        let (seen, name) = found?;
        let promise = bound.map_or_else(String::new, |bound| {
            let broken = if seen.low > bound {
                " - BROKEN under this traffic"
            } else {
                ""
            };
            format!("; promised: at most {}{broken}", Fraction(bound))
        });
        Some(format!(
            "{what}: {} at worst ({name}){promise}",
            share(seen)
        ))
    };
    let rollback = worst(Wanted::Promote, &|kind| kind.summary.by_judge);
    let promotion = worst(Wanted::RollBack, &|kind| kind.summary.promoted.share);
    let (of_rollback, of_promotion) = bounds.unzip();
    let rollback = line("False rollback by the judge", rollback, of_rollback);
    let promotion = line("False promotion", promotion, of_promotion);
    rollback.into_iter().chain(promotion).collect()
}

/// `12.3% (11.1-13.6)`.
fn share(share: Share) -> String {
    let digits = |value: f64| format!("{:.1}", value * 100.0);
    format!(
        "{}% ({}-{})",
        digits(share.share),
        digits(share.low),
        digits(share.high)
    )
}

fn percent(rate: f64) -> String {
    // Four digits are enough for a rate that is an assumption.
    let digits = if rate >= 0.01 { 4 } else { 6 };
    let scale = 10f64.powi(digits);
    Fraction((rate * scale).round() / scale).to_string()
}

fn spread(spread: Option<Spread>, show: impl Fn(f64) -> String) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |spread| format!("{} ({})", show(spread.median), show(spread.p90)),
    )
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and for display"
)]
fn requests(number: f64) -> String {
    if number > 0.0 && number < 1.0 {
        format!("{number:.1}")
    } else {
        thousands(number.round() as u64)
    }
}

fn span(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(
        |_| format!("{seconds} s"),
        // More than an hour is not told to the second.
        |span| {
            let whole = if seconds >= 36_000.0 {
                span.as_secs() / 60 * 60
            } else {
                span.as_secs()
            };
            let shown = if span.as_secs() == 0 {
                span
            } else {
                Duration::from_secs(whole)
            };
            Span(shown).to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_comes_with_its_interval() {
        assert_eq!(share(Share::of(0, 1000)), "0.0% (0.0-0.4)");
        assert_eq!(share(Share::of(500, 1000)), "50.0% (46.9-53.1)");
    }

    #[test]
    fn times_are_told_as_exactly_as_they_matter() {
        assert_eq!(span(90.0), "1m 30s");
        assert_eq!(span(0.5), "500ms");
        assert_eq!(span(36_030.0), "10h");
    }

    #[test]
    fn rates_keep_the_digits_of_an_assumption() {
        assert_eq!(percent(0.0115), "1.15%");
        assert_eq!(percent(0.001_234_567), "0.1235%");
        assert_eq!(requests(0.5), "0.5");
        assert_eq!(requests(12_345.4), "12 345");
    }
}
