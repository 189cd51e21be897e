//! Names of the metrics that the filter reports, and how their labels travel through Envoy.
//!
//! Envoy's Wasm metrics have a name and nothing else; labels are cut out of the name by regular expressions. All our
//! labels begin with `serin_`: expressions of Istio's `extraStatTags` are not anchored, so that a tag `version` would
//! also be cut out of Istio's own `destination_version`, and a scraper that copies pod labels would rename ours.

use serde::{Deserialize, Serialize};

/// Finished requests by response class; labels rollout, variant, version, cohort, class.
pub const REQUESTS_TOTAL: &str = "serin_requests_total";
/// Choices made, by reason; labels rollout, variant, version, reason. Minus [`REQUESTS_TOTAL`]: requests in flight.
pub const ASSIGNMENTS_TOTAL: &str = "serin_assignments_total";
/// Histogram of the time from request headers to the end of the request, in whole milliseconds rounded down; labels
/// rollout, variant, version, cohort, class, where the cohort is never `fused`.
///
/// Envoy keeps two significant digits, and a bucket holds what begins within it: 100 to 109 ms all count as
/// `le="100"` (measured on 1.40). What is slower than a limit to the microsecond is in [`SPLIT_SLOW_TOTAL`].
pub const REQUEST_DURATION_MS: &str = "serin_request_duration_ms";
/// Finished requests of the split while a release is in progress; labels rollout, variant, version, group.
pub const SPLIT_TOTAL: &str = "serin_split_total";
/// Those of [`SPLIT_TOTAL`] that [`crate::outcome::is_bad`] calls bad; same labels.
pub const SPLIT_BAD_TOTAL: &str = "serin_split_bad_total";
/// Those of [`SPLIT_TOTAL`] that were slower than a limit; same labels and metric.
pub const SPLIT_SLOW_TOTAL: &str = "serin_split_slow_total";
/// Requests of the split that the fuse sent home while a release is in progress, under the variant that was meant;
/// labels rollout, variant, version, group. They are not in [`SPLIT_TOTAL`].
pub const SPLIT_FUSED_TOTAL: &str = "serin_split_fused_total";
/// Requests whose upstream cluster was compared with the one meant; labels rollout, variant, version.
pub const SAMPLED_TOTAL: &str = "serin_sampled_total";
/// Those of [`SAMPLED_TOTAL`] that another cluster served; same labels.
pub const MISROUTED_TOTAL: &str = "serin_misrouted_total";
/// Requests of which a copy was asked for; label rollout.
pub const SHADOWED_TOTAL: &str = "serin_shadowed_total";
/// How often the fuse of a variant tripped, summed over workers; labels rollout, variant, version.
pub const FUSE_TRIPS_TOTAL: &str = "serin_fuse_trips_total";
/// Gauge: workers whose fuse of this variant is open or half open; same labels.
pub const FUSE_OPEN_WORKERS: &str = "serin_fuse_open_workers";
/// Gauge: generation of the configuration in use; 0 while there is none or it has no rollouts, so that all requests
/// take the default route.
pub const CONFIG_GENERATION: &str = "serin_config_generation";
/// Gauge: 1 while the newest configuration was refused and an older one (or none) is in use, else 0.
pub const CONFIG_INVALID: &str = "serin_config_invalid";

/// Label: `namespace/name` of the rollout.
pub const ROLLOUT: &str = "serin_rollout";
/// Label: name of the variant that was meant.
pub const VARIANT: &str = "serin_variant";
/// Label: version of the variant, so that releases do not share counters.
pub const VERSION: &str = "serin_version";
/// Label: how the request came to its variant, see [`crate::route::Cohort`].
pub const COHORT: &str = "serin_cohort";
/// Label: response class, see [`crate::outcome::class`].
pub const CLASS: &str = "serin_class";
/// Label: second hash of the key, `0` to `15`, or [`GROUP_NONE`].
pub const GROUP: &str = "serin_group";
/// Label: why the variant was chosen, see [`crate::route::Reason`].
pub const REASON: &str = "serin_reason";
/// Label: name of a latency metric.
pub const METRIC: &str = "serin_metric";

/// Every label: the tags that the bootstrap must declare for [`Encoding::Istio`].
pub const LABELS: [&str; 8] = [
    ROLLOUT, VARIANT, VERSION, COHORT, CLASS, GROUP, REASON, METRIC,
];

/// Group of a request without a key.
pub const GROUP_NONE: &str = "none";

/// The label of [`Encoding::Builtin`].
pub const PACKED: &str = "tag";

/// How labels travel in the name of a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Encoding {
    /// `label=.=value;.;` before the name: what Istio's `extraStatTags` takes apart, and what a bootstrap does with the
    /// expression of [`tag_regex`] for every label in [`LABELS`]. Pods must restart to learn of new tags.
    #[default]
    Istio,
    /// All labels in one, `tag`, which every Envoy with Istio's bootstrap knows without a restart:
    /// `tag="serin_rollout:ml/fraud,serin_variant:canary"`. [`unpack`] takes it apart.
    Builtin,
    /// The labels' values joined to the name, for people to read: there is nothing to judge by.
    Plain,
}

impl Encoding {
    /// The name of a metric with its labels. The values must hold none of `;`, `=` and `,`, which
    /// [`crate::table::RoutingTable::new`] sees to.
    pub fn encode(self, labels: &[(&str, &str)], name: &str) -> String {
        let mut encoded = String::new();
        match self {
            Self::Istio => {
                for (label, value) in labels {
                    for part in [label, "=.=", value, ";.;"] {
                        encoded.push_str(part);
                    }
                }
                encoded.push_str(name);
            }
            Self::Builtin => {
                if !labels.is_empty() {
                    encoded.push_str("tag.");
                    for (position, (label, value)) in labels.iter().enumerate() {
                        let comma = if position == 0 { "" } else { "," };
                        for part in [comma, label, ":", value] {
                            encoded.push_str(part);
                        }
                    }
                    encoded.push_str(";.");
                }
                encoded.push_str(name);
            }
            Self::Plain => {
                encoded.push_str(name);
                for (_, value) in labels {
                    encoded.push('.');
                    encoded.push_str(value);
                }
            }
        }
        encoded
    }
}

/// The labels that [`Encoding::Builtin`] packed into one value.
pub fn unpack(packed: &str) -> impl Iterator<Item = (&str, &str)> {
    packed.split(',').filter_map(|part| part.split_once(':'))
}

/// The regular expression that a bootstrap must declare for a label: the first group is cut from the name, the second
/// is the value. It is Istio's.
pub fn tag_regex(label: &str) -> String {
    format!(r"({label}=\.=(.*?);\.;)")
}

#[cfg(test)]
mod tests {
    use super::{CLASS, Encoding, REQUESTS_TOTAL, ROLLOUT, unpack};

    const LABELS: [(&str, &str); 2] = [(ROLLOUT, "ml/fraud"), (CLASS, "2xx")];

    #[test]
    fn labels_stand_before_the_name_in_the_encoding_of_istio() {
        assert_eq!(
            Encoding::Istio.encode(&LABELS, REQUESTS_TOTAL),
            "serin_rollout=.=ml/fraud;.;serin_class=.=2xx;.;serin_requests_total"
        );
        assert_eq!(Encoding::Istio.encode(&[], REQUESTS_TOTAL), REQUESTS_TOTAL);
    }

    #[test]
    fn the_built_in_encoding_packs_all_labels_into_one() {
        assert_eq!(
            Encoding::Builtin.encode(&LABELS, REQUESTS_TOTAL),
            "tag.serin_rollout:ml/fraud,serin_class:2xx;.serin_requests_total"
        );
        assert_eq!(
            Encoding::Builtin.encode(&[], REQUESTS_TOTAL),
            REQUESTS_TOTAL
        );
        let packed = "serin_rollout:ml/fraud:1,serin_class:2xx";
        let labels: Vec<_> = unpack(packed).collect();
        assert_eq!(labels, [(ROLLOUT, "ml/fraud:1"), (CLASS, "2xx")]);
    }

    #[test]
    fn plain_names_tell_variants_apart() {
        assert_eq!(
            Encoding::Plain.encode(&LABELS, REQUESTS_TOTAL),
            "serin_requests_total.ml/fraud.2xx"
        );
    }
}
