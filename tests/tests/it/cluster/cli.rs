//! The command line with the rights of its user, on a real API server. Status is written by the tests, with the state
//! machine of the controller behind it.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use serde_json::{Value, json};
use serin_controller::cells::Grid;
use serin_controller::cluster::names;
use serin_controller::cluster::resource::ModelRollout;
use serin_controller::cluster::status::status;
use serin_controller::report::{Status, View, report};
use serin_controller::rollout::{
    Action, Do, ForeignRoutes, Input, Outcome, RolloutState, accept, step,
};
use serin_controller::source::{Source, parse};
use serin_tests::cluster::control_plane::{ControlPlane, DEV, Setup};
use serin_tests::cluster::identity::ADMIN;
use serin_tests::world::World;
use serin_tests::{tools, wait};
use tokio::process::Command;

const NAMESPACE: &str = "ml";

/// A definition without a schema: the schema has tests of its own.
const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: modelrollouts.serin.dev}
spec:
  group: serin.dev
  names: {kind: ModelRollout, listKind: ModelRolloutList, plural: modelrollouts, singular: modelrollout}
  scope: Namespaced
  versions:
    - name: v1alpha1
      served: true
      storage: true
      subresources: {status: {}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// What somebody has who may look, and nothing else.
const VIEW: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: view, namespace: ml}
rules: [{apiGroups: [serin.dev], resources: [modelrollouts], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: view, namespace: ml}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dev}]
";

fn rollout(name: &str) -> String {
    format!(
        "apiVersion: serin.dev/v1alpha1
kind: ModelRollout
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  match: {{hosts: [{name}.ml.svc.cluster.local], pathPrefix: /v2/models/{name}}}
  variants:
    - {{name: stable, role: stable, version: \"7\", route: {{subset: v7}}}}
    - {{name: canary, version: \"8\", route: {{subset: v8}}}}
  assignment: {{key: [{{header: x-user-id}}], salt: {name}-8}}
  strategy:
    canary:
      steps:
        - {{weight: 10, gate: {{ratio: 2.0, absolute: 0.5pp}}}}
        - {{weight: 50, gate: {{ratio: 1.25, absolute: 0.2pp}}, pause: {{approval: true}}}}
"
    )
}

/// A control plane with Serin's resource, and a stand-in for its controller that does what a test says.
struct Cluster {
    control_plane: ControlPlane,
    program: std::path::PathBuf,
}

/// A rollout of the cluster as its controller has it.
struct Rollout {
    source: Source,
    state: RolloutState,
    api: Api<ModelRollout>,
}

fn grid() -> Grid {
    let cell = Duration::from_secs(30);
    Grid::new(cell, cell).unwrap()
}

impl Cluster {
    async fn start(name: &str) -> Cluster {
        let world = World::new(name).unwrap();
        let (control_plane, programs) = tokio::join!(
            ControlPlane::start(&world, Setup::default()),
            tokio::task::spawn_blocking(tools::programs)
        );
        let cluster = Cluster {
            control_plane: control_plane.unwrap(),
            program: programs.unwrap().unwrap().serin,
        };
        cluster.control_plane.namespace(NAMESPACE).await.unwrap();
        cluster
    }

    async fn define(&self) {
        self.control_plane.apply(DEFINITION).await.unwrap();
        let client = self.control_plane.client().await.unwrap();
        let definitions = Api::<CustomResourceDefinition>::all(client);
        let established = is_crd_established();
        await_condition(definitions, "modelrollouts.serin.dev", established)
            .await
            .unwrap();
    }

    /// Applies a rollout, and begins its release.
    async fn rollout(&self, name: &str) -> Rollout {
        let text = rollout(name);
        self.control_plane.apply(&text).await.unwrap();
        let source = parse("rollout.yaml", &text).unwrap();
        let client = self.control_plane.client().await.unwrap();
        let before = RolloutState::new(&source.plan, source.plan.stable.clone());
        let now = Timestamp::now();
        let (state, _) = accept(&source.plan, &source.rollout, &before, now, grid()).unwrap();
        let rollout = Rollout {
            source,
            state,
            api: Api::namespaced(client, NAMESPACE),
        };
        rollout.write().await;
        rollout
    }

    fn command(&self, user: &str, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", self.control_plane.kubeconfig(user).unwrap())
            .env("NO_COLOR", "1")
            .env_remove("SERIN_STANDALONE")
            .kill_on_drop(true);
        command
    }

    async fn serin(&self, user: &str, arguments: &[&str]) -> Said {
        let mut command = self.command(user, &self.program);
        Said::of(command.args(arguments).output().await.unwrap())
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    #[track_caller]
    fn fails_with(&self, code: i32, words: &str) {
        assert!(
            self.code == Some(code) && self.err.contains(words),
            "{self:?}"
        );
    }

    #[track_caller]
    fn says(&self, words: &str) {
        assert!(self.code == Some(0) && self.out.contains(words), "{self:?}");
    }
}

impl Rollout {
    fn name(&self) -> &str {
        &self.source.plan.name.name
    }

    async fn object(&self) -> ModelRollout {
        self.api.get(self.name()).await.unwrap()
    }

    async fn annotation(&self) -> Option<Action> {
        let object = self.object().await;
        let text = object.metadata.annotations?.remove(names::ACTION)?;
        Some(serde_json::from_str(&text).unwrap())
    }

    async fn annotate(&self, action: &Action) {
        let text = serde_json::to_string(action).unwrap();
        let patch = json!({"metadata": {"annotations": {names::ACTION: text}}});
        let patch = Patch::Merge(patch);
        let parameters = PatchParams::default();
        self.api
            .patch(self.name(), &parameters, &patch)
            .await
            .unwrap();
    }

    /// Writes status, as of the present `spec`.
    async fn write(&self) {
        let generation = self.object().await.metadata.generation;
        let plan = Some(&self.source.plan);
        let found = report(plan, &self.state, &View::default());
        let checkpoint = serde_json::to_string(&self.state).unwrap();
        let now = Timestamp::now();
        let status = status(&found, &self.state, None, generation, checkpoint, now);
        let patch: Patch<Value> = Patch::Merge(json!({"status": status}));
        let parameters = PatchParams::default();
        self.api
            .patch_status(self.name(), &parameters, &patch)
            .await
            .unwrap();
    }

    /// Answers an action as the controller does.
    async fn answer(&mut self, action: Action) {
        let actions = [action];
        let input = Input {
            now: Timestamp::now(),
            grid: grid(),
            cells: &[],
            proxies: Err("not asked"),
            generation: None,
            guards: &[],
            ready: None,
            routes: ForeignRoutes::default(),
            actions: &actions,
        };
        self.state = step(Some(&self.source.plan), &self.state, &input).next;
        self.write().await;
    }

    /// Answers the next action that nobody has answered.
    async fn answer_next(&mut self) -> Action {
        let consumed = self.state.consumed_actions.clone();
        let action = wait::until(Duration::from_secs(30), "an action", async || {
            let action = self.annotation().await;
            let new = action.filter(|action| !consumed.contains(&action.id));
            new.ok_or_else(|| anyhow::anyhow!("nobody asks for anything"))
        })
        .await
        .unwrap();
        self.answer(action.clone()).await;
        action
    }
}

fn pause(id: &str) -> Action {
    Action {
        id: id.to_owned(),
        what: Do::Pause,
        by: "ann".to_owned(),
        why: String::new(),
        seen: None,
        weight: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_and_drives_a_rollout_by_its_resource() {
    let cluster = Cluster::start("cli-drives").await;
    cluster
        .serin(ADMIN, &["get", "-n", NAMESPACE])
        .await
        .fails_with(1, "knows no ModelRollouts");
    cluster
        .serin(ADMIN, &["abort", "fraud", "-n", NAMESPACE])
        .await
        .fails_with(1, "knows no ModelRollouts");
    cluster.define().await;
    let mut fraud = cluster.rollout("fraud").await;
    cluster.rollout("spam").await;

    let get = cluster.serin(ADMIN, &["get", "-n", NAMESPACE]).await;
    get.says("ml/fraud");
    get.says("10.0 %");
    assert!(
        get.err
            .contains("there is no service 'serin-controller' in namespace serin-system"),
        "{get:?}"
    );
    let json = cluster
        .serin(ADMIN, &["get", "ml/fraud", "-o", "json"])
        .await;
    let parsed: Vec<Status> = serde_json::from_str(&json.out).unwrap();
    assert_eq!(parsed[0].name.name, "fraud");
    cluster
        .serin(ADMIN, &["get", "fraud", "-A", "-o", "name"])
        .await
        .says("ml/fraud\n");
    cluster.serin(ADMIN, &["list"]).await.says("AGE");
    cluster
        .serin(ADMIN, &["history", "ml/fraud"])
        .await
        .says("version 8 begins beside version 7");
    cluster
        .serin(ADMIN, &["explain", "ml/fraud", "--header", "x-user-id=42"])
        .await
        .says("rollout   ml/fraud");
    let missing = cluster
        .serin(ADMIN, &["get", "frod", "-n", NAMESPACE])
        .await;
    missing.fails_with(1, "there is no rollout 'frod'; known: ml/fraud, ml/spam");

    let arguments = ["pause", "ml/fraud", "--why", "lunch"];
    let (said, asked) = tokio::join!(cluster.serin(ADMIN, &arguments), fraud.answer_next());
    said.says("ml/fraud: Paused; paused by admin: lunch");
    assert_eq!(asked.by, ADMIN, "the API server says who asks");
    let (said, _) = tokio::join!(cluster.serin(ADMIN, &arguments), fraud.answer_next());
    said.says("nothing to change");

    let folder = World::new("cli-plugin").unwrap();
    let plugin = folder.path().join("kubectl-serin");
    std::os::unix::fs::symlink(&cluster.program, &plugin).unwrap();
    let mut kubectl = cluster.command(ADMIN, &tools::kubectl().unwrap());
    kubectl.args(["serin", "get", "-A"]);
    let path = std::env::var("PATH").unwrap();
    kubectl.env("PATH", format!("{}:{path}", folder.path().display()));
    Said::of(kubectl.output().await.unwrap()).says("ml/fraud");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_told_which_right_is_missing_and_who_has_it() {
    let cluster = Cluster::start("cli-rights").await;
    cluster.define().await;
    let fraud = cluster.rollout("fraud").await;
    let get = ["get", "-n", NAMESPACE];
    let nothing = cluster.serin(DEV, &get).await;
    nothing.fails_with(
        1,
        "dev may not list modelrollouts.serin.dev in namespace ml",
    );
    assert!(nothing.err.contains("serin-view"), "{nothing:?}");

    cluster.control_plane.apply(VIEW).await.unwrap();
    let seen = wait::until(Duration::from_secs(10), "the role", async || {
        let seen = cluster.serin(DEV, &get).await;
        anyhow::ensure!(seen.code == Some(0), "{seen:?}");
        Ok(seen)
    });
    let seen = seen.await.unwrap();
    assert!(
        seen.err
            .contains("dev may not get services/proxy in namespace serin-system"),
        "{seen:?}"
    );
    cluster
        .serin(DEV, &["get", "fraud", "-n", NAMESPACE])
        .await
        .says("ml/fraud");
    let everywhere = cluster.serin(DEV, &["list"]).await;
    everywhere.fails_with(1, "name one with -n");
    let promote = cluster
        .serin(DEV, &["promote", "fraud", "-n", NAMESPACE])
        .await;
    promote.fails_with(
        1,
        "nothing was changed: dev may not patch modelrollouts.serin.dev in namespace ml: the role serin-operate",
    );
    assert_eq!(fraud.annotation().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobodys_request_is_overwritten_before_it_was_answered() {
    let cluster = Cluster::start("cli-requests").await;
    cluster.define().await;
    let mut fraud = cluster.rollout("fraud").await;
    fraud.annotate(&pause("1")).await;

    let abort = ["abort", "ml/fraud", "--by", "bob"];
    let refused = cluster.serin(ADMIN, &abort).await;
    refused.fails_with(1, "nothing was changed: ann asked to pause before");
    assert_eq!(fraud.annotation().await.unwrap().id, "1");

    // As soon as it is answered, it is the next one's turn.
    let answers = async {
        let first = fraud.answer_next().await;
        (first, fraud.answer_next().await)
    };
    let (said, (first, second)) = tokio::join!(cluster.serin(ADMIN, &abort), answers);
    assert_eq!((first.what, second.what), (Do::Pause, Do::Abort));
    // It tells what happened since it looked, which may be before the first was answered.
    said.says("ml/fraud: RolledBack; ");
    said.says("aborted by bob\n");

    fraud.annotate(&pause("2")).await;
    let forced = ["resume", "ml/fraud", "--force"];
    let (said, answered) = tokio::join!(cluster.serin(ADMIN, &forced), async {
        wait::until_true(Duration::from_secs(30), "the other request", async || {
            fraud
                .annotation()
                .await
                .is_some_and(|it| it.what == Do::Resume)
        })
        .await
        .unwrap();
        fraud.answer_next().await
    });
    assert_eq!(answered.what, Do::Resume);
    said.says("nothing to change: the release has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_waits_for_the_end_and_sees_it_in_the_exit_code() {
    let cluster = Cluster::start("cli-status").await;
    cluster.define().await;
    let mut fraud = cluster.rollout("fraud").await;
    let look = ["status", "ml/fraud", "--timeout", "0s"];
    let going = cluster.serin(ADMIN, &look).await;
    assert!(
        going.code == Some(2) && going.out.contains("Progressing, step 1 of 2, 10.0 %"),
        "{going:?}"
    );
    cluster
        .serin(ADMIN, &["status", "ml/fraud", "--timeout", "1s"])
        .await
        .fails_with(2, "has not ended within 1s");
    cluster
        .serin(ADMIN, &["status", "ml/frod"])
        .await
        .fails_with(2, "there is no rollout");

    let wait = ["status", "ml/fraud", "--timeout", "60s"];
    let (said, ()) = tokio::join!(cluster.serin(ADMIN, &wait), async {
        let release = fraud.state.release.as_mut().unwrap();
        release.outcome = Some(Outcome::Succeeded);
        release.record(Timestamp::now(), "version 8 is live");
        fraud.write().await;
    });
    said.says("version 8 is live");

    // An edit that the controller has not read yet.
    let edited = rollout("fraud").replace("version: \"8\"", "version: \"9\"");
    cluster.control_plane.apply(&edited).await.unwrap();
    let stale = cluster.serin(ADMIN, &look).await;
    assert!(
        stale.code == Some(2) && stale.out.contains("has not read the latest edit"),
        "{stale:?}"
    );
    fraud.state.release.as_mut().unwrap().outcome = Some(Outcome::RolledBack);
    fraud.write().await;
    assert_eq!(cluster.serin(ADMIN, &look).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_while_one_watches() {
    let cluster = Cluster::start("cli-watch").await;
    cluster.define().await;
    let mut fraud = cluster.rollout("fraud").await;
    let mut watch = cluster.command(ADMIN, &cluster.program);
    watch
        .args(["watch", "ml/fraud"])
        .stdout(std::process::Stdio::piped());
    let mut child = watch.spawn().unwrap();
    let mut lines = {
        use tokio::io::AsyncBufReadExt as _;
        tokio::io::BufReader::new(child.stdout.take().unwrap()).lines()
    };
    let mut until = async |words: &str| {
        let found = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(words) {
                    return;
                }
            }
            panic!("watch ended before it said '{words}'");
        };
        let limit = Duration::from_secs(30);
        let found = tokio::time::timeout(limit, found).await;
        assert!(found.is_ok(), "watch did not say '{words}'");
    };
    until("Progressing").await;
    fraud.answer(pause("1")).await;
    until("Paused").await;
    fraud
        .api
        .delete("fraud", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(1), "it was deleted");
}
