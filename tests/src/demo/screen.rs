//! What the demo shows: a live tree in a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use anyhow::Result;
use console::{Style, Term};
use serin_controller::cli::{Palette, short, tree};
use serin_controller::report::{ReleaseStatus, Status};

use super::story::Glance;

/// How often the plain form says how things stand while nothing happens.
const QUIET: Duration = Duration::from_secs(5);

/// Writes to stdout.
#[derive(Debug)]
pub struct Screen {
    terminal: Term,
    drawn: usize,
    /// Records of the present release that were printed.
    told: usize,
    last: Option<Instant>,
    before: Option<(Instant, u64)>,
    rate: f64,
}

impl Default for Screen {
    fn default() -> Screen {
        Screen {
            terminal: Term::stdout(),
            drawn: 0,
            told: 0,
            last: None,
            before: None,
            rate: 0.0,
        }
    }
}

impl Screen {
    /// A line that stays, above what is live.
    ///
    /// # Errors
    /// When stdout is gone.
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.terminal
            .clear_last_lines(std::mem::take(&mut self.drawn))?;
        self.terminal.write_line(text)?;
        Ok(())
    }

    /// A line that begins a part of the story.
    ///
    /// # Errors
    /// When stdout is gone.
    pub fn headline(&mut self, text: &str) -> Result<()> {
        self.told = 0;
        self.line("")?;
        let text = format!("== {text}");
        let painted = Style::new().for_stdout().bold().apply_to(text).to_string();
        self.line(&painted)
    }

    /// Columns of the terminal; none when it is no terminal.
    #[must_use]
    pub fn width(&self) -> Option<u16> {
        self.terminal.size_checked().map(|(_, columns)| columns)
    }

    /// How the rollout stands now.
    ///
    /// # Errors
    /// When stdout is gone.
    pub fn show(&mut self, status: &Status, users: &Glance) -> Result<()> {
        self.measure(users);
        let records = status
            .release
            .as_ref()
            .map(|release| release.records.as_slice())
            .unwrap_or_default();
        let fresh: Vec<_> = records
            .iter()
            .skip(self.told)
            .map(|record| {
                let begun = records.first().map_or(record.at, |first| first.at);
                let since = (record.at - begun)
                    .total(jiff::Unit::Second)
                    .unwrap_or_default();
                format!(
                    "+{since:>5.1} s  {:>3.0} %  {}",
                    record.weight, record.message
                )
            })
            .collect();
        self.told = records.len();
        for line in &fresh {
            self.line(line)?;
        }
        if self.terminal.is_term() {
            self.draw(status, users)
        } else {
            self.say(status, users, !fresh.is_empty())
        }
    }

    fn draw(&mut self, status: &Status, users: &Glance) -> Result<()> {
        let width = usize::from(self.terminal.size().1).saturating_sub(1);
        let mut lines = vec![String::new()];
        lines.extend(tree(status, Palette::detect()));
        lines.push(self.traffic(users));
        self.terminal.clear_last_lines(self.drawn)?;
        for line in &lines {
            // A line that wraps would not be cleared whole.
            self.terminal
                .write_line(&console::truncate_str(line, width, "…"))?;
        }
        self.drawn = lines.len();
        Ok(())
    }

    fn say(&mut self, status: &Status, users: &Glance, told: bool) -> Result<()> {
        if told || self.last.is_none_or(|last| last.elapsed() >= QUIET) {
            self.last = Some(Instant::now());
            let Some(release) = &status.release else {
                return Ok(());
            };
            let seen = release
                .canary()
                .observed_weight
                .map_or_else(|| "-".to_owned(), |seen| format!("{seen:.1}"));
            self.terminal.write_line(&format!(
                "  {:?} asked {:.0} % seen {seen} %; {}; harm e = {} of {}; {}",
                status.phase,
                release.canary().weight,
                verdicts(release),
                short(release.harm.e),
                short(release.harm.needed),
                self.traffic(users)
            ))?;
        }
        Ok(())
    }

    fn measure(&mut self, users: &Glance) {
        let now = Instant::now();
        match self.before {
            None => self.before = Some((now, users.requests)),
            Some((then, before)) if now - then >= Duration::from_secs(1) => {
                self.rate =
                    users.requests.saturating_sub(before) as f64 / (now - then).as_secs_f64();
                self.before = Some((now, users.requests));
            }
            Some(_) => {}
        }
    }

    fn traffic(&self, users: &Glance) -> String {
        let late = if users.late > 0 {
            format!(", {} not sent in time", users.late)
        } else {
            String::new()
        };
        format!(
            "traffic {:.0} requests/s, {} in all, {} bad; p50 {:.1} ms, p99 {:.1} ms{late}",
            self.rate,
            users.requests,
            users.bad,
            users.median.as_secs_f64() * 1e3,
            users.p99.as_secs_f64() * 1e3
        )
    }
}

/// What each metric says.
pub(super) fn verdicts(release: &ReleaseStatus) -> String {
    let each = release.metrics.iter();
    let said = each.map(|it| format!("{} {:?}: {}", it.name, it.verdict, it.sentence));
    said.collect::<Vec<_>>().join("; ")
}
