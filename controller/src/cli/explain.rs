//! `serin explain`: the very decision of the filter, run here on the plugin config that the proxies have.

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serin_filter_core::config::{FilterConfig, KeySource};
use serin_filter_core::route::{Decision, Reason, Request, decide};
use serin_filter_core::split::{BUCKETS, BucketTable, rebalance};
use serin_filter_core::table::{Rollout, RoutingTable};

use super::{Installation, client};
use crate::render::plugin_config;
use crate::rollout::{RolloutState, Stage};
use crate::standalone::store::Store;
use crate::validate::validate;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// NAME or NAMESPACE/NAME
    name: String,
    #[command(flatten)]
    installation: Installation,
    /// A header of the request; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Host of the request [default: the rollout's first]
    #[arg(long)]
    host: Option<String>,
    /// Path of the request [default: the rollout's prefix]
    #[arg(long)]
    path: Option<String>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("write it as NAME=VALUE, such as x-user-id=42")?;
    Ok((name.trim().to_ascii_lowercase(), value.to_owned()))
}

struct Typed<'a> {
    args: &'a ExplainArgs,
    host: String,
    path: String,
}

impl Request for Typed<'_> {
    fn host(&self) -> Option<Vec<u8>> {
        Some(self.host.clone().into_bytes())
    }

    fn path(&self) -> Option<Vec<u8>> {
        Some(self.path.clone().into_bytes())
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.args
            .headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.clone().into_bytes())
    }

    fn draw(&self) -> u64 {
        // Without a key the proxies draw; any number does, because the answer then says that it is drawn.
        0
    }
}

pub(super) fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let store = client::open(&args.installation)?;
    let state = find_state(&store, &args.name)?;
    let name = state.name.to_string();
    let config = read_config(&store)?;
    let generation = config.generation;
    let request = Typed {
        args,
        host: args
            .host
            .clone()
            .or_else(|| state.hosts.first().cloned())
            .unwrap_or_default(),
        path: args
            .path
            .clone()
            .unwrap_or_else(|| state.path_prefix.clone()),
    };
    say!("request   {}{}", request.host, request.path);
    let table = RoutingTable::new(config).context("the plugin config is invalid")?;
    let Some(decision) = decide(&table, &request) else {
        say!("rollout   none matches: the request passes untouched, to the default route");
        return Ok(ExitCode::SUCCESS);
    };
    let rollout = table
        .rollout(decision.rollout)
        .ok_or_else(|| anyhow!("the decision names no rollout"))?;
    say!("rollout   {} (generation {generation})", rollout.name());
    if rollout.name() != name {
        say!(
            "          not {name}: that one wants {}{}",
            state.hosts.join(", "),
            state.path_prefix
        );
    }
    print_decision(&table, rollout, &decision, args);
    if rollout.name() == name {
        say!(
            "next      {}",
            next_step(&state, rollout.table(), &decision)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn find_state(store: &Store, wanted: &str) -> anyhow::Result<RolloutState> {
    let mut states: Vec<_> = store.states()?.into_iter().map(|file| file.state).collect();
    let found = client::position(states.iter().map(|state| &state.name), wanted)?;
    Ok(states.swap_remove(found))
}

fn read_config(store: &Store) -> anyhow::Result<FilterConfig> {
    let Some(ecds) = store.read_envoy(&store.ecds()) else {
        bail!("there is no plugin config yet: the controller writes it when it first runs");
    };
    let text = plugin_config(&ecds).context("envoy/ecds.json holds no plugin config")?;
    Ok(FilterConfig::parse(text.as_bytes())?)
}

fn print_decision(
    table: &RoutingTable,
    rollout: &Rollout,
    decision: &Decision,
    args: &ExplainArgs,
) {
    match decision.reason {
        Reason::Weight => {
            let given = |KeySource::Header(name): &KeySource| {
                args.headers.iter().find(|(given, _)| given == name)
            };
            if let Some((name, value)) = rollout.keys().iter().find_map(given) {
                say!("key       header {name} = {value}");
            }
            say!(
                "bucket    {} of {BUCKETS}, group {}",
                decision.bucket,
                decision.group.map_or(0, u16::from)
            );
        }
        Reason::Random => {
            let names: Vec<_> = rollout
                .keys()
                .iter()
                .map(|KeySource::Header(name)| name.as_str())
                .collect();
            say!(
                "key       none of [{}] is present: every such request draws anew; below is one draw",
                names.join(", ")
            );
        }
    }
    let Some(variant) = rollout.variant(decision.variant) else {
        return;
    };
    say!(
        "variant   {}, version {} ({})",
        variant.name,
        variant.version,
        decision.reason.as_str()
    );
    if variant.live {
        say!("route     the default route: the variant is live, no header is set");
    } else {
        say!("route     {}: {}", table.route_header(), variant.route);
    }
}

fn next_step(state: &RolloutState, table: &BucketTable, decision: &Decision) -> String {
    let Some(release) = state
        .release
        .as_ref()
        .filter(|release| release.outcome.is_none())
    else {
        return "no release is in progress".to_owned();
    };
    let Stage::Step(index) = release.stage else {
        return "all users are on the canary already".to_owned();
    };
    let Ok(plan) = validate(&release.rollout) else {
        return "unknown: the accepted file cannot be read".to_owned();
    };
    let weight = plan
        .steps
        .get(index + 1)
        .map_or(BUCKETS, |step| step.weight);
    let now = table.owner(decision.bucket);
    let then = if weight == BUCKETS {
        1
    } else {
        rebalance(table, &[BUCKETS - weight, weight])
            .map_or(now, |table| table.owner(decision.bucket))
    };
    let percent = f64::from(weight) / 100.0;
    if now == then {
        format!("at {percent} % this user stays")
    } else {
        format!("at {percent} % this user moves to the canary")
    }
}
