//! Users who differ and stay put (statistics 7.9): the margin keeps both promises, and what it costs where users are
//! alike.

use serin_controller::stats::poisson::{Counts, Direction, EProcess, Line};
use serin_controller::stats::user_mix::{GroupTotals, MarginLevel, UserMix};

use crate::monte_carlo::{Decided, Worst, all};
use crate::population::{Population, Release};
use crate::report::{Report, table};

pub(crate) const TOLERANCE: Line = Line {
    theta: 1.1,
    delta: 0.0005,
};
pub(crate) const GATE: Line = Line {
    theta: 1.25,
    delta: 0.002,
};
pub(crate) const ALPHA: f64 = 0.01;
pub(crate) const BETA: f64 = 0.05;
const LOOKS: u32 = 60;

/// One in a hundred users fails half the time, the others one time in two hundred.
const FEW_BAD: Population = Population {
    users: 0,
    bad_users: 0.01,
    p_bad: 0.5,
    p_good: 0.005,
    zipf: 0.0,
};
const ALIKE: Population = Population {
    users: 100_000,
    bad_users: 0.0,
    p_bad: 0.0,
    p_good: 0.01,
    zipf: 0.0,
};

/// One cell of the table.
#[derive(Clone, Copy)]
struct Cell {
    population: Population,
    weight: f64,
    /// Canary requests a look.
    requests: f64,
}

impl Cell {
    fn name(&self) -> String {
        let Self {
            population,
            weight,
            requests,
        } = self;
        let kind = if population.bad_users > 0.0 {
            "1 % bad users"
        } else {
            "users alike"
        };
        let activity = if population.zipf > 0.0 {
            "Zipf"
        } else {
            "equal"
        };
        format!(
            "{kind} of {} k, {activity}, weight {} %, {requests} a look",
            population.users / 1000,
            weight * 100.0
        )
    }
}

/// Every cell in which users differ.
fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for users in [1_000, 10_000, 100_000] {
        for zipf in [0.0, 1.0] {
            for weight in [0.01, 0.05, 0.25] {
                for requests in [2_000.0, 20_000.0] {
                    cells.push(Cell {
                        population: Population {
                            users,
                            zipf,
                            ..FEW_BAD
                        },
                        weight,
                        requests,
                    });
                }
            }
        }
    }
    cells
}

/// Cells in which users are alike, where the margin should cost little.
fn alike() -> Vec<Cell> {
    let mut cells = Vec::new();
    for weight in [0.01, 0.05, 0.25] {
        for requests in [200.0, 2_000.0] {
            cells.push(Cell {
                population: ALIKE,
                weight,
                requests,
            });
        }
    }
    cells
}

/// The ratio at which a release lies exactly on the line.
fn on(line: Line) -> impl Fn(f64) -> f64 + Copy + Sync {
    move |rate| line.theta + line.delta / rate
}

/// What is to be proven, and the chance of being wrong that was promised.
#[derive(Clone, Copy)]
struct Claim {
    direction: Direction,
    line: Line,
    error: f64,
}

const HARM: Claim = Claim {
    direction: Direction::Harm,
    line: TOLERANCE,
    error: ALPHA,
};
const SUCCESS: Claim = Claim {
    direction: Direction::Success,
    line: GATE,
    error: BETA,
};

/// The same releases judged twice.
struct Judged {
    /// By request, as if it did not matter whose they are.
    plain: Decided,
    /// With half of the error probability for the margin.
    margin: Decided,
}

fn judge(cell: Cell, claim: Claim, ratio: impl Fn(f64) -> f64 + Copy + Sync, runs: u64) -> Judged {
    let level = MarginLevel::new(claim.error / 2.0).unwrap();
    let both = all(runs, |seed| {
        let mut release = Release::new(cell.population, cell.weight, cell.requests, ratio, seed);
        watch(&mut release, claim, level)
    });
    let (plain, margin) = both.into_iter().unzip();
    Judged {
        plain: Decided(plain),
        margin: Decided(margin),
    }
}

fn watch(release: &mut Release, claim: Claim, level: MarginLevel) -> (Option<u32>, Option<u32>) {
    let Claim {
        direction,
        line,
        error,
    } = claim;
    let mut plain = EProcess::start(direction);
    let mut process = plain.clone();
    let mut mix = UserMix::default();
    let mut decided = (None, None);
    for look in 1..=LOOKS {
        let (canary, stable) = release.look();
        let counts = counts(&canary, &stable);
        plain.update(counts, line, 1.0).unwrap();
        match mix.margin(direction, level, line.theta) {
            Some(margin) => {
                let line = line.with_margin(direction, margin);
                process.update(counts, line, 1.0).unwrap();
            }
            None => process.carry(counts).unwrap(),
        }
        mix.add(&canary, &stable).unwrap();
        let at = |decided: Option<u32>, now: bool| decided.or(now.then_some(look));
        decided.0 = at(decided.0, plain.rejects(error));
        decided.1 = at(decided.1, process.rejects(error / 2.0));
        if decided.0.is_some() && decided.1.is_some() {
            break;
        }
    }
    decided
}

fn counts(canary: &GroupTotals, stable: &GroupTotals) -> Counts {
    let sum = |arm: &GroupTotals| {
        let groups = arm.groups.iter();
        groups.fold((0.0, 0.0), |(x, n), group| (x + group.bad, n + group.total))
    };
    let ((bad_canary, total_canary), (bad_stable, total_stable)) = (sum(canary), sum(stable));
    Counts {
        bad_canary,
        total_canary,
        bad_stable,
        total_stable,
    }
}

/// Every cell in which users differ: both promises.
pub(crate) fn promises(runs: u64, report: &mut Report) {
    let mut lines = Vec::new();
    let mut worst = [Worst::default(), Worst::default(), Worst::default()];
    for cell in cells() {
        let healthy = judge(cell, HARM, |_| 1.0, runs);
        let tolerated = judge(cell, HARM, on(TOLERANCE), runs);
        let gate = judge(cell, SUCCESS, on(GATE), runs);
        let found = judge(cell, HARM, |_| 3.0, runs / 5);
        let judged = [&healthy.margin, &tolerated.margin, &gate.margin];
        for ((worst, judged), bound) in worst.iter_mut().zip(judged).zip([ALPHA, ALPHA, BETA]) {
            worst.see(judged, bound);
        }
        let name = cell.name();
        for (what, judged) in [
            ("false rollback, healthy", &healthy),
            ("false rollback, at the tolerance", &tolerated),
            ("false promotion, at the gate", &gate),
        ] {
            report.row(&format!("{what}, {name}"), judged.margin.share(), "share");
            report.row(
                &format!("by request alone: {what}, {name}"),
                judged.plain.share(),
                "share",
            );
        }
        let mut line = vec![name];
        for judged in [&healthy, &tolerated, &gate, &found] {
            line.push(format!("{:.3}", judged.plain.share()));
            line.push(format!("{:.3}", judged.margin.share()));
        }
        lines.push(line);
    }
    let heads = [
        "",
        "healthy: plain",
        "ours",
        "tolerated: plain",
        "ours",
        "promoted at the gate: plain",
        "ours",
        "x3 found: plain",
        "ours",
    ];
    println!("\nUsers who differ and stay put: rolled back or promoted within 60 looks\n");
    println!("{}", table(&heads.map(str::to_owned), &lines));
    let names = [
        "false rollback, users differ, healthy, alpha 0.01, 36 cells",
        "false rollback, users differ, at the tolerance, alpha 0.01, 36 cells",
        "false promotion, users differ, at the last gate, beta 0.05, 36 cells",
    ];
    for (worst, name) in worst.iter().zip(names) {
        worst.tell(report, name);
    }
}

/// What the margin costs where users are alike.
pub(crate) fn price(runs: u64, report: &mut Report) {
    let mut lines = Vec::new();
    let mut highest: f64 = 0.0;
    for cell in alike() {
        let harm = judge(cell, HARM, |_| 2.0, runs);
        let success = judge(cell, SUCCESS, |_| 1.0, runs);
        let requests = |judged: &Decided| {
            let looks = judged.median();
            looks.map(|looks| f64::from(looks) * cell.requests)
        };
        let said = |judged: &Decided| {
            let requests = requests(judged).map_or("-".to_owned(), |it| it.to_string());
            format!("{:.2}/{requests}", judged.share())
        };
        let (plain, ours) = (requests(&harm.plain), requests(&harm.margin));
        // Where half are not found, it costs more than can be said.
        let ratio = match (plain, ours) {
            (Some(plain), Some(ours)) => ours / plain,
            _ => f64::INFINITY,
        };
        highest = highest.max(ratio);
        let name = format!("median canary requests until 2x is found, {}", cell.name());
        report.row_of(&name, ours.unwrap_or(f64::MAX), "requests", ratio);
        lines.push(vec![
            cell.name(),
            said(&harm.plain),
            said(&harm.margin),
            format!("{ratio:.2}"),
            said(&success.plain),
            said(&success.margin),
        ]);
    }
    let heads = [
        "",
        "2x found: plain",
        "ours",
        "times the requests",
        "healthy promoted: plain",
        "ours",
    ];
    println!(
        "\nWhat the margin costs where users are alike: share within 60 looks / median canary requests\n"
    );
    println!("{}", table(&heads.map(str::to_owned), &lines));
    report.bound(
        "requests until 2x is found, as a multiple of the plain e-process's, users alike",
        highest,
        2.5,
        "x",
    );
}
