//! The answer, line by line. Pure.

use std::borrow::Cow;

use anyhow::Context;
use serin_filter_core::config::{Attribute, FilterConfig, RolloutConfig, VariantConfig};
use serin_filter_core::route::{Decision, Reason, Request, decide};
use serin_filter_core::split::{BUCKETS, BucketTable, Seeds, rebalance};
use serin_filter_core::table::RoutingTable;

use super::request::{Typed, words};

/// What is asked about.
#[derive(Debug)]
pub(super) struct Question {
    /// The config of the filter.
    pub(super) config: FilterConfig,
    /// Where it comes from, in a few words.
    pub(super) origin: String,
    /// The rollout that was named.
    pub(super) wanted: Option<RolloutConfig>,
    /// What comes next.
    pub(super) future: Future,
}

/// Weights that are still to come, in 1/10 000, or why there are none.
#[derive(Debug)]
pub(super) enum Future {
    /// One after another, of the only variant that is not live.
    Steps(Vec<u16>),
    /// At once, by the names of variants; the others keep theirs, but for the live one, which has the rest.
    Weights(Vec<(String, u16)>),
    Words(String),
}

impl Question {
    /// The rollout that says what is not typed: the one that was named, else the only one.
    pub(super) fn asked_about(&self) -> Option<&RolloutConfig> {
        self.wanted
            .as_ref()
            .or(match self.config.rollouts.as_slice() {
                [only] => Some(only),
                _ => None,
            })
    }
}

/// Decides, and says why.
///
/// # Errors
/// The filter refuses the config.
pub(super) fn answer(question: &Question, request: &Typed) -> anyhow::Result<Vec<String>> {
    let mut lines = vec![format!("request   {}{}", request.host, request.path)];
    let table = RoutingTable::new(question.config.clone())
        .context("the filter refuses this config, and goes on with the one before it")?;
    let Some(decision) = decide(&table, request) else {
        lines.push(
            "rollout   none matches: the request passes untouched, and goes where Envoy's other routes lead".to_owned(),
        );
        lines.extend(why_not(question));
        return Ok(lines);
    };
    let rollouts = &question.config.rollouts;
    let rollout = rollouts
        .get(decision.rollout)
        .context("the decision names no rollout")?;
    lines.push(format!("rollout   {} ({})", rollout.name, question.origin));
    lines.push(format!("          {}", match_words(rollout, &request.host)));
    let other = |wanted: &&RolloutConfig| wanted.name != rollout.name;
    if let Some(wanted) = question.wanted.as_ref().filter(other) {
        lines.push(format!(
            "          not {}: that one wants {}",
            wanted.name,
            claim_words(wanted)
        ));
    }
    lines.extend(override_words(rollout, request, &decision));
    lines.extend(rule_words(rollout, &decision));
    lines.extend(key_words(rollout, request, &decision));
    lines.extend(variant_words(&table, rollout, &decision));
    if let Some(shadow) = &rollout.shadow {
        lines.push(format!(
            "shadow    {} % of the requests are copied to {}, drawn for each",
            percent(shadow.sample),
            shadow.cluster
        ));
    }
    if question.wanted.iter().all(|wanted| !other(&wanted)) {
        lines.extend(next_words(rollout, &decision, &question.future));
    }
    Ok(lines)
}

fn percent(weight: u16) -> f64 {
    f64::from(weight) / 100.0
}

fn claim_words(rollout: &RolloutConfig) -> String {
    let path = path_words(rollout);
    format!("{}, {path}", rollout.hosts.join(" or "))
}

fn path_words(rollout: &RolloutConfig) -> String {
    match (&rollout.path, &rollout.path_template, &rollout.path_prefix) {
        (Some(path), ..) => format!("path {path} alone"),
        (_, Some(template), _) => format!("paths like {template}"),
        (.., Some(prefix)) if prefix != "/" => format!("path {prefix} and below"),
        _ => "every path".to_owned(),
    }
}

/// Which host of the rollout the request has: the most specific one, as in the filter.
fn match_words(rollout: &RolloutConfig, host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => &host,
    };
    let fits = |pattern: &&String| match pattern.to_ascii_lowercase().strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix),
        None => pattern.eq_ignore_ascii_case(host),
    };
    let rank = |pattern: &&String| (!pattern.starts_with('*'), pattern.len());
    let pattern = rollout.hosts.iter().filter(fits).max_by_key(rank);
    let pattern = pattern.map_or("?", String::as_str);
    format!("matches host {pattern}, {}", path_words(rollout))
}

/// Why the rollout that was named has no say.
fn why_not(question: &Question) -> Option<String> {
    let wanted = question.wanted.as_ref()?;
    let mut known = question.config.rollouts.iter();
    Some(match known.find(|it| it.name == wanted.name) {
        None => format!(
            "          {} is not in the config: it has no release, or the proxies do not have it yet",
            wanted.name
        ),
        Some(it) if !it.enabled => {
            format!("          {} is switched off (enabled: false)", wanted.name)
        }
        Some(it) => format!("          {} wants {}", it.name, claim_words(it)),
    })
}

fn override_words(rollout: &RolloutConfig, request: &Typed, decision: &Decision) -> Option<String> {
    let header = &rollout.overriding.as_ref()?.header;
    let value = request.header(&header.to_ascii_lowercase())?;
    let value = String::from_utf8_lossy(value);
    if decision.reason == Reason::Override {
        return Some(format!("override  {header}: {value}, of a trusted caller"));
    }
    let mut variants = rollout.variants.iter();
    let why = match variants.find(|it| it.name == value) {
        None => "no variant has this name",
        Some(it) if !it.enabled => "this variant is switched off, or its release is over",
        Some(_) => "the caller is not trusted (neither principal nor secret)",
    };
    Some(format!(
        "override  {header}: {value} is not heeded and removed: {why}"
    ))
}

fn rule_words(rollout: &RolloutConfig, decision: &Decision) -> Option<String> {
    let Some(position) = decision.rule else {
        let asked = !rollout.rules.is_empty() && decision.reason != Reason::Override;
        return asked.then(|| format!("rule      none of {} matches", rollout.rules.len()));
    };
    let rule = rollout.rules.get(position)?;
    let when = serde_json::to_string(&rule.when).unwrap_or_default();
    Some(format!("rule      rules[{position}]: {when}"))
}

fn key_words(rollout: &RolloutConfig, request: &Typed, decision: &Decision) -> Vec<String> {
    let bucket = || {
        let group = decision
            .group
            .map_or("none".to_owned(), |it| it.to_string());
        let bucket = decision.bucket.unwrap_or_default();
        format!("bucket    {bucket} of {BUCKETS}, group {group}")
    };
    let absent = || {
        let names: Vec<_> = rollout.key.iter().map(words).collect();
        match names.as_slice() {
            [] => "no key is configured".to_owned(),
            names => format!("none of [{}] is present", names.join(", ")),
        }
    };
    let cookie = rollout.cookie.as_ref().map(|cookie| cookie.name.as_str());
    match (decision.reason, cookie) {
        (Reason::Weight, _) => vec![source_words(rollout, request, decision), bucket()],
        (Reason::Cookie, Some(name)) if decision.issue.is_none() => vec![
            format!("key       {}; cookie {name} was issued before", absent()),
            bucket(),
        ],
        (Reason::Cookie, name) => vec![format!(
            "key       {}: cookie {} is issued, and its random value makes the user; below is one draw",
            absent(),
            name.unwrap_or("?")
        )],
        (Reason::Random, _) => vec![format!(
            "key       {}: every such request draws anew; below is one draw",
            absent()
        )],
        (Reason::Rule | Reason::Override | Reason::Fuse, _) => Vec::new(),
    }
}

/// Which source made the key. That it is shown right is checked with the bucket of the decision.
fn source_words(rollout: &RolloutConfig, request: &Typed, decision: &Decision) -> String {
    let present = |value: &Cow<[u8]>| !value.is_empty();
    let found = |source: &Attribute| {
        let value = request.value(source).filter(present)?;
        Some((words(source), value))
    };
    let found = rollout.key.iter().find_map(found);
    let seeds = Seeds::new(&rollout.salt);
    match found.filter(|(_, value)| Some(seeds.bucket(value)) == decision.bucket) {
        Some((source, value)) => {
            format!("key       {source} = {}", String::from_utf8_lossy(&value))
        }
        None => "key       one of the key's sources".to_owned(),
    }
}

fn variant_words(
    table: &RoutingTable,
    rollout: &RolloutConfig,
    decision: &Decision,
) -> Vec<String> {
    let Some(variant) = rollout.variants.get(decision.variant) else {
        return Vec::new();
    };
    let mut lines = vec![format!(
        "variant   {}, version {} ({})",
        variant.name,
        variant.version,
        decision.reason.as_str()
    )];
    let owner = decision
        .bucket
        .map(|bucket| usize::from(rollout.table.owner(bucket)))
        .filter(|&owner| owner != decision.variant)
        .and_then(|owner| rollout.variants.get(owner));
    if let Some(owner) = owner {
        lines.push(format!(
            "          the bucket belongs to {}, which is switched off",
            owner.name
        ));
    }
    if variant.live {
        lines.push("route     the default route: the variant is live, no header is set".to_owned());
        return lines;
    }
    lines.push(format!(
        "route     {}: {}",
        table.route_header(),
        variant.route
    ));
    if let (Some(_), Some(live)) = (&rollout.fuse, live(rollout)) {
        lines.push(format!(
            "fuse      {} instead, in a worker whose fuse for {} is open (metric serin_fuse_open_workers)",
            live.name, variant.name
        ));
    }
    lines
}

fn live(rollout: &RolloutConfig) -> Option<&VariantConfig> {
    rollout.variants.iter().find(|it| it.live)
}

fn next_words(rollout: &RolloutConfig, decision: &Decision, future: &Future) -> Vec<String> {
    let one = |words: &str| vec![format!("next      {words}")];
    match decision.reason {
        Reason::Rule => return one("weights change nothing for this user: a rule decides"),
        Reason::Override => return one("weights change nothing for this request: it overrides"),
        Reason::Random => return one("every request draws anew, at every weight"),
        Reason::Cookie if decision.issue.is_some() => {
            return one("it is for the cookie to say: ask again with --cookie");
        }
        Reason::Weight | Reason::Cookie | Reason::Fuse => {}
    }
    let Some(bucket) = decision.bucket else {
        return Vec::new();
    };
    let shares: Vec<_> = (0..=u8::MAX)
        .zip(&rollout.variants)
        .map(|(position, _)| rollout.table.share(position))
        .collect();
    let others = rollout.variants.iter().filter(|it| !it.live);
    let others: Vec<_> = others.map(|it| it.name.as_str()).collect();
    let tables = match (future, others.as_slice()) {
        (Future::Words(words), _) => return one(words),
        (Future::Steps(steps), [only]) => {
            let steps = steps.iter().map(|&step| vec![((*only).to_owned(), step)]);
            steps.collect()
        }
        (Future::Steps(_), others) => {
            return one(&format!(
                "say which weight is meant, as NAME=PERCENT; the names are {}",
                others.join(", ")
            ));
        }
        (Future::Weights(weights), _) => vec![weights.clone()],
    };
    let mut table: BucketTable = rollout.table.clone();
    let mut lines = Vec::new();
    for named in tables {
        let before = table.owner(bucket);
        let weights = match weights(rollout, &shares, &named) {
            Ok(weights) => weights,
            Err(reason) => return one(&reason),
        };
        // Weights that sum to the whole always rebalance.
        if let Ok(next) = rebalance(&table, &weights) {
            table = next;
        }
        let owner = table.owner(bucket);
        let name = rollout.variants.get(usize::from(owner));
        let name = name.map_or("?", |it| it.name.as_str());
        let what = if owner == before {
            format!("stays on {name}")
        } else {
            format!("moves to {name}")
        };
        let label = if lines.is_empty() { "next" } else { "" };
        let at: Vec<_> = named
            .iter()
            .map(|(name, weight)| match others.as_slice() {
                [_] => format!("{} %", percent(*weight)),
                _ => format!("{name} {} %", percent(*weight)),
            })
            .collect();
        lines.push(format!("{label:<10}at {} this user {what}", at.join(", ")));
    }
    lines
}

/// The weights of all variants: as named, else as they are; the live one has the rest.
fn weights(
    rollout: &RolloutConfig,
    shares: &[u16],
    named: &[(String, u16)],
) -> Result<Vec<u16>, String> {
    let variants = &rollout.variants;
    for (name, _) in named {
        if !variants.iter().any(|it| it.name == *name && !it.live) {
            return Err(format!(
                "there is no variant '{name}' beside the live one to give a weight to"
            ));
        }
    }
    let asked =
        |(it, share): (&VariantConfig, &u16)| match named.iter().find(|(name, _)| *name == it.name)
        {
            _ if it.live => 0,
            Some((_, weight)) => *weight,
            None => *share,
        };
    let mut weights: Vec<_> = variants.iter().zip(shares).map(asked).collect();
    let sum = weights
        .iter()
        .fold(0, |sum: u32, weight| sum + u32::from(*weight));
    let rest = u32::from(BUCKETS)
        .checked_sub(sum)
        .and_then(|rest| u16::try_from(rest).ok());
    let Some(rest) = rest else {
        return Err("the weights are more than the whole: give less".to_owned());
    };
    for (weight, _) in weights.iter_mut().zip(variants).filter(|(_, it)| it.live) {
        *weight = rest;
    }
    Ok(weights)
}
