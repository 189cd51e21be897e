//! Groups on fairness between people, and on bursts.

use serde_json::json;
use serin_controller::stats::fairness::{
    Pair, difference_newcombe, ratio_mover, ratio_walter, walter_point, wilson, z_of,
};
use serin_controller::stats::overdispersion::Dispersion;
use serin_controller::stats::user_mix::GroupCount;

use super::{Case, equal, number, numbers};
use crate::compare::{Group, Output};

pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "fairness_two_groups",
        inputs: &["x_a", "n_a", "x_b", "n_b"],
        compute: impact,
    },
    Group {
        name: "equal_opportunity",
        inputs: &["tp_a", "pos_a", "tp_b", "pos_b"],
        compute: opportunity,
    },
    Group {
        name: "overdispersion",
        inputs: &["pods_n", "pods_x"],
        compute: dispersion,
    },
];

fn pair(case: &Case, fields: [&str; 4]) -> Pair {
    let [x_a, n_a, x_b, n_b] = fields.map(|field| number(case, field));
    let group = |bad, total| GroupCount { bad, total };
    let pair = Pair {
        a: group(x_a, n_a),
        b: group(x_b, n_b),
    };
    pair.check().expect("sane");
    pair
}

fn impact(case: &Case, field: &str) -> Option<Output> {
    let pair = pair(case, ["x_a", "n_a", "x_b", "n_b"]);
    let (a, b) = pair.rates();
    let z = z_of(0.95).expect("sane");
    let (mover, walter) = (ratio_mover(&pair, z), ratio_walter(&pair, z));
    equal(match field {
        "rate_a" => json!(a),
        "rate_b" => json!(b),
        "disparate_impact" => json!(pair.impact()),
        "wilson_a" => json!(wilson(pair.a, z)),
        "wilson_b" => json!(wilson(pair.b, z)),
        "difference" => json!(a - b),
        "newcombe95" => json!(difference_newcombe(&pair, z)),
        "ratio_mover_r_95" => json!([Some(mover.lower), mover.upper]),
        "ratio_walter_log_95" => json!([Some(walter.lower), walter.upper]),
        "walter_point" => json!(walter_point(&pair)),
        _ => return None,
    })
}

fn opportunity(case: &Case, field: &str) -> Option<Output> {
    let pair = pair(case, ["tp_a", "pos_a", "tp_b", "pos_b"]);
    let (a, b) = pair.rates();
    match field {
        "eod" => equal(json!(a - b)),
        "newcombe95" => equal(json!(difference_newcombe(&pair, z_of(0.95).expect("sane")))),
        _ => None,
    }
}

fn dispersion(case: &Case, field: &str) -> Option<Output> {
    let rows = |field: &str| {
        let rows = case[field].as_array().expect("a list of intervals");
        rows.iter()
            .map(|row| numbers(Some(row)))
            .collect::<Vec<_>>()
    };
    let mut found = Dispersion::default();
    for (totals, bad) in rows("pods_n").iter().zip(rows("pods_x")) {
        let pods = totals.iter().zip(bad);
        let pods: Vec<GroupCount> = pods
            .map(|(total, bad)| GroupCount { bad, total: *total })
            .collect();
        found.add(&pods).expect("usable");
    }
    equal(match field {
        "numerator" => json!(found.numerator),
        "denominator" => json!(found.denominator),
        "df" => json!(found.freedom),
        "phi_hat" => json!(found.phi_hat()),
        "phi_upper_90" => json!(found.upper()),
        "phi_used" => json!(found.phi()),
        _ => return None,
    })
}
