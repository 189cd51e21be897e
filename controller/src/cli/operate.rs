//! `serin run` in a cluster.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use kube::Client as Kube;
use tokio_util::sync::CancellationToken;

use super::installation::connection;
use crate::cluster::fleet::{Mode, Settings};
use crate::cluster::names;
use crate::cluster::object::Kind;
use crate::cluster::plugin::Module;
use crate::cluster::run::{self, Options};
use crate::prometheus::Client;
use crate::quantity::Span;

/// What only an installation in a cluster is told.
#[derive(Debug, Args)]
#[command(next_help_heading = "In a cluster")]
pub(super) struct OperateArgs {
    /// Where the proxies get the filter: oci://, https:// or file://
    #[arg(long, env = "SERIN_WASM_URL", value_name = "URL")]
    wasm_url: Option<String>,
    /// SHA-256 of the filter, in hexadecimal
    #[arg(
        long,
        env = "SERIN_WASM_SHA256",
        value_name = "HEX",
        requires = "wasm_url"
    )]
    wasm_sha256: Option<String>,
    /// Secret for the registry, in each namespace that has a plugin object
    #[arg(
        long,
        env = "SERIN_WASM_PULL_SECRET",
        value_name = "NAME",
        requires = "wasm_url"
    )]
    wasm_pull_secret: Option<String>,
    /// Which proxies run the filter: all of the mesh (one object in the root namespace), or those of the namespaces that
    /// rollouts name as their scope (one object in each)
    #[arg(long, env = "SERIN_MODE", value_enum, default_value = "mesh")]
    mode: ModeArg,
    /// Istio's root namespace
    #[arg(
        long,
        env = "SERIN_ROOT_NAMESPACE",
        value_name = "NAME",
        default_value = "istio-system"
    )]
    root_namespace: String,
    /// Kind of the plugin's object; auto: TrafficExtension where the API server has it
    #[arg(long, env = "SERIN_PLUGIN_API", value_enum, default_value = "auto")]
    plugin_api: PluginApi,
    /// Namespace of this installation
    #[arg(long, env = "SERIN_NAMESPACE", value_name = "NAME", default_value = names::NAMESPACE)]
    namespace: String,
    /// Namespaces whose rollouts are looked at, and no others; all when not said
    #[arg(
        long,
        env = "SERIN_WATCH_NAMESPACES",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    watch_namespaces: Vec<String>,
    /// Rhythm of the decisions
    #[arg(long, env = "SERIN_TICK", value_name = "SPAN", default_value = "1s")]
    tick: Span,
    /// Name of this controller among its like
    /// [default: a name made up at each start]
    #[arg(long, env = "HOSTNAME", value_name = "NAME")]
    identity: Option<String>,
    /// Where other controllers reach the status endpoint of this one
    #[arg(long, env = "SERIN_ADDRESS", value_name = "URL")]
    address: Option<String>,
    /// Run alone: no Lease is taken. Two of these at once undo each other's work
    #[arg(long, env = "SERIN_NO_LEADER_ELECTION")]
    no_leader_election: bool,
    /// Kubeconfig; without it the one of kubectl, or the pod's service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<std::path::PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// For tests: end like a killed process after so many writes
    #[arg(long, env = "SERIN_FAULT_AFTER_WRITES", hide = true)]
    fault_after_writes: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    Mesh,
    Namespaces,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PluginApi {
    Auto,
    Wasmplugin,
    Trafficextension,
}

/// What both kinds of installation are told.
pub(super) struct Common {
    pub(super) prometheus: Client,
    pub(super) selectors: crate::prometheus::Selectors,
    pub(super) grid: crate::cells::Grid,
    pub(super) encoding: serin_filter_core::stat::Encoding,
    pub(super) listen: std::net::SocketAddr,
    pub(super) max_releases: Option<usize>,
}

pub(super) async fn operate(
    args: OperateArgs,
    common: Common,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let config = connection(args.kubeconfig.as_deref(), args.context.clone()).await?;
    let kube =
        Kube::try_from(config).context("failed to set up the connection to the API server")?;
    let Some(url) = args.wasm_url else {
        bail!(
            "--wasm-url is missing: say where the proxies get the filter, such as oci://registry/serin-filter:VERSION"
        );
    };
    let watched = &args.watch_namespaces;
    let root = &args.root_namespace;
    if matches!(args.mode, ModeArg::Mesh) && !watched.is_empty() && !watched.contains(root) {
        bail!(
            "--watch-namespaces leaves out {root}, where the plugin of the whole mesh is written: name it too, or say --mode namespaces"
        );
    }
    let (kind, others) = kinds(&kube, args.plugin_api).await?;
    let options = Options {
        settings: Settings {
            mode: match args.mode {
                ModeArg::Mesh => Mode::Mesh,
                ModeArg::Namespaces => Mode::Namespaces,
            },
            root_namespace: args.root_namespace,
            kind,
            module: Module {
                url,
                sha256: args.wasm_sha256,
                pull_secret: args.wasm_pull_secret,
            },
            grid: common.grid,
            encoding: common.encoding,
            max_releases: common.max_releases,
            watched: args.watch_namespaces,
        },
        other_kinds: others,
        selectors: common.selectors,
        namespace: args.namespace,
        tick: args.tick.0,
        // Two of one name would both hold the Lease.
        identity: args
            .identity
            .unwrap_or_else(|| format!("serin-{:08x}", rand::random::<u32>())),
        listen: common.listen,
        address: args.address,
        leader_election: !args.no_leader_election,
        faults: args.fault_after_writes,
    };
    run::run(options, kube, common.prometheus, shutdown).await?;
    Ok(())
}

/// The kind of the plugin's object, and the other one where the API server has it too: one that is left of it must go.
async fn kinds(kube: &Kube, wanted: PluginApi) -> anyhow::Result<(Kind, Vec<Kind>)> {
    let group = Kind::WasmPlugin.api_version();
    let served = kube
        .list_api_group_resources(group)
        .await
        .with_context(|| format!("the API server does not have {group}: is Istio installed?"))?;
    let has = |kind: Kind| served.resources.iter().any(|it| it.name == kind.plural());
    let (plugin, extension) = (has(Kind::WasmPlugin), has(Kind::TrafficExtension));
    match wanted {
        PluginApi::Auto | PluginApi::Trafficextension if extension => {
            let others = plugin.then_some(Kind::WasmPlugin);
            Ok((Kind::TrafficExtension, others.into_iter().collect()))
        }
        PluginApi::Trafficextension => {
            bail!("the API server has no TrafficExtension: say --plugin-api wasmplugin")
        }
        _ if plugin => {
            let others = extension.then_some(Kind::TrafficExtension);
            Ok((Kind::WasmPlugin, others.into_iter().collect()))
        }
        _ => bail!("the API server has no WasmPlugin: install Istio 1.12 or newer"),
    }
}
