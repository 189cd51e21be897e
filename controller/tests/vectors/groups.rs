//! How each group of the vector file is computed: first the groups on counts of rare events, then the others by topic.

mod common_events;
mod distributions;
mod means;
mod people;
mod rivals;

use serde_json::{Map, Value, json};
use serin_controller::stats::bernoulli::ODDS;
use serin_controller::stats::combine::{e_bh, log_weighted_average, weighted_bonferroni};
use serin_controller::stats::counter::counter_delta;
use serin_controller::stats::planning::{Expectation, log_e_to_reach};
use serin_controller::stats::poisson::{
    Alternative, Counts, Direction, EProcess, HARM, Line, Prior, SUCCESS, lambda_star,
    log_e_increment,
};
use serin_controller::stats::ratio::{
    GRID_HALF, GRID_STEP, PRIOR_TAU, RatioSequence, ratio_interval,
};
use serin_controller::stats::reaches;

use crate::compare::{Group, Output};

type Case = Map<String, Value>;

/// Every group that can be run.
pub(crate) fn groups() -> impl Iterator<Item = &'static Group> {
    [
        RARE_EVENTS,
        common_events::GROUPS,
        distributions::GROUPS,
        means::GROUPS,
        people::GROUPS,
        rivals::GROUPS,
    ]
    .into_iter()
    .flatten()
}

const RARE_EVENTS: &[Group] = &[
    Group {
        name: "grids",
        inputs: &[],
        compute: grids,
    },
    Group {
        name: "lambda_star",
        inputs: &["p_c", "p_s", "theta", "delta", "n_c", "n_s"],
        compute: stake,
    },
    Group {
        name: "poisson_increment",
        inputs: &["lambda", "x_c", "n_c", "x_s", "n_s", "theta", "delta"],
        compute: increment,
    },
    Group {
        name: "two_stream_trajectories",
        inputs: &[
            "name",
            "theta",
            "delta",
            "direction",
            "fixed_share",
            "phi",
            "prior_p_s",
            "prior_n_s",
            "intervals_xc_nc_xs_ns",
        ],
        compute: trajectory,
    },
    Group {
        name: "ratio_confidence_sequence",
        inputs: &["intervals_xc_nc_xs_ns", "alpha"],
        compute: ratio,
    },
    Group {
        name: "combine",
        inputs: &["e", "weights"],
        compute: combined,
    },
    Group {
        name: "planning",
        inputs: &[
            "p_s",
            "true_ratio",
            "theta",
            "delta",
            "rho=n_c/n_s",
            "alpha",
            "grid_weight",
        ],
        compute: planned,
    },
    Group {
        name: "counter_delta",
        inputs: &["prev", "series_age_lt_interval", "cur"],
        compute: gained,
    },
];

fn equal(value: Value) -> Option<Output> {
    Some(Output::Equal(vec![value]))
}

fn number(case: &Case, field: &str) -> f64 {
    case.get(field)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("the case lacks the number \"{field}\""))
}

fn numbers(value: Option<&Value>) -> Vec<f64> {
    let list = value
        .and_then(Value::as_array)
        .expect("the case lacks a list");
    list.iter()
        .map(|item| item.as_f64().expect("the list holds numbers"))
        .collect()
}

fn line(case: &Case) -> Line {
    Line {
        theta: number(case, "theta"),
        delta: number(case, "delta"),
    }
}

fn intervals(case: &Case) -> Vec<Counts> {
    let list = case
        .get("intervals_xc_nc_xs_ns")
        .and_then(Value::as_array)
        .expect("the case lacks its intervals");
    let counts = |item: &Value| match numbers(Some(item))[..] {
        [bad_canary, total_canary, bad_stable, total_stable] => Counts {
            bad_canary,
            total_canary,
            bad_stable,
            total_stable,
        },
        _ => panic!("an interval is not four numbers: {item}"),
    };
    list.iter().map(counts).collect()
}

fn grids(_: &Case, field: &str) -> Option<Output> {
    let grid = |grid: &[Alternative]| {
        let r: Vec<f64> = grid.iter().map(|alternative| alternative.ratio).collect();
        let w: Vec<f64> = grid.iter().map(|alternative| alternative.weight).collect();
        equal(json!({"r": r, "w": w}))
    };
    match field {
        "harm" => grid(&HARM),
        "success" => grid(&SUCCESS),
        "bernoulli_odds" => grid(&ODDS),
        _ => None,
    }
}

fn stake(case: &Case, field: &str) -> Option<Output> {
    let (line, p_c, p_s) = (line(case), number(case, "p_c"), number(case, "p_s"));
    let counts = Counts {
        total_canary: number(case, "n_c"),
        total_stable: number(case, "n_s"),
        ..Counts::default()
    };
    let kappa = line.kappa(counts);
    let lambda = lambda_star(p_c, p_s, line, kappa);
    match field {
        "kappa" => equal(json!(kappa)),
        "lambda" => equal(json!(lambda)),
        "foc_residual_abs_lt" => {
            let residual =
                p_c / (1.0 + lambda) - line.theta * p_s / (1.0 - lambda * kappa) - line.delta;
            Some(Output::Below(residual.abs()))
        }
        _ => None,
    }
}

fn increment(case: &Case, field: &str) -> Option<Output> {
    let counts = Counts {
        bad_canary: number(case, "x_c"),
        total_canary: number(case, "n_c"),
        bad_stable: number(case, "x_s"),
        total_stable: number(case, "n_s"),
    };
    match field {
        "log_e" => equal(json!(log_e_increment(
            number(case, "lambda"),
            counts,
            line(case)
        ))),
        _ => None,
    }
}

fn trajectory(case: &Case, field: &str) -> Option<Output> {
    if field != "after_each" {
        return None;
    }
    let direction: Direction =
        serde_json::from_value(case["direction"].clone()).expect("a direction");
    let total = number(case, "prior_n_s");
    let prior = Prior {
        bad: number(case, "prior_p_s") * total,
        total,
    };
    let mut process =
        EProcess::new(direction, number(case, "fixed_share"), prior).expect("a sane prior");
    let after = intervals(case).into_iter().map(|counts| {
        process
            .update(counts, line(case), number(case, "phi"))
            .expect("usable");
        // A checkpoint between any two intervals must not show in the numbers.
        let written = serde_json::to_string(&process).expect("serializes");
        process = serde_json::from_str(&written).expect("restores");
        json!({"log_E": process.log_e(), "p_value": process.p_value()})
    });
    equal(Value::Array(after.collect()))
}

fn ratio(case: &Case, field: &str) -> Option<Output> {
    let (intervals, alpha) = (intervals(case), number(case, "alpha"));
    let mut sequence = RatioSequence::default();
    for counts in &intervals {
        sequence.update(*counts).expect("usable");
    }
    // The list and the bounded state give the same three numbers.
    let both = [ratio_interval(&intervals, alpha), sequence.interval(alpha)]
        .map(|interval| interval.expect("usable"));
    match field {
        "grid_step_log" => equal(json!(GRID_STEP)),
        "grid_half" => equal(json!(GRID_HALF)),
        "prior_tau_log" => equal(json!(PRIOR_TAU)),
        "mle" => Some(Output::Equal(
            both.iter().map(|interval| json!(interval.mle)).collect(),
        )),
        "lower" => Some(Output::Equal(
            both.iter().map(|interval| json!(interval.lower)).collect(),
        )),
        "upper" => Some(Output::Equal(
            both.iter().map(|interval| json!(interval.upper)).collect(),
        )),
        _ => None,
    }
}

fn combined(case: &Case, field: &str) -> Option<Output> {
    let log_e: Vec<f64> = numbers(case.get("e")).into_iter().map(f64::ln).collect();
    let weights = numbers(case.get("weights"));
    let average = log_weighted_average(&log_e, &weights).expect("sane");
    match (field.split("alpha_").next()?, alpha_in(field)) {
        ("weighted_average", None) => equal(json!(average.exp())),
        ("uniform_average", None) => {
            let uniform = vec![1.0 / log_e.len() as f64; log_e.len()];
            equal(json!(
                log_weighted_average(&log_e, &uniform).expect("sane").exp()
            ))
        }
        ("rollback_at_", Some(alpha)) => equal(json!(reaches(average, alpha))),
        ("weighted_bonferroni_hits_", Some(alpha)) => equal(json!(
            weighted_bonferroni(&log_e, &weights, alpha).expect("sane")
        )),
        ("e_bh_", Some(alpha)) if field.ends_with("_rejected_indices") => {
            let mut rejected = e_bh(&log_e, alpha).expect("sane");
            rejected.sort_unstable();
            equal(json!(rejected))
        }
        _ => None,
    }
}

/// The level in a field's name, as in `rollback_at_alpha_.05_(>=20)`.
fn alpha_in(field: &str) -> Option<f64> {
    let (_, rest) = field.split_once("alpha_")?;
    rest.split(['_', '(']).next()?.parse().ok()
}

fn planned(case: &Case, field: &str) -> Option<Output> {
    let expectation = Expectation {
        p_s: number(case, "p_s"),
        true_ratio: number(case, "true_ratio"),
        line: line(case),
        canary_per_stable: number(case, "rho=n_c/n_s"),
    };
    let plan = expectation.plan().expect("sane");
    let needed = log_e_to_reach(number(case, "alpha"), number(case, "grid_weight"));
    match field {
        "lambda" => equal(json!(plan.lambda)),
        "growth_per_canary_request" => equal(json!(plan.growth_per_canary_request)),
        "planned_canary_requests" => equal(json!(plan.canary_requests(needed))),
        _ => None,
    }
}

fn gained(case: &Case, field: &str) -> Option<Output> {
    let sample = |field: &str| case.get(field).and_then(Value::as_f64);
    let born_inside = case
        .get("series_age_lt_interval")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    match field {
        "delta" => equal(json!(counter_delta(
            sample("prev"),
            sample("cur"),
            born_inside
        ))),
        _ => None,
    }
}
