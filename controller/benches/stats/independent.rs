//! Error rates and power where requests are independent (statistics 8.3, S3, S4 and S6), beside the rules of others.

use serin_controller::stats::poisson::{Direction, Line};

use crate::monte_carlo::{Decided, Worst, all};
use crate::published::{self, DOUBTED, Found, TABLE};
use crate::report::{Report, table};
use crate::rules::{Against, Evidence, Kayenta, Rule, argo, flagger};
use crate::sticky::{ALPHA, BETA, GATE, TOLERANCE};
use crate::streams::{LOOKS, Shape, Traffic};

/// How much to measure.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) runs: u64,
    /// Kayenta's judge takes a thousand times longer.
    pub(crate) kayenta: u64,
}

/// No margin: the canary is healthy while it is not worse at all.
const EQUAL: Line = Line {
    theta: 1.0,
    delta: 0.0,
};
const BASES: [f64; 3] = [0.001, 0.01, 0.05];
const RPMS: [f64; 3] = [20.0, 200.0, 2000.0];
const RULES: [&str; 9] = ["F1", "F1.5", "A0", "A3", "K60", "K1m", "KS1m", "E05", "E01"];

/// When each of several rules decided in each run.
fn watch(
    traffic: Traffic,
    runs: u64,
    rules: impl Fn() -> Vec<Box<dyn Rule>> + Sync,
) -> Vec<Decided> {
    let looks = all(runs, |seed| {
        let mut stream = traffic.stream(seed);
        let mut rules = rules();
        let mut decided = vec![None; rules.len()];
        for at in 1..=LOOKS {
            let look = stream.next();
            for (rule, decided) in rules.iter_mut().zip(&mut decided) {
                if decided.is_none() && rule.decides(&look) {
                    *decided = Some(at);
                }
            }
            if decided.iter().all(Option::is_some) {
                break;
            }
        }
        decided
    });
    let count = looks.first().map_or(0, Vec::len);
    let of = |rule: usize| Decided(looks.iter().map(|run| run[rule]).collect());
    (0..count).map(of).collect()
}

/// All rules, in the order of [`RULES`].
fn everybody(traffic: Traffic, size: Size) -> Vec<Decided> {
    let limit = 1.5 * traffic.base;
    let e = |alpha| Box::new(Evidence::new(Direction::Harm, EQUAL, alpha)) as Box<dyn Rule>;
    let mut decided = watch(traffic, size.runs, || {
        vec![
            Box::new(flagger(0.01)),
            Box::new(flagger(limit)),
            Box::new(argo(limit, 0)),
            Box::new(argo(limit, 3)),
            e(0.05),
            e(0.01),
        ]
    });
    let kayenta = watch(traffic, size.kayenta, || {
        vec![
            Box::new(Kayenta::new(Against::Baseline, LOOKS)),
            Box::new(Kayenta::new(Against::Baseline, 5)),
            Box::new(Kayenta::new(Against::Stable, 5)),
        ]
    });
    decided.splice(4..4, kayenta);
    decided
}

fn percent(value: f64) -> String {
    format!("{} %", (value * 1e5).round() / 1e3)
}

/// The table of statistics 8.3.
pub(crate) fn published_table(size: Size, report: &mut Report) {
    let mut healthy = Vec::new();
    let mut power = Vec::new();
    let mut differences = Vec::new();
    let mut worst = [Worst::default(), Worst::default()];
    for row in &TABLE {
        let traffic = Traffic {
            rpm: row.rpm,
            base: row.base,
            truth: Line {
                theta: row.ratio,
                delta: 0.0,
            },
            shape: Shape::Steady,
        };
        let decided = everybody(traffic, size);
        let name = format!(
            "base {}, {} rpm, x{}",
            percent(row.base),
            row.rpm,
            row.ratio
        );
        let requests =
            |decided: &Decided| decided.median().map(|look| traffic.canary_requests(look));
        let ours = decided.iter().skip(RULES.len() - 2);
        let mut marks = Vec::new();
        for ((ours, published), (worst, alpha)) in
            ours.zip(row.found).zip(worst.iter_mut().zip([0.05, 0.01]))
        {
            let difference = difference(ours, published, row.rpm);
            marks.push(format!("{difference:+.1}"));
            if (row.base, row.rpm, row.ratio) != DOUBTED {
                differences.push(difference);
            }
            if row.ratio == 1.0 {
                worst.see(ours, alpha);
            }
        }
        for (rule, decided) in RULES.iter().zip(&decided) {
            let what = if row.ratio == 1.0 {
                "false rollback"
            } else {
                "found"
            };
            report.row(&format!("{rule}: {what}, {name}"), decided.share(), "share");
            if let Some(requests) = requests(decided) {
                let name = format!("{rule}: median canary requests, {name}");
                report.row(&name, requests, "requests");
            }
        }
        let mut line = vec![percent(row.base), row.rpm.to_string()];
        if row.ratio == 1.0 {
            line.extend(decided.iter().map(|it| format!("{:.3}", it.share())));
            line.extend(row.found.iter().map(|it| format!("{:.3}", it.share)));
            line.extend(marks);
            healthy.push(line);
        } else {
            line.push(format!("x{}", row.ratio));
            let cell = |share: f64, requests: Option<f64>| {
                let requests = requests.map_or("-".to_owned(), |it| it.to_string());
                format!("{share:.2}/{requests}")
            };
            line.extend(decided.iter().map(|it| cell(it.share(), requests(it))));
            line.extend(row.found.iter().map(|it| cell(it.share, it.requests)));
            line.extend(marks);
            power.push(line);
        }
        if row.ratio == 2.0 && row.base == 0.01 && row.rpm == 200.0 {
            let median = requests(&decided[RULES.len() - 2]).unwrap_or(f64::INFINITY);
            report.bound(
                "median canary requests until 2x at 1 % base, 200 rpm, is found, alpha 0.05",
                median,
                1300.0,
                "requests",
            );
        }
    }
    let published = ["E05 publ.", "E01 publ.", "E05 s.e.", "E01 s.e."];
    let heads = |first: &[&str]| -> Vec<String> {
        let heads = first.iter().chain(&RULES).chain(&published);
        heads.map(|head| (*head).to_owned()).collect()
    };
    println!("\nFalse rollback within 60 looks (a healthy canary)\n");
    println!("{}", table(&heads(&["base", "rpm"]), &healthy));
    println!("\nFound within 60 looks / median canary requests until then\n");
    println!("{}", table(&heads(&["base", "rpm", "regression"]), &power));
    let outside = differences.iter().filter(|it| it.abs() > 3.0).count();
    println!(
        "\nOf {} shares and medians of the e-process {outside} lie more than 3 standard errors from the published ones \
         (base 5 %, 2000 rpm, x1.2 left out: its published medians contradict those at 200 rpm).",
        differences.len()
    );
    report.bound(
        "cells of the published table not reproduced (3 standard errors)",
        outside as f64,
        // Of 70, one in 370 would by luck.
        1.0,
        "cells",
    );
    for (worst, alpha) in worst.iter().zip(["0.05", "0.01"]) {
        worst.tell(report, &format!("false rollback, alpha {alpha}, 9 cells"));
    }
}

/// How far ours is from the published share and median, whichever is farther, in standard errors of the difference.
fn difference(ours: &Decided, published: Found, rpm: f64) -> f64 {
    let runs = ours.0.len() as f64;
    let standard = |p: f64| {
        let variance = (p * (1.0 - p)).max(1.0 / published::RUNS);
        (variance * (1.0 / runs + 1.0 / published::RUNS)).sqrt()
    };
    // Two or three digits were printed.
    let digits = if published.share < 0.02 {
        0.0005
    } else {
        0.005
    };
    let off = ours.share() - published.share;
    let off = off.signum() * (off.abs() - digits).max(0.0);
    let share = off / standard(published.share);
    let Some(requests) = published.requests else {
        return share;
    };
    // Half of the runs are decided at the median look, and not at the look before.
    let look = requests / rpm;
    let late = (ours.until(look.ceil()) - 0.5).min(0.0);
    let early = (ours.until(look.floor() - 1.0) - 0.5).max(0.0);
    let median = (late + early) / standard(0.5);
    if median.abs() > share.abs() {
        median
    } else {
        share
    }
}

/// A release whose base rate drifts while its weight rises.
pub(crate) fn drift(size: Size, report: &mut Report) {
    let mut lines = Vec::new();
    let mut worst = [Worst::default(), Worst::default()];
    for base in BASES {
        for rpm in RPMS {
            let traffic = Traffic {
                rpm,
                base,
                truth: EQUAL,
                shape: Shape::Drift,
            };
            let decided = everybody(traffic, size);
            for (at, worst) in worst.iter_mut().enumerate() {
                worst.see(&decided[RULES.len() - 2 + at], [0.05, 0.01][at]);
            }
            let mut line = vec![percent(base), rpm.to_string()];
            line.extend(decided.iter().map(|it| format!("{:.3}", it.share())));
            for (rule, decided) in RULES.iter().zip(&decided) {
                let name = format!(
                    "{rule}: false rollback, drift, base {}, {rpm} rpm",
                    percent(base)
                );
                report.row(&name, decided.share(), "share");
            }
            lines.push(line);
        }
    }
    let heads: Vec<String> = ["base", "rpm"]
        .iter()
        .chain(&RULES)
        .map(|it| (*it).to_owned())
        .collect();
    println!(
        "\nFalse rollback while the base rate goes from half to twice its size and the weight from 1 to 50 %\n"
    );
    println!("{}", table(&heads, &lines));
    for (worst, alpha) in worst.iter().zip(["0.05", "0.01"]) {
        worst.tell(
            report,
            &format!("false rollback, drift and ramp, alpha {alpha}, 9 cells"),
        );
    }
}

/// Bad events in bursts: the evidence divided by their dispersion (7.4).
pub(crate) fn bursts(size: Size, report: &mut Report) {
    let mut lines = Vec::new();
    let mut worst = [Worst::default(), Worst::default()];
    for mean in [3.0, 10.0] {
        for weight in [0.01, 0.05, 0.1, 0.5] {
            let traffic = Traffic {
                rpm: 2000.0,
                base: 0.01,
                truth: EQUAL,
                shape: Shape::Bursts { mean, weight },
            };
            // Of geometric lengths: E[K^2] / E[K].
            let phi = 2.0 * mean - 1.0;
            let e = |phi, alpha| {
                Box::new(Evidence {
                    phi,
                    ..Evidence::new(Direction::Harm, EQUAL, alpha)
                }) as Box<dyn Rule>
            };
            let decided = watch(traffic, size.runs, || {
                vec![
                    Box::new(flagger(0.015)),
                    Box::new(argo(0.015, 3)),
                    e(1.0, 0.05),
                    e(phi, 0.05),
                    e(phi, 0.01),
                ]
            });
            for (at, worst) in worst.iter_mut().enumerate() {
                worst.see(&decided[3 + at], [0.05, 0.01][at]);
                let alpha = ["0.05", "0.01"][at];
                let name = format!(
                    "false rollback, bursts of mean {mean}, weight {}, phi, alpha {alpha}",
                    percent(weight)
                );
                report.row(&name, decided[3 + at].share(), "share");
            }
            let mut line = vec![mean.to_string(), percent(weight), phi.to_string()];
            line.extend(decided.iter().map(|it| format!("{:.3}", it.share())));
            lines.push(line);
        }
    }
    let heads = [
        "mean burst",
        "weight",
        "phi",
        "F1.5",
        "A3",
        "E05 without phi",
        "E05",
        "E01",
    ];
    println!("\nFalse rollback where errors come in bursts, 20 000 requests a look, 1 % base\n");
    println!("{}", table(&heads.map(str::to_owned), &lines));
    for (worst, alpha) in worst.iter().zip(["0.05", "0.01"]) {
        worst.tell(
            report,
            &format!("false rollback, bursts with phi, alpha {alpha}, 8 cells"),
        );
    }
}

/// Releases on the tolerance line, and on the last gate.
pub(crate) fn on_the_lines(size: Size, report: &mut Report) {
    let mut lines = Vec::new();
    let (mut harm, mut success) = (Worst::default(), Worst::default());
    for shape in [Shape::Steady, Shape::Drift] {
        for base in BASES {
            for rpm in RPMS {
                let at = |truth, direction, level| {
                    let traffic = Traffic {
                        rpm,
                        base,
                        truth,
                        shape,
                    };
                    let rule = || Box::new(Evidence::new(direction, truth, level)) as Box<dyn Rule>;
                    let mut decided = watch(traffic, size.runs, || vec![rule()]);
                    decided.pop().unwrap_or_default()
                };
                let tolerated = at(TOLERANCE, Direction::Harm, ALPHA);
                let gate = at(GATE, Direction::Success, BETA);
                harm.see(&tolerated, ALPHA);
                success.see(&gate, BETA);
                let kind = if shape == Shape::Drift {
                    "drift and ramp"
                } else {
                    "steady"
                };
                let cell = format!("{kind}, base {}, {rpm} rpm", percent(base));
                report.row(
                    &format!("false rollback at the tolerance, {cell}"),
                    tolerated.share(),
                    "share",
                );
                report.row(
                    &format!("false promotion at the gate, {cell}"),
                    gate.share(),
                    "share",
                );
                lines.push(vec![
                    kind.to_owned(),
                    percent(base),
                    rpm.to_string(),
                    format!("{:.4}", tolerated.share()),
                    format!("{:.4}", gate.share()),
                ]);
            }
        }
    }
    let heads = [
        "traffic",
        "base",
        "rpm",
        "rolled back at 1.1 x + 0.05 pp",
        "promoted at 1.25 x + 0.2 pp",
    ];
    println!("\nReleases exactly on the lines, alpha .01 and beta .05\n");
    println!("{}", table(&heads.map(str::to_owned), &lines));
    harm.tell(
        report,
        "false rollback at the tolerance, alpha 0.01, 18 cells",
    );
    success.tell(
        report,
        "false promotion at the last gate, beta 0.05, 18 cells",
    );
}
