//! Groups on splits of traffic and on distributions over bins.

use serde_json::{Value, json};
use serin_controller::stats::dirichlet::log_dirichlet_ratio;
use serin_controller::stats::drift::{SMOOTHING, drift};
use serin_controller::stats::multinomial::{Multinomial, log_e_increment, mixture};
use serin_controller::stats::srm::{PhaseProduct, TILTS, Tilt, log_e_phase};

use super::{Case, equal, number, numbers};
use crate::compare::{BEFORE, Group, Output};

pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "srm_dirichlet",
        inputs: &["counts", "dirichlet_alpha", "expected_w"],
        compute: split,
    },
    Group {
        name: "srm_phases_product",
        inputs: &["counts", "w_canary", "concentration", BEFORE],
        compute: phases,
    },
    Group {
        name: "srm_tilt",
        inputs: &["weights", "seq_nc_ns_w"],
        compute: tilt,
    },
    Group {
        name: "multinomial_increment",
        inputs: &["c", "s", "alt_c", "alt_s"],
        compute: increment,
    },
    Group {
        name: "multinomial_trajectory",
        inputs: &["g0", "n0", "a", "intervals_c_s"],
        compute: trajectory,
    },
    Group {
        name: "drift",
        inputs: &["current", "reference"],
        compute: drifted,
    },
];

fn split(case: &Case, field: &str) -> Option<Output> {
    let list = |field: &str| numbers(case.get(field));
    let (counts, prior) = (list("counts"), list("dirichlet_alpha"));
    let log_e = log_dirichlet_ratio(&counts, &prior, &list("expected_w")).expect("sane");
    match field {
        "log_E" => equal(json!(log_e)),
        "p_value" => equal(json!((-log_e).exp().min(1.0))),
        _ => None,
    }
}

fn phases(case: &Case, field: &str) -> Option<Output> {
    let concentration = number(case, "concentration");
    let weights = |case: &Value| {
        let canary = case["w_canary"].as_f64().expect("a weight");
        [canary, 1.0 - canary]
    };
    let case = Value::Object(case.clone());
    let (counts, own) = (numbers(case.get("counts")), weights(&case));
    let mut product = PhaseProduct::new(concentration).expect("sane");
    for phase in case[BEFORE]
        .as_array()
        .expect("a list")
        .iter()
        .chain([&case])
    {
        product
            .update(&numbers(phase.get("counts")), &weights(phase))
            .expect("usable");
    }
    match field {
        "phase_log_E" => Some(Output::Equal(vec![
            json!(log_e_phase(&counts, &own, concentration).expect("sane")),
            json!(product.log_e_of_phase()),
        ])),
        "product_log_E" => equal(json!(product.log_e())),
        _ => None,
    }
}

fn tilt(case: &Case, field: &str) -> Option<Output> {
    let mut tilt = Tilt::default();
    for interval in case["seq_nc_ns_w"].as_array().expect("a list") {
        let [canary, stable, weight] = numbers(Some(interval))[..] else {
            panic!("an interval is not three numbers: {interval}");
        };
        tilt.update(canary, stable, weight).expect("usable");
    }
    match field {
        "g_odds" => equal(json!(TILTS)),
        "log_E" => equal(json!(tilt.log_e())),
        _ => None,
    }
}

fn increment(case: &Case, field: &str) -> Option<Output> {
    let [c, s, alt_c, alt_s] = ["c", "s", "alt_c", "alt_s"].map(|field| numbers(case.get(field)));
    let (n_c, n_s) = (c.iter().sum(), s.iter().sum());
    match field {
        "p0" => equal(json!(mixture(&alt_c, &alt_s, n_c, n_s).expect("sane"))),
        "log_e" => equal(json!(
            log_e_increment(&c, &s, &alt_c, &alt_s).expect("sane")
        )),
        _ => None,
    }
}

fn trajectory(case: &Case, field: &str) -> Option<Output> {
    let reference = numbers(case.get("g0"));
    let mut process =
        Multinomial::with(&reference, number(case, "n0"), number(case, "a")).expect("sane");
    let intervals = case["intervals_c_s"].as_array().expect("a list");
    let after = intervals.iter().map(|interval| {
        let [canary, stable] = [0, 1].map(|arm| numbers(interval.get(arm)));
        process.update(&canary, &stable).expect("usable");
        let written = serde_json::to_string(&process).expect("serializes");
        process = serde_json::from_str(&written).expect("restores");
        json!(process.log_e())
    });
    match field {
        "log_E_after_each" => equal(Value::Array(after.collect())),
        _ => None,
    }
}

fn drifted(case: &Case, field: &str) -> Option<Output> {
    let list = |field: &str| numbers(case.get(field));
    let found = drift(&list("current"), &list("reference")).expect("sane");
    equal(json!(match field {
        "smoothing_per_bin" => SMOOTHING,
        "psi" => found.psi,
        "psi_null_mean" => found.psi_null_mean(),
        "psi_corrected" => found.psi_corrected(),
        "psi_crit_95" => found.psi_critical(0.95).expect("sane"),
        "psi_crit_99" => found.psi_critical(0.99).expect("sane"),
        "js_divergence_nats" => found.js_divergence,
        "js_distance_base2" => found.js_distance_base2(),
        "js_distance_nat" => found.js_distance(),
        "js_null_mean" => found.js_null_mean(),
        "js_corrected" => found.js_corrected(),
        "ks_D_no_smoothing" => found.ks,
        "ks_crit_05" => found.ks_critical(0.05).expect("sane"),
        "ks_p_asymptotic" => found.ks_p_value(),
        _ => return None,
    }))
}
