//! From states to what Envoy reads: the plugin config (ECDS) and the routes (RDS). Pure and infallible.
//!
//! Routes are a function of [`RolloutState`] alone, also for a rollout whose file is gone: its default route goes on
//! leading to the live version.

mod routes;

pub use routes::{default_host, default_route_in, owns, rds, virtual_hosts};

use std::path::Path;

use serde_json::{Value, json};
use serin_filter_core::config::{
    Attribute, DEFAULT_ROUTE_HEADER, DEFAULT_SHADOW_HEADER, FilterConfig, RolloutConfig,
    ShadowConfig, VERSION, VariantConfig,
};
use serin_filter_core::split::BucketTable;
use serin_filter_core::stat::Encoding;

use crate::paths::Paths;
use crate::rollout::{Release, RolloutState};
use crate::validate::{Choice, Plan, RolloutName, VariantRef};

/// Name of the extension config and of the route config; Envoy's bootstrap refers to both.
pub const RESOURCE_NAME: &str = "serin";

/// What a rollout's part of the plugin config is made of, beside who owns which buckets.
#[derive(Clone, Copy, Debug)]
pub struct Arms<'a> {
    name: &'a RolloutName,
    hosts: &'a [String],
    paths: &'a Paths,
    stable: &'a VariantRef,
    canary: &'a VariantRef,
    others: &'a [VariantRef],
    key: &'a [Attribute],
    salt: &'a str,
    choice: &'a Choice,
}

impl<'a> Arms<'a> {
    /// Of a release that has not begun.
    #[must_use]
    pub fn of_plan(plan: &'a Plan) -> Self {
        Self {
            name: &plan.name,
            hosts: &plan.hosts,
            paths: &plan.paths,
            stable: &plan.stable,
            canary: &plan.canary,
            others: &plan.others,
            key: &plan.key,
            salt: &plan.salt,
            choice: &plan.choice,
        }
    }

    fn of_release(state: &'a RolloutState, release: &'a Release) -> Self {
        Self {
            name: &state.name,
            hosts: &state.hosts,
            paths: &state.paths,
            stable: &release.stable,
            canary: &release.canary,
            others: &release.others,
            key: &release.key,
            salt: &release.salt,
            choice: &release.choice,
        }
    }
}

/// The rollout's part of the plugin config; `None` when there is no release to choose for.
///
/// After a release nobody reaches a version that is not live, be it by rule or override: the rules are gone, and such a
/// variant is as if it were not there. The override stays, so that its header and its secret go on being removed.
#[must_use]
pub fn section(state: &RolloutState) -> Option<RolloutConfig> {
    let release = state.release.as_ref()?;
    let arms = Arms::of_release(state, release);
    let mut section = in_progress(&arms, &release.table);
    if state.mesh.is_some() {
        // No route of Istio's reads a header for copies: the VirtualService itself makes them.
        section.shadow = None;
    }
    let canary_is_live = release.canary_is_live();
    let lives = [!canary_is_live, canary_is_live].into_iter();
    let lives = lives.chain(std::iter::repeat(false));
    for (number, (variant, live)) in (0..).zip(section.variants.iter_mut().zip(lives)) {
        variant.live = live;
        // The live one is where all others lead home to.
        variant.enabled |= live;
        // Also rules and overrides lead to no version that is out of the test.
        let runs = release.outcome.is_none() && !release.is_stopped(number);
        variant.enabled &= live || runs;
    }
    if release.outcome.is_some() {
        section.progressing = false;
        section.rules.clear();
        section.fuse = None;
        section.cookie = None;
        // Copies for the version of the release end with it; those for another cluster are nobody's release.
        let copies = |shadow: &ShadowConfig| shadow.cluster == release.canary.route;
        section.shadow = section.shadow.filter(|shadow| !copies(shadow));
    }
    Some(section)
}

/// The part of a rollout whose release is in progress, and whose stable variant is live.
#[must_use]
pub fn in_progress(arms: &Arms<'_>, table: &BucketTable) -> RolloutConfig {
    let choice = arms.choice;
    let text = |wanted: bool| wanted.then(|| arms.paths.text().to_owned());
    RolloutConfig {
        name: arms.name.to_string(),
        enabled: choice.enabled,
        hosts: arms.hosts.to_vec(),
        path_prefix: text(matches!(arms.paths, Paths::Prefix(_))),
        path: text(matches!(arms.paths, Paths::Exact(_))),
        path_template: text(matches!(arms.paths, Paths::Template(_))),
        variants: variants(arms),
        key: arms.key.to_vec(),
        cookie: choice.cookie.clone(),
        rules: choice.rules.clone(),
        overriding: choice.overriding.clone(),
        salt: arms.salt.to_owned(),
        table: table.clone(),
        progressing: true,
        slow: choice.slow.clone(),
        fuse: choice.fuse.clone(),
        shadow: choice.shadow.clone(),
    }
}

/// What a rollout without a release would claim; it is in no plugin config.
#[must_use]
pub fn without_release(state: &RolloutState) -> RolloutConfig {
    let nothing = Choice::default();
    let arms = Arms {
        name: &state.name,
        hosts: &state.hosts,
        paths: &state.paths,
        stable: &state.live,
        canary: &state.live,
        others: &[],
        key: &[],
        salt: "",
        choice: &nothing,
    };
    let mut section = in_progress(&arms, &BucketTable::whole(0));
    section.variants.truncate(1);
    section
}

/// The stable variant and the others, as long as the stable one is live.
fn variants(arms: &Arms<'_>) -> Vec<VariantConfig> {
    let others = std::iter::once(arms.canary).chain(arms.others);
    let on = arms.choice.arms_enabled.iter().copied();
    let others = others
        .zip(on.chain(std::iter::repeat(true)))
        .map(|(arm, enabled)| variant(arm, false, enabled));
    std::iter::once(variant(arms.stable, true, true))
        .chain(others)
        .collect()
}

/// A variant as the filter knows it.
fn variant(variant: &VariantRef, live: bool, enabled: bool) -> VariantConfig {
    VariantConfig {
        name: variant.name.clone(),
        version: variant.version.clone(),
        enabled,
        live,
        route: variant.route.clone(),
        cluster: Some(variant.cluster()),
    }
}

/// The whole plugin config, with labels in the encoding of Istio.
#[must_use]
pub fn filter_config(sections: Vec<RolloutConfig>, generation: u64) -> FilterConfig {
    FilterConfig {
        version: VERSION,
        generation,
        route_header: DEFAULT_ROUTE_HEADER.to_owned(),
        shadow_header: DEFAULT_SHADOW_HEADER.to_owned(),
        stats: Encoding::Istio,
        rollouts: sections,
    }
}

/// The plugin config as the file that Envoy's extension discovery reads.
///
/// `FAIL_RELOAD`: should the filter ever trap, one request pays and the next one gets a new VM (envoy-facts 1.4).
#[must_use]
pub fn ecds(config: &str, wasm: &Path) -> Value {
    json!({
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": RESOURCE_NAME,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "name": RESOURCE_NAME,
                    "root_id": RESOURCE_NAME,
                    "failure_policy": "FAIL_RELOAD",
                    "vm_config": {
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": {"local": {"filename": wasm}}
                    },
                    "configuration": {
                        "@type": "type.googleapis.com/google.protobuf.StringValue",
                        "value": config
                    }
                }
            }
        }]
    })
}

/// The plugin config inside a file that [`ecds`] wrote.
#[must_use]
pub fn plugin_config(ecds: &Value) -> Option<&str> {
    ecds.pointer("/resources/0/typed_config/config/configuration/value")?
        .as_str()
}

#[cfg(test)]
mod tests;
