//! Groups on what rivals decide.

use serde_json::json;
use serin_controller::rivals::kayenta::{
    KayentaConfig, Label, TOLERANCE, critical_z, judge, mean_ratio, shift_interval, z_at_shift,
};
use serin_controller::rivals::thresholds::ThresholdCounter;

use super::{Case, equal, number, numbers};
use crate::compare::{Group, Output};

pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "kayenta",
        inputs: &["experiment", "control"],
        compute: kayenta,
    },
    Group {
        name: "threshold_counter_exact",
        inputs: &[
            "requests_per_window",
            "true_error",
            "threshold",
            "looks",
            "failed_checks_to_rollback",
        ],
        compute: thresholds,
    },
];

fn kayenta(case: &Case, field: &str) -> Option<Output> {
    let sorted = |field: &str| {
        let mut points = numbers(case.get(field));
        points.sort_by(f64::total_cmp);
        points
    };
    let (control, experiment) = (sorted("control"), sorted("experiment"));
    let estimate = shift_interval(&control, &experiment)
        .expect("not all tie")
        .estimate;
    let tolerated = TOLERANCE * estimate.abs();
    let label = judge(&control, &experiment, &KayentaConfig::default()).label;
    equal(match field {
        "z_at_shift_0" => json!(z_at_shift(&control, &experiment, 0.0)),
        "hodges_lehmann_median_of_differences" => json!(estimate),
        "tolerance_shift_.25*|HL|" => json!(tolerated),
        "z_at_tolerance_shift" => json!(z_at_shift(&control, &experiment, tolerated)),
        "z_crit_conf_.98" => json!(critical_z()),
        "mean_ratio" => json!(mean_ratio(&control, &experiment)),
        "classified_High" => json!(label == Label::High),
        "classified_Low" => json!(label == Label::Low),
        _ => return None,
    })
}

fn thresholds(case: &Case, field: &str) -> Option<Output> {
    let whole = |field: &str| case[field].as_u64().expect("a whole number");
    let rule = ThresholdCounter {
        requests: whole("requests_per_window"),
        threshold: number(case, "threshold"),
        failed_checks: whole("failed_checks_to_rollback"),
    };
    let p = number(case, "true_error");
    match field {
        "p_window_fails" => equal(json!(rule.window_fails(p).expect("sane"))),
        "p_false_rollback" => equal(json!(rule.rolls_back(p, whole("looks")).expect("sane"))),
        _ => None,
    }
}
