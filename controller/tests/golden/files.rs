//! The rollout files of the scenes.

/// A rollout of one new version with this strategy, and what else the spec says.
pub(crate) fn rollout(strategy: &str, analysis: &str, more: &str) -> String {
    with_variants("", strategy, analysis, more)
}

/// The same with more versions.
pub(crate) fn with_variants(variants: &str, strategy: &str, analysis: &str, more: &str) -> String {
    format!(
        r#"apiVersion: serin.dev/v1alpha1
kind: ModelRollout
metadata: {{name: fraud, namespace: ml}}
spec:
  match: {{hosts: [fraud.ml], pathPrefix: /v2/models/fraud}}
  variants:
    - {{name: stable, role: stable, version: "7", route: {{cluster: fraud-v7}}}}
    - {{name: canary, version: "8", route: {{cluster: fraud-v8}}}}
{variants}  assignment: {{key: [{{header: x-user-id}}], salt: fraud-8}}
{more}  strategy:
{strategy}  analysis:
    falseRollback: 0.01
    falsePromotion: 0.05
{analysis}"#
    )
}

/// Two steps and a soak.
pub(crate) const CANARY: &str = "    canary:
      steps:
        - {weight: 10, gate: {ratio: 2.0, absolute: 0.5pp}}
        - {weight: 50, gate: {ratio: 1.25, absolute: 0.2pp}}
      soak: 30s
";

pub(crate) const LINEAR: &str = "    linear: {stepWeight: 20, maxWeight: 50, gate: {ratio: 1.5, absolute: 0.3pp}, every: 20s, soak: 20s}
";

pub(crate) const BLUE_GREEN: &str = "    blueGreen: {soak: 1m}
";

pub(crate) const ROLLING: &str =
    "    rolling: {maxWeight: 50, gate: {ratio: 1.5, absolute: 0.3pp}, soak: 20s}
";

pub(crate) const SHADOW: &str =
    "    shadow: {sample: 10%, gate: {ratio: 1.5, absolute: 0.3pp}, for: 1m}
";

pub(crate) const MANUAL: &str = "    manual: {weight: 5, soak: 20s}
";

/// Two versions beside stable.
pub(crate) fn ab_test(ending: &str) -> String {
    let third = "    - {name: other, version: \"9\", route: {cluster: fraud-v9}}\n";
    let strategy = format!(
        "    abTest: {{weights: {{canary: 30, other: 30}}, difference: 0.5pp, {ending}}}\n"
    );
    with_variants(third, &strategy, "", "")
}
