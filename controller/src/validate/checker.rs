//! The rules of the schema, field by field.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Problem, VariantRef, mesh};
use crate::api::{self, Deadline, Key, Margin, ModelRollout, Pause, Strategy};
use crate::quantity::{Fraction, Span};

/// What the buckets' table and the filter's tests are made for (product.md).
const MOST_VARIANTS: usize = 16;

/// Collects every mistake.
#[derive(Default)]
pub(super) struct Checker {
    pub(super) problems: Vec<Problem>,
}

impl Checker {
    pub(super) fn add(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.problems.push(Problem {
            path: path.into(),
            reason: reason.into(),
        });
    }

    pub(super) fn head(&mut self, rollout: &ModelRollout) {
        if rollout.api_version != api::API_VERSION {
            self.add(
                "apiVersion",
                format!(
                    "is '{}', but this version reads {}",
                    rollout.api_version,
                    api::API_VERSION
                ),
            );
        }
        if rollout.kind != api::KIND {
            self.add(
                "kind",
                format!("is '{}', but must be {}", rollout.kind, api::KIND),
            );
        }
        self.dns_label("metadata.name", &rollout.metadata.name);
        self.dns_label("metadata.namespace", &rollout.metadata.namespace);
    }

    /// Names become file names, metric labels and object names, so they keep to what Kubernetes allows for all of them.
    pub(super) fn dns_label(&mut self, path: &str, text: &str) {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let edges = text.starts_with('-') || text.ends_with('-');
        if text.is_empty() || text.len() > 63 || edges || !text.chars().all(inner) {
            self.add(
                path,
                format!(
                    "'{text}' must be 1 to 63 lower-case letters, digits and '-', not at the ends"
                ),
            );
        }
    }

    /// Labels end in metric names (where `;.;` ends a value) and headers, so only harmless characters are let in.
    pub(super) fn label(&mut self, path: &str, text: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-|/:+".contains(c);
        if text.is_empty() || text.len() > 100 || !text.chars().all(allowed) {
            self.add(
                path,
                format!("'{text}' must be 1 to 100 of the characters A-Z a-z 0-9 . _ - | / : +"),
            );
        }
    }

    pub(super) fn matches(&mut self, matches: &api::Match) {
        if matches.hosts.is_empty() {
            self.add("spec.match.hosts", "must name at least one host");
        }
        let mut seen = BTreeSet::new();
        for (i, host) in matches.hosts.iter().enumerate() {
            let path = format!("spec.match.hosts[{i}]");
            let name = match host.strip_prefix('*') {
                Some("") => "any",
                Some(suffix) => suffix.strip_prefix('.').unwrap_or("*"),
                None => host,
            };
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
            if name.is_empty() || !name.chars().all(allowed) {
                self.add(&path, format!("'{host}' must be a host name without port, such as fraud.ml.svc.cluster.local, or *.suffix, or *"));
            }
            if !seen.insert(host.to_ascii_lowercase()) {
                self.add(&path, format!("'{host}' is there twice"));
            }
        }
        let given = [
            ("pathPrefix", &matches.path_prefix),
            ("path", &matches.path),
            ("pathTemplate", &matches.path_template),
        ];
        let mut given = given
            .iter()
            .filter_map(|(field, value)| Some((field, value.as_ref()?)));
        if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
            self.add(
                format!("spec.match.{second}"),
                format!("{first} is given as well: a rollout has one of them"),
            );
        }
        let Some(prefix) = &matches.path_prefix else {
            return;
        };
        let plain = prefix.starts_with('/')
            && !prefix.contains(['?', '#'])
            && prefix.chars().all(|c| c.is_ascii_graphic());
        if !plain || (prefix.len() > 1 && prefix.ends_with('/')) {
            self.add(
                "spec.match.pathPrefix",
                format!("'{prefix}' must begin with '/', not end with it, and hold no query"),
            );
        }
    }

    /// The stable variant and the others.
    pub(super) fn variants(&mut self, spec: &api::Spec) -> Option<(VariantRef, Vec<VariantRef>)> {
        let variants = spec.variants.as_slice();
        let in_mesh = mesh::is_meant(spec);
        let service = mesh::service(spec).unwrap_or_default();
        let arm = |v: &api::Variant| {
            let (route, destination) = if in_mesh {
                let (route, destination) = mesh::destination(&v.route, service);
                (route, Some(destination))
            } else {
                (v.route.cluster.clone().unwrap_or_default(), None)
            };
            VariantRef {
                name: v.name.clone(),
                version: v.version.clone(),
                route,
                destination,
            }
        };
        if variants.len() > MOST_VARIANTS {
            self.add(
                "spec.variants",
                format!(
                    "are {}, but at most {MOST_VARIANTS} can be told apart",
                    variants.len()
                ),
            );
        }
        for (i, variant) in variants.iter().enumerate() {
            self.label(&format!("spec.variants[{i}].name"), &variant.name);
            self.label(&format!("spec.variants[{i}].version"), &variant.version);
            if variant.role.is_some() && !variant.enabled {
                self.add(
                    format!("spec.variants[{i}].enabled"),
                    "the stable variant is where all others lead home to: switch the other one off, or the rollout (spec.enabled)",
                );
            }
            for (j, other) in variants.iter().enumerate().take(i) {
                if variant.name == other.name {
                    self.add(
                        format!("spec.variants[{i}].name"),
                        format!("'{}' is also the name of variants[{j}]", variant.name),
                    );
                }
                if variant.version == other.version {
                    let reason = format!(
                        "'{}' is also the version of variants[{j}]: their counts could not be told apart",
                        variant.version
                    );
                    self.add(format!("spec.variants[{i}].version"), reason);
                }
                let (route, others) = (arm(variant).route, arm(other).route);
                if route == others && !route.is_empty() {
                    let reason = format!(
                        "'{route}' also serves variants[{j}]: a route belongs to one version"
                    );
                    let field = match (&variant.route.subset, in_mesh) {
                        (_, false) => "cluster",
                        (Some(_), true) => "subset",
                        (None, true) => "host",
                    };
                    self.add(format!("spec.variants[{i}].route.{field}"), reason);
                }
            }
        }
        let (stable, canaries): (Vec<_>, Vec<_>) = variants.iter().partition(|v| v.role.is_some());
        let several = matches!(spec.strategy, Strategy::AbTest(_));
        match (stable.as_slice(), canaries.as_slice()) {
            ([stable], [_]) => return Some((arm(stable), canaries.into_iter().map(arm).collect())),
            ([stable], [_, _, ..]) if several => {
                return Some((arm(stable), canaries.into_iter().map(arm).collect()));
            }
            ([_], others) => self.add(
                "spec.variants",
                format!(
                    "this strategy wants one variant beside the stable one{}, but here are {}",
                    if several {
                        " at least"
                    } else {
                        " (abTest takes more)"
                    },
                    others.len()
                ),
            ),
            (stables, _) => self.add(
                "spec.variants",
                format!(
                    "exactly one variant must have 'role: stable', but {} have it",
                    stables.len()
                ),
            ),
        }
        None
    }

    pub(super) fn assignment(&mut self, assignment: &api::Assignment, variants: &[api::Variant]) {
        let base = "spec.assignment";
        for (i, key) in assignment.key.iter().enumerate() {
            let (Key::Header(name) | Key::GrpcMetadata(name)) = key else {
                continue;
            };
            let token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || !name.chars().all(token) {
                let field = if matches!(key, Key::Header(_)) {
                    "header"
                } else {
                    "grpcMetadata"
                };
                self.add(
                    format!("{base}.key[{i}].{field}"),
                    format!("'{name}' is not a header name"),
                );
            }
        }
        if let Some(cookie) = &assignment.cookie {
            let path = format!("{base}.cookie.maxAge");
            self.span(&path, cookie.max_age);
            if cookie.max_age.0.as_secs() == 0 {
                self.add(
                    path,
                    "must be at least 1s: a shorter one deletes the cookie",
                );
            }
        }
        let named = |name: &str| variants.iter().any(|variant| variant.name == name);
        for (i, rule) in assignment.rules.iter().enumerate() {
            if !named(&rule.variant) {
                let known: Vec<_> = variants.iter().map(|it| it.name.as_str()).collect();
                self.add(
                    format!("{base}.rules[{i}].variant"),
                    format!(
                        "there is no variant '{}': the names are {}",
                        rule.variant,
                        known.join(", ")
                    ),
                );
            }
        }
        if assignment.salt.is_empty() {
            self.add(
                "spec.assignment.salt",
                "must not be empty: two rollouts without salt would pick the same users",
            );
        }
    }

    pub(super) fn shadow(&mut self, shadow: Option<&api::Shadow>) {
        let Some(shadow) = shadow else { return };
        self.label("spec.shadow.cluster", &shadow.cluster);
        self.sample("spec.shadow.sample", shadow.sample);
    }

    pub(super) fn sample(&mut self, path: &str, sample: Fraction) {
        // The finest draw is one of 10 000.
        if !(0.0001..=1.0).contains(&sample.0) {
            self.add(path, format!("must be 0.01% to 100%, but is {sample}"));
        }
    }

    pub(super) fn pause(&mut self, path: &str, pause: Option<&Pause>) {
        if let Some(wait) = pause.and_then(|pause| pause.duration) {
            self.span(&format!("{path}.for"), wait);
        }
    }

    pub(super) fn ending(&mut self, base: &str, soak: Span, deadline: Option<&Deadline>) {
        self.span(&format!("{base}.soak"), soak);
        let Some(deadline) = deadline else { return };
        self.span(&format!("{base}.deadline.after"), deadline.after);
        if deadline.after.0.is_zero() {
            self.add(format!("{base}.deadline.after"), "must be longer than 0s");
        }
    }

    /// No wait of a release is longer; it also keeps arithmetic with clock times within bounds.
    pub(super) fn span(&mut self, path: &str, span: Span) {
        if span.0 > Duration::from_secs(366 * 86_400) {
            self.add(path, format!("must be at most a year, but is {span}"));
        }
    }

    pub(super) fn margin(&mut self, path: &str, margin: Margin) {
        let absolute_alone = margin.ratio == 0.0 && margin.absolute.0 > 0.0;
        if !(absolute_alone || (1.0..=100.0).contains(&margin.ratio)) {
            self.add(
                format!("{path}.ratio"),
                format!(
                    "must be 1 to 100, or 0 to compare with an 'absolute' alone, but is {}",
                    margin.ratio
                ),
            );
        }
        if !(0.0..=1.0).contains(&margin.absolute.0) {
            self.add(
                format!("{path}.absolute"),
                format!("must be 0 to 100pp, but is {}", margin.absolute),
            );
        }
    }

    pub(super) fn analysis(&mut self, analysis: &api::Analysis) {
        for (name, value) in [
            ("falseRollback", analysis.false_rollback),
            ("falsePromotion", analysis.false_promotion),
        ] {
            if !(1e-6..=0.5).contains(&value) {
                self.add(
                    format!("spec.analysis.{name}"),
                    format!("must be a probability of 0.000001 to 0.5, but is {value}"),
                );
            }
        }
        for (i, guard) in analysis.guards.iter().enumerate() {
            let path = format!("spec.analysis.guards[{i}]");
            self.label(&format!("{path}.name"), &guard.name);
            if !(guard.error_rate.above.0 > 0.0 && guard.error_rate.above.0 < 1.0) {
                self.add(
                    format!("{path}.errorRate.above"),
                    format!(
                        "must lie between 0% and 100%, but is {}",
                        guard.error_rate.above
                    ),
                );
            }
            if !(Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&guard.over.0) {
                self.add(
                    format!("{path}.over"),
                    format!("must be 1s to 1h, but is {}", guard.over),
                );
            }
            if guard.min_requests == 0 {
                self.add(format!("{path}.minRequests"), "must be at least 1");
            }
        }
    }
}
