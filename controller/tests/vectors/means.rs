//! Groups on means.

use serde_json::{Value, json};
use serin_controller::stats::mean::{Blocks, Stratified, Sums};
use serin_controller::stats::normal_mixture::{
    Sides, asymptotic_half_width, asymptotic_rho, bound, log_e, rho,
};

use super::{Case, equal, intervals, number, numbers};
use crate::compare::{Group, Output};

pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "normal_mixture",
        inputs: &["S", "V", "v_opt", "alpha"],
        compute: mixture,
    },
    Group {
        name: "asympcs_halfwidth",
        inputs: &["s2", "n", "rho", "alpha"],
        compute: half_width,
    },
    Group {
        name: "asympcs_rho",
        inputs: &["alpha", "t_opt"],
        compute: rho_of,
    },
    Group {
        name: "stratified_mean",
        inputs: &[INTERVALS, "margin", "v_opt", "alpha"],
        compute: stratified,
    },
    Group {
        name: "block_selfnormalised",
        inputs: &["intervals_xc_nc_xs_ns", "theta", "delta", "rho"],
        compute: blocks,
    },
];

const INTERVALS: &str = "intervals_(n,sum,sumsq)_canary_stable";

fn mixture(case: &Case, field: &str) -> Option<Output> {
    let [s, v, v_opt, alpha] = ["S", "V", "v_opt", "alpha"].map(|field| number(case, field));
    let sides = if field.contains("two_sided") {
        Sides::Two
    } else {
        Sides::One
    };
    let rho = rho(v_opt, alpha, sides).expect("sane");
    equal(json!(match field {
        "rho_two_sided" | "rho_one_sided" => rho,
        "logE_two_sided" | "logE_one_sided" => log_e(s, v, rho, sides).expect("sane"),
        "bound_two_sided_|S|>=" | "bound_one_sided_S>=" =>
            bound(v, rho, alpha, sides).expect("sane"),
        _ => return None,
    }))
}

fn half_width(case: &Case, field: &str) -> Option<Output> {
    let [s2, n, rho, alpha] = ["s2", "n", "rho", "alpha"].map(|field| number(case, field));
    let width = |sides| asymptotic_half_width(s2, n, rho, alpha, sides).expect("sane");
    match field {
        "halfwidth_two_sided" => equal(json!(width(Sides::Two))),
        "halfwidth_one_sided_closed_form" => equal(json!(width(Sides::One))),
        _ => None,
    }
}

fn rho_of(case: &Case, field: &str) -> Option<Output> {
    let rho = asymptotic_rho(number(case, "alpha"), number(case, "t_opt")).expect("sane");
    match field {
        "rho" => equal(json!(rho)),
        _ => None,
    }
}

fn stratified(case: &Case, field: &str) -> Option<Output> {
    let mut found = Stratified::new(1.0, number(case, "margin")).expect("sane");
    let list = case[INTERVALS].as_array().expect("a list");
    let sums = |arm: Option<&Value>| match numbers(arm)[..] {
        [count, sum, squares] => Sums {
            count,
            sum,
            squares,
        },
        _ => panic!("an arm is not three numbers"),
    };
    let after: Vec<Value> = list
        .iter()
        .map(|interval| {
            found
                .update(sums(interval.get(0)), sums(interval.get(1)))
                .expect("usable");
            let (var_c_used, var_s) = found.variances().expect("units");
            let (s, v, h) = found.sums();
            let difference = found.difference().expect("compared");
            json!({
                "var_c_raw": found.canary().variance(), "var_s": var_s, "var_c_used": var_c_used,
                "S": s, "V": v, "H": h, "diff": difference.value, "se": difference.standard_error,
            })
        })
        .collect();
    let alpha = number(case, "alpha");
    let rho = rho(number(case, "v_opt"), alpha, Sides::Two).expect("sane");
    let log_e = |sides| found.log_e(rho, sides, 0.0).expect("sane");
    let half = found
        .half_width(rho, alpha)
        .expect("sane")
        .expect("compared");
    let centre = found.difference().expect("compared").value;
    match field {
        "after_each" => equal(Value::Array(after)),
        "rho_two_sided" => equal(json!(rho)),
        "logE_two_sided" => equal(json!(log_e(Sides::Two))),
        "logE_one_sided_rho_two_sided" => equal(json!(log_e(Sides::One))),
        "cs_halfwidth_diff" => equal(json!(half)),
        "cs" => equal(json!([centre - half, centre + half])),
        _ => None,
    }
}

fn blocks(case: &Case, field: &str) -> Option<Output> {
    let mut blocks = Blocks::new(number(case, "theta"), number(case, "delta")).expect("sane");
    let after = intervals(case).into_iter().map(|counts| {
        let canary = (counts.total_canary, counts.bad_canary);
        let stable = (counts.total_stable, counts.bad_stable);
        blocks.update(canary, stable).expect("usable");
        let (s, v) = blocks.sums();
        // The file shows the evidence before as many intervals as a decision needs.
        let log_e = log_e(s, v, number(case, "rho"), Sides::One).expect("sane");
        json!({"S": s, "V": v, "log_E": log_e})
    });
    match field {
        "after_each" => equal(Value::Array(after.collect())),
        _ => None,
    }
}
