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
use groups::groups;
use serde_json::{Value, json};

fn vectors() -> Value {
    let copy = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/statistics.json");
    let path = std::env::var("SERIN_STATISTICS_VECTORS").unwrap_or_else(|_| copy.to_owned());
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("failed to read \"{path}\": {error}"));
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("failed to parse \"{path}\": {error}"))
}

fn group(name: &str) -> &'static Group {
    groups()
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

/// One test for each group, and the list of their names.
macro_rules! groups {
    ($($test:ident runs $name:literal,)*) => {
        const TESTED: &[&str] = &[$($name),*];
        $(
            #[test]
            fn $test() {
                check($name);
            }
        )*
    };
}

groups! {
    vectors_grids runs "grids",
    vectors_lambda_star runs "lambda_star",
    vectors_poisson_increment runs "poisson_increment",
    vectors_two_stream_trajectories runs "two_stream_trajectories",
    vectors_truncated_beta_mixture runs "truncated_beta_mixture",
    vectors_bernoulli_increment runs "bernoulli_increment",
    vectors_bernoulli_trajectories runs "bernoulli_trajectories",
    vectors_ratio_confidence_sequence runs "ratio_confidence_sequence",
    vectors_planning runs "planning",
    vectors_multinomial_increment runs "multinomial_increment",
    vectors_multinomial_trajectory runs "multinomial_trajectory",
    vectors_srm_dirichlet runs "srm_dirichlet",
    vectors_srm_phases_product runs "srm_phases_product",
    vectors_srm_tilt runs "srm_tilt",
    vectors_normal_mixture runs "normal_mixture",
    vectors_asympcs_halfwidth runs "asympcs_halfwidth",
    vectors_asympcs_rho runs "asympcs_rho",
    vectors_stratified_mean runs "stratified_mean",
    vectors_block_selfnormalised runs "block_selfnormalised",
    vectors_bernoulli_cs_beta_half runs "bernoulli_cs_beta_half",
    vectors_histogram runs "histogram",
    vectors_drift runs "drift",
    vectors_fairness_two_groups runs "fairness_two_groups",
    vectors_equal_opportunity runs "equal_opportunity",
    vectors_overdispersion runs "overdispersion",
    vectors_kayenta runs "kayenta",
    vectors_threshold_counter_exact runs "threshold_counter_exact",
    vectors_combine runs "combine",
    vectors_counter_delta runs "counter_delta",
}

#[test]
fn every_group_that_can_be_run_has_a_test() {
    let mut run: Vec<&str> = groups().map(|group| group.name).collect();
    let mut tested = TESTED.to_vec();
    run.sort_unstable();
    tested.sort_unstable();
    assert_eq!(run, tested);
}

/// Groups of the file that cannot be run; names with an underscore in front are notes.
fn unknown(file: &Value) -> Vec<&str> {
    let names = file
        .as_object()
        .expect("the file is an object")
        .keys()
        .map(String::as_str);
    let known = |name: &str| name.starts_with('_') || groups().any(|group| group.name == name);
    names.filter(|name| !known(name)).collect()
}

#[test]
fn vectors_groups_are_known() {
    assert_eq!(unknown(&vectors()), Vec::<&str>::new());
    assert_eq!(
        unknown(&json!({"_about": "", "combine": [], "kayenta": [], "novel": []})),
        ["novel"]
    );
}

#[test]
fn a_change_of_any_expected_number_is_noticed() {
    let file = vectors();
    for group in groups() {
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
