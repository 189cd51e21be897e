//! Groups on events that are common, and on histograms.

use serde_json::{Map, Value, json};
use serin_controller::stats::bernoulli::{EProcess, log_e_increment, project};
use serin_controller::stats::beta_mixture::TruncatedBeta;
use serin_controller::stats::histogram::{Histogram, quantile, quantile_interval};
use serin_controller::stats::poisson::{Counts, Direction, Prior};
use serin_controller::stats::proportion::proportion_interval;

use super::{Case, alpha_in, equal, intervals, line, number, numbers};
use crate::compare::{Group, Output};

pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "truncated_beta_mixture",
        inputs: &["x_c", "x_s", "q0", "a", "b", "direction"],
        compute: beta_mixture,
    },
    Group {
        name: "bernoulli_increment",
        inputs: &[
            "x_c", "n_c", "x_s", "n_s", "alt_p_c", "alt_p_s", "theta", "delta",
        ],
        compute: increment,
    },
    Group {
        name: "bernoulli_trajectories",
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
        name: "bernoulli_cs_beta_half",
        inputs: &["x", "n", "alpha"],
        compute: proportion,
    },
    Group {
        name: "histogram",
        inputs: &["le", "cumulative", "count(+Inf)"],
        compute: histogram,
    },
];

fn direction(case: &Case) -> Direction {
    serde_json::from_value(case["direction"].clone()).expect("a direction")
}

fn beta_mixture(case: &Case, field: &str) -> Option<Output> {
    let prior = TruncatedBeta {
        q0: number(case, "q0"),
        a: number(case, "a"),
        b: number(case, "b"),
    };
    let log_e = prior.log_e(number(case, "x_c"), number(case, "x_s"), direction(case));
    match field {
        "log_E" => equal(json!(log_e.expect("sane"))),
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
    let (p_c, p_s) = (number(case, "alt_p_c"), number(case, "alt_p_s"));
    let (n_c, n_s) = (counts.total_canary, counts.total_stable);
    let projection = project(p_c, p_s, line(case), n_c, n_s).expect("inside");
    match field {
        "m" => equal(json!(projection.m)),
        "m_prime" => equal(json!(projection.m_prime)),
        "log_e" => equal(json!(log_e_increment(
            p_c,
            p_s,
            projection,
            counts,
            line(case)
        ))),
        _ => None,
    }
}

fn trajectory(case: &Case, field: &str) -> Option<Output> {
    let given = |field: &str| case.get(field).and_then(Value::as_f64);
    let total = number(case, "prior_n_s");
    let prior = Prior {
        bad: number(case, "prior_p_s") * total,
        total,
    };
    let share = given("fixed_share").unwrap_or(0.0);
    let mut process = EProcess::new(direction(case), share, prior).expect("a sane prior");
    let after = intervals(case).into_iter().map(|counts| {
        let phi = given("phi").unwrap_or(1.0);
        process.update(counts, line(case), phi).expect("usable");
        // A checkpoint between any two intervals must not show in the numbers.
        let written = serde_json::to_string(&process).expect("serializes");
        process = serde_json::from_str(&written).expect("restores");
        json!(process.log_e())
    });
    match field {
        "log_E_after_each" => equal(Value::Array(after.collect())),
        _ => None,
    }
}

fn proportion(case: &Case, field: &str) -> Option<Output> {
    let [hits, total, alpha] = ["x", "n", "alpha"].map(|field| number(case, field));
    let interval = proportion_interval(hits, total, alpha).expect("sane");
    match field {
        "prior" => equal(json!([0.5, 0.5])),
        "lower" => equal(json!(interval.lower)),
        "upper" => equal(json!(interval.upper)),
        _ => None,
    }
}

fn histogram(case: &Case, field: &str) -> Option<Output> {
    let (le, cumulative) = (numbers(case.get("le")), numbers(case.get("cumulative")));
    let histogram =
        Histogram::new(&le, &cumulative, number(case, "count(+Inf)")).expect("sane buckets");
    // One value for each quantile that the file asks for.
    let by_quantile = |value: &dyn Fn(f64) -> Value| {
        let asked = case[field].as_object().expect("by quantile");
        let found: Map<String, Value> = asked
            .keys()
            .map(|key| (key.clone(), value(key.parse().expect("a quantile"))))
            .collect();
        equal(Value::Object(found))
    };
    if let Some(limit) = field.strip_prefix("exceed_") {
        let found = histogram.exceedance(limit.parse().ok()?).expect("inside");
        assert!(found.exact, "the limit is a boundary");
        return equal(json!(found.above));
    }
    if field.starts_with("quantile_cs_alpha_") {
        let alpha = alpha_in(field)?;
        return by_quantile(&|tau| {
            let found = quantile_interval(&histogram, tau, alpha).expect("sane");
            let top = found
                .at_most
                .map_or(json!("+Inf"), |boundary| json!(boundary));
            json!([found.above.unwrap_or(0.0), top])
        });
    }
    match field {
        "quantiles" => by_quantile(&|q| json!(quantile(&histogram, q))),
        _ => None,
    }
}
