//! How fast models are served: ours beside a loop that does nothing but run the model, and beside servers that others
//! would take. All run at the same time and are measured in turn.

pub mod load;
pub mod models;
pub mod servers;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};

use self::load::Answered;
use self::models::{BATCH, Model, raw};
use self::servers::{Running, Server, Subject, start};
use crate::bench::report::Row;
use crate::bench::rounds::{Series, orders};
use crate::world::World;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// How often everyone has a turn.
    pub rounds: usize,
    /// How long a turn takes.
    pub turn: Duration,
    /// How many turns between turns of the loop a round has, where the share of its throughput is asked for.
    pub pairs: usize,
}

/// Enough for a median.
pub const FULL: Size = Size {
    rounds: 5,
    turn: Duration::from_secs(3),
    pairs: 3,
};

/// A rough look.
pub const QUICK: Size = Size {
    rounds: 1,
    turn: Duration::from_secs(2),
    pairs: 1,
};

/// Connections: one that waits for each answer, and as many as a batch has rows.
const CONNECTIONS: [usize; 2] = [1, 32];

/// How long the loop runs before and after a turn that is compared with it: the machine's memory, which the large model
/// is read from again and again, is faster in one second than in the next.
const FLANK: Duration = Duration::from_secs(1);

/// Who is measured, with which model.
const SUBJECTS: [Subject; 15] = {
    const fn of(server: Server, model: Model, batches: bool) -> Subject {
        Subject {
            server,
            model,
            batches,
        }
    }
    const JSON: Server = Server::Serin { binary: false };
    const BINARY: Server = Server::Serin { binary: true };
    [
        of(JSON, Model::Small, false),
        of(JSON, Model::Small, true),
        of(BINARY, Model::Small, false),
        of(BINARY, Model::Small, true),
        of(Server::Mosec, Model::Small, false),
        of(Server::Mosec, Model::Small, true),
        of(Server::LitServe, Model::Small, false),
        of(Server::LitServe, Model::Small, true),
        of(Server::FastApi, Model::Small, false),
        of(Server::KServe, Model::Small, false),
        of(BINARY, Model::Large, false),
        of(BINARY, Model::Large, true),
        of(Server::Mosec, Model::Large, true),
        of(Server::LitServe, Model::Large, true),
        of(Server::FastApi, Model::Large, false),
    ]
};

/// What was measured of one subject with so many connections, a value for each round.
#[derive(Debug, Clone, Default)]
struct Measured {
    /// Rows of the model a second.
    rate: Series,
    /// Microseconds of the median request, or forward.
    p50: Series,
    /// Of the slowest of a hundred.
    p99: Series,
    /// The rate as a share of the loop's in the seconds around it, where that was measured.
    share: Series,
}

impl Measured {
    fn add(&mut self, answered: &Answered) {
        self.rate.0.push(answered.rate());
        self.p50.0.push(answered.p50);
        self.p99.0.push(answered.p99);
    }

    /// Several turns of one round, as one.
    fn add_round(&mut self, round: &Measured) {
        self.rate.0.push(round.rate.median());
        self.p50.0.push(round.p50.median());
        self.p99.0.push(round.p99.median());
    }
}

/// What a line of the result is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    model: &'static str,
    /// Connections; of a loop the rows of a batch.
    connections: usize,
    /// In the order in which they are told.
    place: usize,
    name: String,
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Results(BTreeMap<Key, Measured>);

/// Measures; `told` hears of each step.
///
/// # Errors
/// When something cannot be started, or a request fails.
pub async fn run(
    size: Size,
    serve: &Path,
    subjects: &[Subject],
    told: impl Fn(&str),
) -> Result<Results> {
    let world = World::new("bench-serving")?;
    let models = world.file("models");
    for model in [Model::Small, Model::Large] {
        model.save(&models)?;
    }
    let mut running: Vec<Running> = Vec::new();
    for &subject in subjects {
        told(&format!("{} starts", title(subject)));
        running.push(start(&world, subject, &models, serve).await?);
    }
    let mut results = Results::default();
    // After the servers the loops: of one row, and of a batch.
    let loops = [Model::Small, Model::Large].map(|model| [(model, 1), (model, BATCH)]);
    let loops = loops.concat();
    for (round, order) in orders(subjects.len() + loops.len(), size.rounds, 1)
        .iter()
        .enumerate()
    {
        told(&format!("round {} of {}", round + 1, size.rounds));
        for &turn in order {
            match (
                subjects.get(turn).zip(running.get(turn)),
                turn.checked_sub(subjects.len()),
            ) {
                (Some((subject, running)), _) => {
                    for connections in CONNECTIONS {
                        let measured =
                            results.of(subject.model, connections, turn + 1, subject.name());
                        let asked = async || {
                            let answered = running.measure(connections, size.turn).await;
                            let answered = answered.with_context(|| subject.name())?;
                            let (errors, name) = (answered.errors(), subject.name());
                            // One of ours is a defect; one of theirs should not end what takes ten minutes.
                            match subject.server {
                                _ if errors == 0 => {}
                                Server::Serin { .. } => bail!("{errors} requests to {name} failed"),
                                _ => told(&format!("{errors} requests to {name} failed")),
                            }
                            Ok(answered)
                        };
                        if subject.model == Model::Small || connections == 1 {
                            measured.add(&asked().await?);
                            continue;
                        }
                        let alone = || looped(&models, subject.model, BATCH, FLANK);
                        let (mut round, mut before) = (Measured::default(), alone()?.rate());
                        for _ in 0..size.pairs {
                            let answered = asked().await?;
                            let after = alone()?.rate();
                            round.add(&answered);
                            let around = f64::midpoint(before, after);
                            measured.share.0.push(answered.rate() / around);
                            before = after;
                        }
                        measured.add_round(&round);
                    }
                }
                (None, Some(turn)) => {
                    let Some(&(model, rows)) = loops.get(turn) else {
                        continue;
                    };
                    let looped = looped(&models, model, rows, size.turn)?;
                    let connections = usize::try_from(rows)?;
                    let name = format!("a loop, no server, {rows} rows at a time");
                    let measured = results.of(model, connections, 0, name);
                    measured.rate.0.push(looped.rate());
                    measured.p50.0.push(looped.micros.median());
                    measured.p99.0.push(looped.micros.quantile(0.99));
                }
                (None, None) => {}
            }
        }
    }
    Ok(results)
}

/// What a subject is called where both models are.
fn title(subject: Subject) -> String {
    format!("{}: {}", subject.model.name(), subject.name())
}

/// Those who are called so, or everyone where nobody is named.
///
/// # Errors
/// When a name is nobody's.
pub fn chosen(only: &[String]) -> Result<Vec<Subject>> {
    if let Some(stranger) = only
        .iter()
        .find(|it| SUBJECTS.iter().all(|subject| title(*subject) != **it))
    {
        let all = SUBJECTS.map(title).join("', '");
        bail!("there is no '{stranger}': take one of '{all}'");
    }
    let mut subjects = SUBJECTS.to_vec();
    subjects.retain(|it| only.is_empty() || only.contains(&title(*it)));
    Ok(subjects)
}

/// What a loop did that does nothing but run a model.
struct Looped {
    rows: i64,
    /// Of each forward.
    micros: Series,
}

impl Looped {
    /// Rows a second.
    fn rate(&self) -> f64 {
        let forwards = self.micros.0.len() as f64;
        self.rows as f64 * forwards / (self.micros.0.iter().sum::<f64>() / 1e6)
    }
}

fn looped(models: &Path, model: Model, rows: i64, time: Duration) -> Result<Looped> {
    // Where the servers with this model stay.
    let core = (model == Model::Large).then_some(0);
    let file = models.join(model.name()).join("1/model.pt");
    let times = raw(&file, model, rows, time, core)?;
    let micros = times.iter().map(|it| it.as_secs_f64() * 1e6);
    Ok(Looped {
        rows,
        micros: Series(micros.collect()),
    })
}

impl Results {
    fn of(
        &mut self,
        model: Model,
        connections: usize,
        place: usize,
        name: String,
    ) -> &mut Measured {
        let key = Key {
            model: model.name(),
            connections,
            place,
            name,
        };
        self.0.entry(key).or_default()
    }

    /// Rows a second as a share of the loop's, round by round.
    fn share(&self, key: &Key, measured: &Measured) -> Option<Series> {
        if !measured.share.0.is_empty() {
            return Some(measured.share.clone());
        }
        Some(measured.rate.of(&self.loop_of(key)?.rate))
    }

    /// What all of a model and so many connections are compared to: the loop.
    fn loop_of(&self, key: &Key) -> Option<&Measured> {
        let of_same =
            |it: &&Key| (it.model, it.connections, it.place) == (key.model, key.connections, 0);
        self.0
            .iter()
            .find(|(it, _)| of_same(it))
            .map(|(_, measured)| measured)
    }

    /// The rows of the file.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let rows = self.0.iter().flat_map(|(key, measured)| {
            let Key {
                model,
                connections,
                name,
                ..
            } = key;
            let raw = self.loop_of(key);
            let row = |what: &str, seen: &Series, unit: &str, ratio: Option<Series>| {
                let name = format!("{model}, {connections} at a time, {name}: {what}");
                Row::new(&name, seen.median(), unit, ratio.map(|it| it.median()))
            };
            let Measured { rate, p50, p99, .. } = measured;
            [
                row("rows", rate, "1/s", self.share(key, measured)),
                row("p50", p50, "us", raw.map(|it| p50.of(&it.p50))),
                row("p99", p99, "us", raw.map(|it| p99.of(&it.p99))),
            ]
        });
        let promised = self.promised().into_iter();
        rows.chain(promised.map(|it| Row::new(it.name, it.value, it.unit, None)))
            .collect()
    }

    /// What was promised.
    fn promised(&self) -> Vec<Promise> {
        let of = |model: Model, connections, server, batches| {
            let subject = Subject {
                server,
                model,
                batches,
            };
            let same = |key: &Key| (key.model, key.connections) == (model.name(), connections);
            self.0
                .iter()
                .find(|(key, _)| same(key) && key.name == subject.name())
        };
        let json = Server::Serin { binary: false };
        let added = |batches| {
            let (key, served) = of(Model::Small, 1, json, batches)?;
            let raw = self.loop_of(key)?;
            let pairs = served.p50.0.iter().zip(&raw.p50.0);
            Some(Series(pairs.map(|(a, b)| a - b).collect()))
        };
        let rate = of(Model::Small, 32, json, true).map(|(_, served)| served.rate.clone());
        let share = of(Model::Large, 32, Server::Serin { binary: true }, true)
            .and_then(|(key, served)| self.share(key, served));
        // What was left out of the run is left out here.
        let promise = |name, unit, found: Option<Series>, bound, at_most| {
            Some(Promise {
                name,
                unit,
                value: found?.median(),
                bound,
                at_most,
            })
        };
        let promises = [
            promise(
                "small, p50 that serving adds to one request at a time",
                "us",
                added(false),
                120.0,
                true,
            ),
            promise(
                "small, the same where the model takes batches",
                "us",
                added(true),
                120.0,
                true,
            ),
            promise(
                "small, requests with 32 connections, batches",
                "1/s",
                rate,
                60_000.0,
                false,
            ),
            promise(
                "large, share of the loop's throughput with 32 connections, batches",
                "",
                share,
                0.9,
                false,
            ),
        ];
        promises.into_iter().flatten().collect()
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "model",
            "at a time",
            "",
            "rows/s",
            "of the loop",
            "p50 us",
            "p99 us",
        ]);
        for (key, measured) in &self.0 {
            let ratio = self.share(key, measured).map(|it| it.median());
            table.add_row([
                key.model.to_owned(),
                key.connections.to_string(),
                key.name.clone(),
                format!("{:.0}", measured.rate.median()),
                ratio.map_or_else(String::new, |it| format!("{it:.3}")),
                format!("{:.0}", measured.p50.median()),
                format!("{:.0}", measured.p99.median()),
            ]);
        }
        let mut promised = Table::new();
        promised.load_style(presets::NOTHING);
        promised.set_header(["must hold", "seen", "", "bound", ""]);
        for it in self.promised() {
            promised.add_row([
                it.name.to_owned(),
                format!("{:.2}", it.value),
                it.unit.to_owned(),
                format!("{} {}", if it.at_most { "<=" } else { ">=" }, it.bound),
                if it.holds() { "yes" } else { "NO" }.to_owned(),
            ]);
        }
        for column in table.column_iter_mut().skip(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for column in promised.column_iter_mut().skip(1).take(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{}\n\n{}", table.trim_fmt(), promised.trim_fmt())
    }
}

/// A number with a promise.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Promise {
    name: &'static str,
    value: f64,
    unit: &'static str,
    bound: f64,
    at_most: bool,
}

impl Promise {
    fn holds(&self) -> bool {
        if self.at_most {
            self.value <= self.bound
        } else {
            self.value >= self.bound
        }
    }
}
