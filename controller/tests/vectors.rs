//! The published test vectors: each number of each case, to 1e-6.
//!
//! `SERIN_STATISTICS_VECTORS` names another file to run instead of the copy in `tests/vectors/`; it need not have every
//! group.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests, which clippy sees as code"
)]

#[path = "vectors/compare.rs"]
mod compare;
#[path = "vectors/groups.rs"]
mod groups;

use compare::{Group, perturbed};
use groups::GROUPS;
use serde_json::{Value, json};

/// Groups of the file that belong to features to come.
const LATER: [&str; 21] = [
    "asympcs_halfwidth",
    "asympcs_rho",
    "bernoulli_cs_beta_half",
    "bernoulli_increment",
    "bernoulli_trajectories",
    "block_selfnormalised",
    "drift",
    "equal_opportunity",
    "fairness_two_groups",
    "histogram",
    "kayenta",
    "multinomial_increment",
    "multinomial_trajectory",
    "normal_mixture",
    "overdispersion",
    "srm_dirichlet",
    "srm_phases_product",
    "srm_tilt",
    "stratified_mean",
    "threshold_counter_exact",
    "truncated_beta_mixture",
];

fn vectors() -> Value {
    let copy = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/statistics.json");
    let path = std::env::var("SERIN_STATISTICS_VECTORS").unwrap_or_else(|_| copy.to_owned());
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("failed to read \"{path}\": {error}"));
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("failed to parse \"{path}\": {error}"))
}

fn group(name: &str) -> &'static Group {
    GROUPS
        .iter()
        .find(|group| group.name == name)
        .unwrap_or_else(|| panic!("no group \"{name}\""))
}

/// Runs every case of one group of the file; a group that the file lacks has nothing to check, and is said.
#[track_caller]
fn check(name: &str) {
    let file = vectors();
    let Some(cases) = file.get(name) else {
        eprintln!("nothing to check: the file has no group \"{name}\"");
        return;
    };
    match group(name).run(cases) {
        Ok(compared) => eprintln!("{name}: {compared} numbers compared"),
        Err(differences) => panic!("{}", differences.join("\n")),
    }
}

#[test]
fn vectors_grids() {
    check("grids");
}

#[test]
fn vectors_lambda_star() {
    check("lambda_star");
}

#[test]
fn vectors_poisson_increment() {
    check("poisson_increment");
}

#[test]
fn vectors_two_stream_trajectories() {
    check("two_stream_trajectories");
}

#[test]
fn vectors_ratio_confidence_sequence() {
    check("ratio_confidence_sequence");
}

#[test]
fn vectors_combine() {
    check("combine");
}

#[test]
fn vectors_planning() {
    check("planning");
}

#[test]
fn vectors_counter_delta() {
    check("counter_delta");
}

/// Groups of the file that are neither run here nor listed for later; names with an underscore in front are notes.
fn unknown(file: &Value) -> Vec<&str> {
    let names = file
        .as_object()
        .expect("the file is an object")
        .keys()
        .map(String::as_str);
    let known = |name: &str| {
        name.starts_with('_') || LATER.contains(&name) || GROUPS.iter().any(|g| g.name == name)
    };
    names.filter(|name| !known(name)).collect()
}

#[test]
fn vectors_groups_are_known() {
    assert_eq!(unknown(&vectors()), Vec::<&str>::new());
    assert_eq!(
        unknown(&json!({"_about": "", "combine": [], "kayenta": [], "novel": []})),
        ["novel"]
    );
    assert!(
        GROUPS.iter().all(|group| !LATER.contains(&group.name)),
        "a group that is run is not for later"
    );
}

#[test]
fn a_change_of_any_expected_number_is_noticed() {
    let file = vectors();
    for group in GROUPS {
        let Some(cases) = file.get(group.name) else {
            continue;
        };
        let changed = perturbed(group, cases);
        assert!(!changed.is_empty(), "{}", group.name);
        for (what, cases) in changed {
            assert!(
                group.run(&cases).is_err(),
                "{}: {what} was changed and nothing noticed",
                group.name
            );
        }
    }
}

#[test]
fn a_field_that_nobody_computes_is_an_error() {
    let case =
        json!({"prev": 1, "cur": 3, "series_age_lt_interval": false, "delta": 2, "rate": 0.5});
    let said = group("counter_delta")
        .run(&json!([case]))
        .expect_err("refused");
    assert_eq!(said, ["counter_delta[0].rate: nothing computes this field"]);
}

#[test]
fn a_case_without_a_result_is_an_error() {
    let case = json!({"prev": 1, "cur": 3, "series_age_lt_interval": false});
    assert!(group("counter_delta").run(&json!([case])).is_err());
    assert!(group("counter_delta").run(&json!([])).is_err());
}
