//! A rollout as a tree of lines, for `watch`, `get -o wide` and the demo. Pure.

use console::Style;

use crate::evidence::thousands;
use crate::report::{ArmStatus, Level, MetricStatus, ReleaseStatus, Status, Verdict};
use crate::rollout::Phase;

/// Whether lines carry colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette(bool);

impl Palette {
    /// No colours.
    pub const PLAIN: Self = Self(false);

    /// Colours when stdout is a terminal that wants them (`NO_COLOR` and `TERM=dumb` are heeded).
    #[must_use]
    pub fn detect() -> Self {
        Self(console::colors_enabled())
    }

    fn paint(self, style: &Style, text: &str) -> String {
        if self.0 {
            style.clone().force_styling(true).apply_to(text).to_string()
        } else {
            text.to_owned()
        }
    }
}

/// The lines of one rollout.
#[must_use]
pub fn tree(status: &Status, palette: Palette) -> Vec<String> {
    let mut lines = vec![head(status, palette)];
    if let Some(release) = &status.release {
        for it in std::iter::once(&release.stable).chain(&release.arms) {
            lines.push(format!("├─ {}", arm(it)));
        }
        for it in release.arms.iter().filter(|arm| arm.fused > 0) {
            lines.push(format!(
                "├─ fuse      {} requests meant for the {} were sent to stable",
                thousands(it.fused),
                it.variant.name
            ));
        }
        for metric in &release.metrics {
            lines.push(format!("├─ {}", verdict(release, metric, palette)));
            lines.push(format!("├─ {}", evidence(release, metric)));
        }
        lines.push(format!("├─ {}", proxies(release)));
    }
    for condition in status
        .conditions
        .iter()
        .filter(|condition| condition.status == Some(false) && condition.kind != "Progressing")
    {
        lines.push(format!(
            "├─ {} {}",
            palette.paint(&Style::new().yellow(), &condition.kind),
            condition.message
        ));
    }
    lines.push(format!("└─ {}", status.message));
    lines
}

fn head(status: &Status, palette: Palette) -> String {
    let phase = format!("{:?}", status.phase);
    let style = match status.phase {
        Phase::Succeeded => Style::new().green().bold(),
        Phase::RolledBack => Style::new().red().bold(),
        Phase::Paused => Style::new().yellow().bold(),
        _ => Style::new().cyan().bold(),
    };
    let step = status
        .release
        .as_ref()
        .and_then(|release| release.step)
        .map_or_else(String::new, |(step, of)| format!("  step {step} of {of}"));
    format!(
        "{}  {}{step}  live: version {}",
        palette.paint(&Style::new().bold(), &status.name.to_string()),
        palette.paint(&style, &phase),
        status.live.version
    )
}

fn arm(arm: &ArmStatus) -> String {
    let ArmStatus {
        variant, requests, ..
    } = arm;
    let rate = if requests.total == 0 {
        "-".to_owned()
    } else {
        format!("{:.3} %", requests.rate() * 100.0)
    };
    format!(
        "{} {:<6} asked {:>8}  seen {:>8}  requests {:>11}  bad {:>7}  {rate:>9}",
        variant.name,
        variant.version,
        weight(Some(arm.weight)),
        weight(arm.observed_weight),
        thousands(requests.total),
        thousands(requests.bad)
    )
}

/// A weight in per cent.
pub(super) fn weight(percent: Option<f64>) -> String {
    percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.1} %"))
}

fn verdict(release: &ReleaseStatus, metric: &MetricStatus, palette: Palette) -> String {
    let style = match metric.verdict {
        Verdict::Pass => Style::new().green(),
        Verdict::Fail => Style::new().red(),
        Verdict::Undecided => Style::new().cyan(),
        Verdict::NoData | Verdict::Error => Style::new().yellow(),
    };
    let verdict = palette.paint(&style, &format!("{:?}", metric.verdict));
    let whose = if release.arms.len() > 1 {
        format!("{} ", metric.variant)
    } else {
        String::new()
    };
    format!("{whose}{} {verdict}: {}", metric.name, metric.sentence)
}

/// With one metric the trail is its own; with several it is that of all together, and stands beside the first.
fn evidence(release: &ReleaseStatus, metric: &MetricStatus) -> String {
    let of = |name: &str, level: &Level| {
        format!("{name} e = {} of {}", short(level.e), short(level.needed))
    };
    let gate = metric.gate.as_ref().map_or_else(String::new, |gate| {
        format!("   {} {}", of("gate", gate), bar(gate))
    });
    let first = release.metrics.first().is_some_and(|it| it == metric);
    let trail = if first {
        format!(" {}", sparkline(&release.trail, release.harm.needed.ln()))
    } else {
        String::new()
    };
    format!("evidence  {}{trail}{gate}", of("harm", &metric.harm))
}

fn proxies(release: &ReleaseStatus) -> String {
    let generation = release.generation.map_or_else(
        || "no generation yet".to_owned(),
        |generation| format!("generation {generation}"),
    );
    match release.proxies {
        Some((running, expected)) => format!("proxies {running} of {expected} run {generation}"),
        None => format!("proxies unknown, want {generation}"),
    }
}

/// An e-value with the digits that matter.
#[must_use]
pub fn short(value: f64) -> String {
    if value >= 1e6 {
        format!("{value:.0e}")
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn bar(level: &Level) -> String {
    const WIDTH: f64 = 10.0;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=10"
    )]
    let full = ((level.log_e / level.needed.ln()).clamp(0.0, 1.0) * WIDTH) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(10 - full))
}

/// Log-evidence over time: the lowest block is no evidence, the highest is `top`.
#[must_use]
pub fn sparkline(log_e: &[f64], top: f64) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const WIDTH: usize = 30;
    let level = |value: f64| {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=7"
        )]
        let level = ((value / top).clamp(0.0, 1.0) * 7.0).round() as usize;
        BLOCKS.get(level).copied().unwrap_or('█')
    };
    log_e
        .iter()
        .skip(log_e.len().saturating_sub(WIDTH))
        .map(|value| level(*value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_ends_high_when_the_evidence_does() {
        assert_eq!(sparkline(&[-3.0, 0.0, 2.65, 5.3, 99.0], 5.3), "▁▁▅██");
        assert_eq!(
            sparkline(&[0.0; 100], 5.3).chars().count(),
            30,
            "only the last cells are shown"
        );
        assert_eq!(sparkline(&[], 5.3), "");
    }

    #[test]
    fn a_plain_palette_adds_nothing() {
        assert_eq!(Palette::PLAIN.paint(&Style::new().red(), "x"), "x");
        assert_ne!(Palette(true).paint(&Style::new().red(), "x"), "x");
    }
}
