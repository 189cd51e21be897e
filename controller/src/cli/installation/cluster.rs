//! A cluster, seen from the command line with the rights of the user: resources from the API server, live numbers from
//! the controller through the API server's service proxy.

mod config;
mod live;
mod objects;
mod patch;
mod words;

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::{Stream, StreamExt};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{ListParams, PostParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

use super::{InstallationArgs, Known, Seen};
use crate::cli::wanted::Wanted;
use crate::cluster::resource::ModelRollout;
use crate::validate::RolloutName;
use live::Live;
use words::Server;

pub(in crate::cli) use config::connection;
pub(in crate::cli) use objects::inner;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Resources in one answer of a list.
const PAGE: u32 = 500;

/// A cluster, with the rights of the kubeconfig's user.
pub(in crate::cli) struct Cluster {
    client: Client,
    server: Server,
    /// Where rollouts are looked for; none: everywhere.
    namespace: Option<String>,
    /// Where the controller is.
    controller: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.server)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads the kubeconfig; the API server is not asked yet.
    pub(super) async fn open(args: &InstallationArgs) -> anyhow::Result<Self> {
        let mut config = connection(args.kubeconfig.as_deref(), args.context.clone()).await?;
        // What is wrong is said to a person, who tries again, and not hidden behind a long wait.
        config.default_retry = false;
        let server = Server(config.cluster_url.to_string());
        let namespace = args
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| server.plain(&error))?;
        Ok(Self {
            client,
            server,
            namespace: (!args.all_namespaces).then_some(namespace),
            controller: args.controller_namespace.clone(),
        })
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(super) async fn look(&self, wanted: Option<&Wanted>) -> anyhow::Result<Known> {
        let objects = async {
            match wanted {
                Some(wanted) => Ok(vec![self.find(wanted).await?]),
                None => self.list(self.namespace.as_deref()).await,
            }
        };
        let (objects, live) = tokio::join!(objects, self.live(wanted));
        Ok(Self::known(objects?.iter(), live))
    }

    /// What resources and live numbers come to. Pure.
    fn known<'a>(objects: impl Iterator<Item = &'a ModelRollout>, live: Live) -> Known {
        let mut rollouts: Vec<_> = objects.map(objects::seen).collect();
        rollouts.sort_by(|a, b| a.status.name.cmp(&b.status.name));
        for status in live.rollouts {
            let same = |seen: &&mut Seen| seen.status.name == status.name;
            if let Some(seen) = rollouts.iter_mut().find(same) {
                objects::take_live(seen, status);
            }
        }
        Known {
            // Without rollouts there is nothing whose numbers could be missed.
            warning: live.warning.filter(|_| !rollouts.is_empty()),
            rollouts,
            problems: Vec::new(),
        }
    }

    /// Reads one resource without live numbers.
    pub(super) async fn read(&self, name: &RolloutName) -> anyhow::Result<Seen> {
        let api = self.rollouts(Some(&name.namespace));
        let object = self.answer(api.get_opt(&name.name)).await?;
        let object = object.with_context(|| format!("{name} was deleted meanwhile"))?;
        Ok(objects::seen(&object))
    }

    /// The one resource that is meant.
    pub(in crate::cli) async fn find(&self, wanted: &Wanted) -> anyhow::Result<ModelRollout> {
        let place = match (&wanted.namespace, &self.namespace) {
            (Some(namespace), _) | (None, Some(namespace)) => Some(namespace.as_str()),
            (None, None) => None,
        };
        if let Some(namespace) = place {
            let api = self.rollouts(Some(namespace));
            if let Some(object) = self.answer(api.get_opt(&wanted.name)).await? {
                return Ok(object);
            }
        }
        let mut all = match self.list(place).await {
            Ok(all) => all,
            // Whoever may read one resource need not be allowed to list them.
            Err(error) if place.is_none() || words::is_not_installed(&error) => return Err(error),
            Err(_) => Vec::new(),
        };
        let names: Vec<_> = all.iter().map(objects::name).collect();
        match (wanted.position(names.iter()), place) {
            (Ok(index), _) => Ok(all.swap_remove(index)),
            (Err(error), None) => Err(error),
            (Err(error), Some(namespace)) => {
                bail!(
                    "{error} (in namespace {namespace}; -n names another one, -A looks in all of them)"
                )
            }
        }
    }

    /// Every resource of a namespace, or of all of them.
    async fn list(&self, namespace: Option<&str>) -> anyhow::Result<Vec<ModelRollout>> {
        let api = self.rollouts(namespace);
        let mut objects = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = self.answer(api.list(&page)).await?;
            objects.extend(list.items);
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }

    fn rollouts(&self, namespace: Option<&str>) -> Api<ModelRollout> {
        match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Waits for an answer of the API server, and says in plain words what is wrong with it.
    async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> anyhow::Result<T> {
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.map_err(|error| self.server.plain(&error)),
            Err(_) => bail!(
                "the API server at {} has not answered within {PATIENCE:?}",
                self.server.0
            ),
        }
    }

    /// The name by which the API server knows the user.
    pub(super) async fn user(&self) -> Option<String> {
        let api = Api::<SelfSubjectReview>::all(self.client.clone());
        let review = SelfSubjectReview::default();
        let parameters = PostParams::default();
        let answer = self.answer(api.create(&parameters, &review)).await.ok()?;
        answer.status?.user_info?.username
    }

    pub(super) fn where_its_log_is(&self) -> String {
        format!(
            "see whether it runs: kubectl -n {0} get pods, and its log: kubectl -n {0} logs deploy/{1}",
            self.controller,
            crate::cluster::names::SERVICE.0
        )
    }

    /// Goes on looking, as things change.
    pub(in crate::cli) async fn follow(
        &self,
        wanted: Option<&Wanted>,
    ) -> anyhow::Result<Follower<'_>> {
        // What is wrong with name or rights is said at once, and not tried again for ever.
        let (api, config, wanted) = match wanted {
            Some(wanted) => {
                let name = objects::name(&self.find(wanted).await?);
                let only =
                    watcher::Config::default().fields(&format!("metadata.name={}", name.name));
                let api = self.rollouts(Some(&name.namespace));
                let wanted = Wanted {
                    namespace: Some(name.namespace),
                    name: name.name,
                };
                (api, only, Some(wanted))
            }
            None => {
                self.list(self.namespace.as_deref()).await?;
                let api = self.rollouts(self.namespace.as_deref());
                (api, watcher::Config::default(), None)
            }
        };
        let (store, writer) = reflector::store();
        let events = watcher(api, config).default_backoff().reflect(writer);
        Ok(Follower {
            cluster: self,
            wanted,
            store,
            events: events.map(|event| event.map(|_| ())).boxed(),
            trouble: None,
        })
    }
}

/// Rollouts of a cluster as they change.
pub(in crate::cli) struct Follower<'a> {
    cluster: &'a Cluster,
    wanted: Option<Wanted>,
    store: Store<ModelRollout>,
    events: Pin<Box<dyn Stream<Item = Result<(), watcher::Error>> + Send + 'a>>,
    trouble: Option<String>,
}

impl Follower<'_> {
    /// How things stand now.
    pub(in crate::cli) async fn look(&mut self) -> anyhow::Result<Known> {
        self.take_events().await;
        let mut known = self.watched().await;
        if let Some(trouble) = &self.trouble {
            // Whoever may not watch may ask; and a watch that goes on again does not say so before something changes.
            match self.cluster.look(self.wanted.as_ref()).await {
                Ok(asked) => known = asked,
                Err(_) => known.warning = Some(trouble.clone()),
            }
        } else if self.wanted.is_some() && known.rollouts.is_empty() {
            bail!("the rollout was deleted");
        }
        Ok(known)
    }

    async fn watched(&self) -> Known {
        let live = self.cluster.live(self.wanted.as_ref()).await;
        let objects = self.store.state();
        Cluster::known(objects.iter().map(AsRef::as_ref), live)
    }

    /// Waits until something has changed, or as long as live numbers may be old.
    pub(in crate::cli) async fn changed(&mut self, period: Duration) {
        let event = tokio::time::timeout(period, self.events.next()).await;
        if let Ok(Some(event)) = event {
            self.note(event);
        }
    }

    /// Takes what has come, and at the beginning waits for the first list.
    async fn take_events(&mut self) {
        while self.wait_for_list().await {}
        while let Some(event) = self.ready_event().await {
            self.note(event);
        }
    }

    /// Whether there is still something to wait for.
    async fn wait_for_list(&mut self) -> bool {
        if self.trouble.is_some() {
            return false;
        }
        let store = self.store.clone();
        tokio::select! {
            biased;
            event = self.events.next() => match event {
                Some(event) => {
                    self.note(event);
                    true
                }
                None => false,
            },
            _ = store.wait_until_ready() => false,
        }
    }

    async fn ready_event(&mut self) -> Option<Result<(), watcher::Error>> {
        std::future::poll_fn(|context| match self.events.as_mut().poll_next(context) {
            Poll::Ready(event) => Poll::Ready(event),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn note(&mut self, event: Result<(), watcher::Error>) {
        self.trouble = event.err().map(|error| {
            format!(
                "this is how things stood when the API server last answered: {:#}",
                self.cluster.server.plain_watch(error)
            )
        });
    }
}
