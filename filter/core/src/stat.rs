//! Names of the metrics that the filter reports, and how their labels travel through Envoy.
//!
//! Envoy's Wasm metrics have a name and nothing else. Labels are cut out of the name by regular expressions in the
//! bootstrap (`stats_tags`); the encoding is the one Istio's `extraStatTags` expects, `label=.=value;.;` before the
//! name, with the expression of [`tag_regex`] for every label in [`LABELS`].

/// Finished requests by response class; labels rollout, variant, version, cohort, class.
pub const REQUESTS_TOTAL: &str = "serin_requests_total";
/// Choices made, by reason; labels rollout, variant, version, reason. Minus [`REQUESTS_TOTAL`]: requests in flight.
pub const ASSIGNMENTS_TOTAL: &str = "serin_assignments_total";
/// Histogram of the time from request headers to the end of the request, in whole milliseconds rounded down; labels
/// rollout, variant, version.
///
/// Envoy keeps two significant digits, and a bucket holds what begins within it: 100 to 109 ms all count as
/// `le="100"` (measured on 1.40). What is slower than a limit to the millisecond cannot be read from it.
pub const REQUEST_DURATION_MS: &str = "serin_request_duration_ms";
/// Finished requests of the split while a release is in progress; labels rollout, variant, version, group.
pub const SPLIT_TOTAL: &str = "serin_split_total";
/// Those of [`SPLIT_TOTAL`] that [`crate::outcome::is_bad`] calls bad; same labels.
pub const SPLIT_BAD_TOTAL: &str = "serin_split_bad_total";
/// Requests whose upstream cluster was compared with the one meant; labels rollout, variant, version.
pub const SAMPLED_TOTAL: &str = "serin_sampled_total";
/// Those of [`SAMPLED_TOTAL`] that another cluster served; same labels.
pub const MISROUTED_TOTAL: &str = "serin_misrouted_total";
/// Gauge: generation of the configuration in use; 0 while there is none or it has no rollouts, so that all requests
/// take the default route.
pub const CONFIG_GENERATION: &str = "serin_config_generation";
/// Gauge: 1 while the newest configuration was refused and an older one (or none) is in use, else 0.
pub const CONFIG_INVALID: &str = "serin_config_invalid";

/// Label: `namespace/name` of the rollout.
pub const ROLLOUT: &str = "rollout";
/// Label: name of the variant that was meant.
pub const VARIANT: &str = "variant";
/// Label: version of the variant, so that releases do not share counters.
pub const VERSION: &str = "version";
/// Label: how the request came to its variant, [`COHORT_SPLIT`].
pub const COHORT: &str = "cohort";
/// Label: response class, see [`crate::outcome::class`].
pub const CLASS: &str = "class";
/// Label: second hash of the key, `0` to `15`, or [`GROUP_NONE`].
pub const GROUP: &str = "group";
/// Label: why the variant was chosen, see [`crate::route::Reason`].
pub const REASON: &str = "reason";

/// Every label: the tags that the bootstrap must declare.
pub const LABELS: [&str; 7] = [ROLLOUT, VARIANT, VERSION, COHORT, CLASS, GROUP, REASON];

/// Cohort of the requests that weights assigned, the only one that is judged.
pub const COHORT_SPLIT: &str = "split";
/// Group of a request without a key.
pub const GROUP_NONE: &str = "none";

/// Joins labels and name into the stat name that `extraStatTags` takes apart, `label=.=value;.;...name`.
///
/// The values must hold neither `;` nor `=`, which [`crate::table::RoutingTable::new`] sees to.
pub fn encode(labels: &[(&str, &str)], name: &str) -> String {
    let mut encoded = String::new();
    for (label, value) in labels {
        for part in [label, "=.=", value, ";.;"] {
            encoded.push_str(part);
        }
    }
    encoded.push_str(name);
    encoded
}

/// The regular expression that the bootstrap must declare for a label: the first group is cut from the name, the
/// second is the value.
pub fn tag_regex(label: &str) -> String {
    format!(r"(\b{label}=\.=(.*?);\.;)")
}

#[cfg(test)]
mod tests {
    use super::{CLASS, REQUESTS_TOTAL, ROLLOUT, encode, tag_regex};

    #[test]
    fn labels_stand_before_the_name_in_the_encoding_of_istio() {
        assert_eq!(
            encode(&[(ROLLOUT, "ml/fraud"), (CLASS, "2xx")], REQUESTS_TOTAL),
            "rollout=.=ml/fraud;.;class=.=2xx;.;serin_requests_total"
        );
        assert_eq!(encode(&[], REQUESTS_TOTAL), REQUESTS_TOTAL);
    }

    #[test]
    fn a_tag_expression_takes_whole_names_only() {
        assert_eq!(tag_regex("rollout"), r"(\brollout=\.=(.*?);\.;)");
    }
}
