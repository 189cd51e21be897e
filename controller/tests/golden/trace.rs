//! What a person sees, line by line, where it changes.

use std::fmt::Write as _;

use jiff::Timestamp;
use serin_controller::report::Status;
use serin_controller::rollout::Writes;

/// The text of a rollout.
#[derive(Debug)]
pub(crate) struct Trace {
    text: String,
    before: Option<Seen>,
}

/// What makes a new line when it changes.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    head: String,
    records: usize,
    story: Option<(Timestamp, u64)>,
    verdicts: Vec<String>,
    waiting: Option<String>,
}

impl Trace {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            text: format!("{file}---\n"),
            before: None,
        }
    }

    /// A line of the scene, such as what somebody typed.
    pub(crate) fn say(&mut self, what: &str) {
        let _ = writeln!(self.text, "# {what}");
    }

    /// The status after a tick.
    pub(crate) fn show(
        &mut self,
        now: Timestamp,
        status: &Status,
        writes: Writes,
        waiting: Option<&str>,
    ) {
        let Some(release) = &status.release else {
            let _ = writeln!(
                self.text,
                "{} {:?} live {}: {}",
                clock(now),
                status.phase,
                status.live.version,
                status.message
            );
            return;
        };
        let weights = std::iter::once(&release.stable).chain(&release.arms);
        let weights: Vec<_> = weights
            .map(|arm| format!("{} {} %", arm.variant.name, arm.weight))
            .collect();
        let step = release
            .step
            .map_or(format!("{:?}", release.stage), |(step, of)| {
                format!("step {step}/{of}")
            });
        let head = format!(
            "{:?}, {step}, {}, live {}",
            status.phase,
            weights.join(", "),
            status.live.version
        );
        let verdicts = release.metrics.iter().map(|metric| {
            let who = format!("{}/{}", metric.variant, metric.name);
            (
                who,
                format!("{:?}", metric.verdict),
                metric.sentence.clone(),
            )
        });
        let verdicts: Vec<_> = verdicts.collect();
        let started = release.started;
        let last = release.records.last().map_or(0, |record| record.number);
        let known = self.before.as_ref().and_then(|before| before.story);
        let told = known
            .filter(|(of, _)| *of == started)
            .map_or(0, |(_, last)| last);
        let seen = Seen {
            head: head.clone(),
            records: status.history.len(),
            story: Some((started, last)),
            verdicts: verdicts
                .iter()
                .map(|(_, verdict, sentence)| format!("{verdict} {}", gist(sentence)))
                .collect(),
            waiting: waiting.map(gist),
        };
        if self.before.as_ref() == Some(&seen) && writes == Writes::Nothing {
            return;
        }
        let wrote = if writes == Writes::Nothing {
            String::new()
        } else {
            format!("; writes {writes:?}")
        };
        let _ = writeln!(self.text, "{} {head}{wrote}", clock(now));
        for record in release.records.iter().filter(|it| it.number > told) {
            let _ = writeln!(self.text, "  > {}", record.message);
        }
        for (who, verdict, sentence) in verdicts {
            let _ = writeln!(self.text, "  {who} {verdict}: {sentence}");
        }
        if let Some(waiting) = waiting {
            let _ = writeln!(self.text, "  holds: {waiting}");
        }
        self.before = Some(seen);
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

fn clock(now: Timestamp) -> String {
    now.strftime("%H:%M:%S").to_string()
}

/// A sentence without its numbers: counts change with every cell and are no news.
fn gist(sentence: &str) -> String {
    let without: String = sentence
        .chars()
        .filter(|c| !c.is_ascii_digit() && *c != '.')
        .collect();
    without.split_whitespace().collect::<Vec<_>>().join(" ")
}
