//! Which installation a command is about, a folder on this machine or a cluster, and what there is to see and to do.

mod cluster;
mod folder;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

pub(super) use cluster::{Cluster, connection, inner};
pub(super) use folder::Folder;

use super::wanted::Wanted;
use super::{action, invocation};
use crate::cluster::names;
use crate::report::Status;
use crate::rollout::{Action, RolloutState};

/// Names the folder where no flag does.
const FOLDER: &str = "SERIN_STANDALONE";

const HEADING: &str = "Installation (a folder, else the kubeconfig's cluster)";

/// The installation that is meant. A flag wins over the environment, and a folder in the environment over the cluster
/// of the kubeconfig; what kubectl calls is about a cluster unless a flag names a folder.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct InstallationArgs {
    /// Folder of a standalone installation [env: SERIN_STANDALONE, unless --kubeconfig or --context is given, or kubectl
    /// calls]
    #[arg(
        long = "standalone",
        value_name = "DIR",
        help_heading = HEADING,
        conflicts_with_all = ["kubeconfig", "context"]
    )]
    pub(super) dir: Option<PathBuf>,
    /// Kubeconfig of the cluster [default: $KUBECONFIG, ~/.kube/config, or in a pod its service account]
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub(super) context: Option<String>,
    /// Namespace of the rollouts [default: the context's; in a folder all]
    #[arg(short, long, value_name = "NAMESPACE", help_heading = HEADING)]
    pub(super) namespace: Option<String>,
    /// Rollouts of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace", help_heading = HEADING)]
    pub(super) all_namespaces: bool,
    /// Namespace of Serin's controller, which has the live numbers
    #[arg(
        long,
        env = "SERIN_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = names::NAMESPACE,
        help_heading = HEADING
    )]
    pub(super) controller_namespace: String,
}

/// What the flags and the environment come to.
#[derive(Debug, PartialEq, Eq)]
enum Chosen {
    Folder(PathBuf),
    Cluster,
}

impl InstallationArgs {
    fn choose(&self, plugin: bool, environment: Option<OsString>) -> Chosen {
        let cluster = plugin || self.kubeconfig.is_some() || self.context.is_some();
        let environment = environment.filter(|dir| !dir.is_empty() && !cluster);
        let dir = self.dir.clone().or(environment.map(PathBuf::from));
        dir.map_or(Chosen::Cluster, Chosen::Folder)
    }

    /// The folder, if one is meant.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        match self.choose(invocation::is_plugin(), std::env::var_os(FOLDER)) {
            Chosen::Folder(dir) => Some(dir),
            Chosen::Cluster => None,
        }
    }
}

/// A rollout, and what its installation knows of it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// What users see.
    pub(super) status: Status,
    /// When it was made; in a folder, when the first release began that is remembered.
    pub(super) made: Option<Timestamp>,
    /// Whether `status` is about the latest edit.
    pub(super) current: bool,
    /// What somebody asked for and the controller has not answered yet.
    pub(super) pending: Option<Action>,
    /// What a write is based on, so that two people do not overwrite each other unseen.
    pub(super) version: Option<String>,
}

impl Seen {
    /// That the status is about an edit before; one that was never taken up says so itself.
    pub(super) fn staleness(&self) -> Option<&'static str> {
        let taken_up = self.status.release.is_some() || !self.status.history.is_empty();
        (taken_up && !self.current).then_some("the controller has not read the latest edit yet")
    }

    /// What a person should know beside the status.
    fn notes(&self) -> Vec<String> {
        let name = &self.status.name;
        let mut notes = Vec::new();
        if let Some(stale) = self.staleness() {
            notes.push(format!("{name}: {stale}"));
        }
        if let Some(action) = &self.pending {
            notes.push(format!(
                "{name}: {} by {} waits for the controller",
                action::word(action.what),
                action.by
            ));
        }
        notes
    }
}

/// What is known, and how far it can be trusted.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The rollouts that were asked for, by name.
    pub(super) rollouts: Vec<Seen>,
    /// Mistakes that belong to none of them.
    pub(super) problems: Vec<String>,
    /// Why it may be out of date.
    pub(super) warning: Option<String>,
}

impl Known {
    /// Everything that is said beside the rollouts.
    pub(super) fn remarks(&self) -> impl Iterator<Item = String> {
        let notes = self.rollouts.iter().flat_map(Seen::notes);
        let problems = self.problems.iter().cloned();
        notes.chain(problems).chain(self.warning.clone())
    }

    pub(super) fn statuses(&self) -> Vec<&Status> {
        self.rollouts.iter().map(|seen| &seen.status).collect()
    }
}

/// What a rollout is, for [`explain`](super::explain): its state, or what is written where it has none yet.
#[derive(Debug)]
pub(super) enum Inner {
    State(Box<RolloutState>),
    Spec(Box<crate::api::ModelRollout>),
}

/// An installation that was found.
#[derive(Debug)]
pub(super) enum Installation {
    Folder(Folder),
    Cluster(Box<Cluster>),
}

impl Installation {
    /// Finds it.
    pub(super) async fn open(args: &InstallationArgs) -> anyhow::Result<Self> {
        Ok(match args.folder() {
            Some(dir) => Self::Folder(Folder::open(&dir, args.namespace.clone())?),
            None => Self::Cluster(Box::new(Cluster::open(args).await?)),
        })
    }

    /// Looks at all rollouts, or at the one that is wanted.
    pub(super) async fn look(&self, wanted: Option<&Wanted>) -> anyhow::Result<Known> {
        match self {
            Self::Folder(folder) => folder.look(wanted).await,
            Self::Cluster(cluster) => cluster.look(wanted).await,
        }
    }

    /// Looks at one rollout.
    pub(super) async fn look_at(&self, wanted: &Wanted) -> anyhow::Result<(Seen, Known)> {
        let mut known = self.look(Some(wanted)).await?;
        match known.rollouts.pop() {
            Some(seen) => Ok((seen, known)),
            None => anyhow::bail!("there is no rollout '{wanted}'"),
        }
    }

    /// Looks whether an action was answered: at as little as that needs.
    pub(super) async fn look_for_answer(&self, seen: &Seen) -> anyhow::Result<Seen> {
        let name = &seen.status.name;
        match self {
            Self::Folder(folder) => folder.look_at(name).await,
            Self::Cluster(cluster) => cluster.read(name).await,
        }
    }

    /// Leaves an action for the controller. What comes back says why nobody will answer now.
    pub(super) async fn leave(
        &self,
        seen: &Seen,
        action: &Action,
        force: bool,
    ) -> anyhow::Result<Option<String>> {
        match self {
            Self::Folder(folder) => folder.leave(&seen.status.name, action).await,
            Self::Cluster(cluster) => cluster.leave(seen, action, force).await.map(|()| None),
        }
    }

    /// Goes on looking, as things change.
    pub(super) async fn follow(&self, wanted: Option<&Wanted>) -> anyhow::Result<Follower<'_>> {
        Ok(match self {
            Self::Folder(folder) => Follower::Folder(folder, wanted.cloned()),
            Self::Cluster(cluster) => Follower::Cluster(Box::new(cluster.follow(wanted).await?)),
        })
    }

    /// The only namespace that is looked at; none: all of them.
    pub(super) fn namespace(&self) -> Option<&str> {
        match self {
            Self::Folder(folder) => folder.namespace(),
            Self::Cluster(cluster) => cluster.namespace(),
        }
    }

    /// Who asks, as far as the installation knows.
    pub(super) async fn user(&self) -> Option<String> {
        match self {
            Self::Folder(_) => None,
            Self::Cluster(cluster) => cluster.user().await,
        }
    }

    /// Where to look when the controller does not answer.
    pub(super) fn where_its_log_is(&self) -> String {
        match self {
            Self::Folder(_) => "see its log".to_owned(),
            Self::Cluster(cluster) => cluster.where_its_log_is(),
        }
    }
}

/// An installation that is watched.
pub(super) enum Follower<'a> {
    Folder(&'a Folder, Option<Wanted>),
    Cluster(Box<cluster::Follower<'a>>),
}

impl Follower<'_> {
    /// How things stand now.
    pub(super) async fn look(&mut self) -> anyhow::Result<Known> {
        match self {
            Self::Folder(folder, wanted) => folder.look(wanted.as_ref()).await,
            Self::Cluster(follower) => follower.look().await,
        }
    }

    /// Waits until something has changed, or so long.
    pub(super) async fn changed(&mut self, period: Duration) {
        match self {
            Self::Folder(..) => tokio::time::sleep(period).await,
            Self::Cluster(follower) => follower.changed(period).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: Option<&str>, context: Option<&str>) -> InstallationArgs {
        InstallationArgs {
            dir: dir.map(PathBuf::from),
            context: context.map(str::to_owned),
            ..InstallationArgs::default()
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_a_folder_there_over_the_kubeconfig() {
        let folder = |dir: &str| Chosen::Folder(PathBuf::from(dir));
        let set = || Some(OsString::from("env"));
        for (args, plugin, environment, chosen) in [
            (args(Some("flag"), None), false, set(), folder("flag")),
            (args(Some("flag"), None), true, None, folder("flag")),
            (args(None, None), false, set(), folder("env")),
            (
                args(None, None),
                false,
                Some(OsString::new()),
                Chosen::Cluster,
            ),
            (args(None, None), false, None, Chosen::Cluster),
            (args(None, Some("prod")), false, set(), Chosen::Cluster),
            (args(None, None), true, set(), Chosen::Cluster),
        ] {
            assert_eq!(
                args.choose(plugin, environment),
                chosen,
                "{args:?} {plugin}"
            );
        }
    }
}
