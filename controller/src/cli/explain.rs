//! `serin explain`: the very decision of the filter, run here on the plugin config that the proxies have, on one from a
//! file, or on what a rollout file would become; in a cluster on what the controller makes of the resource.

mod answer;
mod request;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::Value;
use serin_filter_core::config::{FilterConfig, RolloutConfig};
use serin_filter_core::split::{BUCKETS, BucketTable, rebalance};

use super::installation::{Cluster, Folder, Inner, Installation, InstallationArgs, inner};
use super::wanted::Wanted;
use crate::cluster::plugin::config_in;
use crate::render::{self, Arms, plugin_config};
use crate::rollout::{RolloutState, Stage};
use crate::source::parse;
use crate::validate::{Plan, validate};
use answer::{Future, Question, answer};
use request::{Typed, assignment};

#[derive(Debug, Default, Args)]
pub(super) struct ExplainArgs {
    /// NAME or NAMESPACE/NAME [default: the only rollout of --config or --file]
    name: Option<Wanted>,
    #[command(flatten)]
    installation: InstallationArgs,
    /// A plugin config instead, or an ecds.json, WasmPlugin or TrafficExtension that holds one (JSON)
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// A rollout file instead, as its release would begin
    #[arg(long, value_name = "ROLLOUT.yaml")]
    file: Option<PathBuf>,
    #[command(flatten)]
    request: RequestArgs,
    /// Say what this weight would do, in per cent; of which variant, if there are several; may be given several times
    /// then [default: every step that is still to come]
    #[arg(long = "weight", value_name = "[NAME=]PERCENT", value_parser = weight)]
    weights: Vec<Weight>,
}

/// A weight in 1/10 000, of a variant or of the only one that is not live.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Weight {
    variant: Option<String>,
    weight: u16,
}

/// The request that is asked about.
#[derive(Debug, Default, Args)]
struct RequestArgs {
    /// A header; may be given several times
    #[arg(
        long = "header",
        visible_alias = "grpc-metadata",
        value_name = "NAME=VALUE",
        value_parser = assignment
    )]
    headers: Vec<(String, String)>,
    /// A cookie; may be given several times
    #[arg(long = "cookie", value_name = "NAME=VALUE", value_parser = assignment)]
    cookies: Vec<(String, String)>,
    /// A query parameter; may be given several times, and stand in --path as well
    #[arg(long = "query", value_name = "NAME=VALUE", value_parser = assignment)]
    query: Vec<(String, String)>,
    /// A claim of the JWT that the proxy has verified, outer.inner for one within another
    #[arg(long = "jwt-claim", value_name = "NAME=VALUE", value_parser = assignment)]
    jwt_claims: Vec<(String, String)>,
    /// A claim of a bearer token that nobody has verified, outer.inner for one within another
    #[arg(long = "unverified-jwt-claim", value_name = "NAME=VALUE", value_parser = assignment)]
    unverified_jwt_claims: Vec<(String, String)>,
    /// Principal of the caller, such as spiffe://cluster.local/ns/shop/sa/web
    #[arg(long, value_name = "URI")]
    principal: Option<String>,
    /// Method
    #[arg(long, default_value = "GET")]
    method: String,
    /// Host [default: the rollout's first]
    #[arg(long)]
    host: Option<String>,
    /// Path, with its query if it has one [default: the rollout's]
    #[arg(long)]
    path: Option<String>,
}

fn percent(text: &str) -> Result<u16, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0..=100 per cent is 0..=10 000"
            )]
            let weight = (percent * 100.0).round() as u16;
            Ok(weight)
        }
        _ => Err("write a weight from 0 to 100 per cent, such as 25".to_owned()),
    }
}

fn weight(text: &str) -> Result<Weight, String> {
    let (variant, number) = match text.split_once('=') {
        Some((name, number)) => (Some(name.trim().to_owned()), number),
        None => (None, text),
    };
    let weight = percent(number)?;
    Ok(Weight { variant, weight })
}

/// What was asked with `--weight`; none: nothing was.
fn asked(weights: &[Weight]) -> Option<Future> {
    let named = |it: &Weight| Some((it.variant.clone()?, it.weight));
    if weights.is_empty() {
        return None;
    }
    let all: Option<Vec<_>> = weights.iter().map(named).collect();
    Some(match all {
        Some(named) => Future::Weights(named),
        // Without a name one weight follows another, as steps do.
        None => Future::Steps(weights.iter().map(|it| it.weight).collect()),
    })
}

pub(super) async fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let name = args.name.as_ref();
    let mut question = match (&args.config, &args.file) {
        (Some(path), _) => of_config(path, name)?,
        (None, Some(path)) => of_rollout_file(path, name)?,
        (None, None) => {
            let installation = Installation::open(&args.installation).await.map_err(|error| {
                anyhow!(
                    "{error:#}; or explain a plugin config (--config FILE) or a rollout that has not begun (--file \
                     ROLLOUT.yaml)"
                )
            })?;
            match &installation {
                Installation::Folder(folder) => of_folder(folder, name)?,
                Installation::Cluster(cluster) => of_cluster(cluster, name).await?,
            }
        }
    };
    if let Some(future) = asked(&args.weights) {
        question.future = future;
    }
    let request = Typed::new(&args.request, question.asked_about())?;
    for line in answer(&question, &request)? {
        say!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The config that the proxies of a standalone installation have.
fn of_folder(folder: &Folder, name: Option<&Wanted>) -> anyhow::Result<Question> {
    let states = folder.states()?;
    let Some(name) = name else {
        let known: Vec<_> = states.iter().map(|state| state.name.to_string()).collect();
        bail!("say which rollout is meant; known: {}", known.join(", "));
    };
    let found = name.position(states.iter().map(|state| &state.name))?;
    let state = states.get(found).context("the rollout is gone")?;
    let store = folder.store();
    let Some(ecds) = store.read_envoy(&store.ecds()) else {
        bail!("there is no plugin config yet: the controller writes it when it first runs");
    };
    let text = plugin_config(&ecds).context("envoy/ecds.json holds no plugin config")?;
    let config = FilterConfig::parse(text.as_bytes())?;
    Ok(Question {
        origin: format!("generation {}", config.generation),
        wanted: Some(wanted(state)),
        future: future_of(state),
        config,
    })
}

/// What the controller of a cluster makes of a resource.
async fn of_cluster(cluster: &Cluster, name: Option<&Wanted>) -> anyhow::Result<Question> {
    let name = name.context("say which rollout is meant: NAME or NAMESPACE/NAME")?;
    let resource = cluster.find(name).await?;
    match inner(&resource) {
        Ok(Inner::State(state)) => Ok(of_state(&state)),
        Ok(Inner::Spec(rollout)) => {
            let plan = validate(&rollout).map_err(|_| {
                anyhow::anyhow!("the rollout has mistakes: 'get {name}' lists them")
            })?;
            of_plan(&plan)
        }
        Err(mistakes) => bail!("the rollout has mistakes:\n{mistakes}"),
    }
}

/// The part of the proxies' config that is this rollout's.
fn of_state(state: &RolloutState) -> Question {
    Question {
        origin: "as its status has it".to_owned(),
        wanted: Some(wanted(state)),
        future: future_of(state),
        config: render::filter_config(render::section(state).into_iter().collect(), 1),
    }
}

/// What a rollout claims, also where the plugin config does not have it (yet, or any more).
fn wanted(state: &RolloutState) -> RolloutConfig {
    render::section(state).unwrap_or_else(|| render::without_release(state))
}

fn future_of(state: &RolloutState) -> Future {
    let Some(release) = state.in_progress() else {
        return Future::Words("no release is in progress".to_owned());
    };
    let Stage::Step(index) = release.stage else {
        return Future::Words("all users are on the canary already".to_owned());
    };
    match validate(&release.rollout) {
        Ok(plan) => {
            let steps = plan.steps.iter().skip(index + 1).map(|step| step.weight());
            Future::Steps(steps.chain([BUCKETS]).collect())
        }
        Err(_) => Future::Words(
            "unknown: the accepted rollout file is not valid for this version of serin".to_owned(),
        ),
    }
}

/// A plugin config from a file.
fn of_config(path: &Path, name: Option<&Wanted>) -> anyhow::Result<Question> {
    let file = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read '{file}'"))?;
    let json: Value = serde_json::from_str(&text).with_context(|| {
        format!(
            "'{file}' is no JSON: give a plugin config, an ecds.json, or a WasmPlugin or TrafficExtension as 'kubectl get -o json' prints \
             it (--file reads rollout files)"
        )
    })?;
    let config = match config_in(&json) {
        Some(config) => config,
        None => {
            let config = plugin_config(&json).unwrap_or(&text);
            FilterConfig::parse(config.as_bytes()).with_context(|| {
                format!(
                    "'{file}' is no plugin config, and no ecds.json, WasmPlugin or TrafficExtension that holds one"
                )
            })?
        }
    };
    let name = name.map(Wanted::to_string);
    let name = name.as_deref();
    let meant = |it: &&RolloutConfig| {
        name.is_none_or(|name| it.name == name || it.name.ends_with(&format!("/{name}")))
    };
    let found: Vec<_> = config.rollouts.iter().filter(meant).collect();
    let wanted = match (found.as_slice(), name) {
        ([only], _) => Some((*only).clone()),
        // Host and path may say which one is meant.
        (_, None) => None,
        (several, Some(name)) => {
            let listed = if several.is_empty() {
                config.rollouts.iter().collect()
            } else {
                found.clone()
            };
            let listed: Vec<_> = listed.iter().map(|it| it.name.as_str()).collect();
            bail!(
                "'{name}' names {} of the rollouts in '{file}': say one of {}",
                if several.is_empty() {
                    "none"
                } else {
                    "several"
                },
                listed.join(", ")
            );
        }
    };
    Ok(Question {
        origin: format!("generation {}", config.generation),
        wanted,
        future: Future::Words("a plugin config knows no steps: say --weight PERCENT".to_owned()),
        config,
    })
}

/// A rollout file, as its release would begin.
fn of_rollout_file(path: &Path, name: Option<&Wanted>) -> anyhow::Result<Question> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read '{file}'"))?;
    let plan = match parse(&file, &text) {
        Ok(source) => source.plan,
        Err(mistakes) => {
            let list: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            bail!("the rollout file has mistakes:\n{}", list.join("\n"));
        }
    };
    if let Some(name) = name {
        name.position([&plan.name].into_iter())?;
    }
    of_plan(&plan)
}

/// A rollout as its release would begin.
fn of_plan(plan: &Plan) -> anyhow::Result<Question> {
    let mut weights = plan.steps.iter().map(|step| step.weight());
    let first = weights.next().unwrap_or(0);
    let table = rebalance(
        &BucketTable::whole(0),
        &[BUCKETS.saturating_sub(first), first],
    )?;
    let section = render::in_progress(&Arms::of_plan(plan), &table);
    Ok(Question {
        origin: format!(
            "as its release would begin, at {} %",
            f64::from(first) / 100.0
        ),
        wanted: Some(section.clone()),
        future: Future::Steps(weights.chain([BUCKETS]).collect()),
        config: render::filter_config(vec![section], 1),
    })
}

#[cfg(test)]
mod tests;
