mod claims;
mod counting;
mod deleting;
mod restart;
mod room;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use serin_filter_core::config::FilterConfig;
use serin_filter_core::split::BucketTable;

use super::*;
use crate::cluster::conditions;
use crate::cluster::names;
use crate::cluster::object::Owned;
use crate::cluster::resource::ModelRollout as Resource;
use crate::fixtures::{grid, in_mesh, source};
use crate::observation::Proxy;
use crate::prometheus::RolloutCounts;
use crate::rollout::{Action, Do, RolloutState, Stage, Writes};

fn settings(mode: Mode) -> Settings {
    Settings {
        mode,
        root_namespace: "istio-system".to_owned(),
        kind: Kind::WasmPlugin,
        module: Module {
            url: "oci://filter".to_owned(),
            ..Module::default()
        },
        grid: grid(),
        encoding: Encoding::Istio,
        max_releases: None,
        watched: Vec::new(),
    }
}

/// Another rollout, on a host of its own.
fn spam() -> String {
    in_mesh()
        .replace("name: fraud,", "name: spam,")
        .replace("[fraud.ml", "[spam.ml")
}

fn name_of(name: &str) -> RolloutName {
    RolloutName {
        namespace: "ml".to_owned(),
        name: name.to_owned(),
    }
}

/// A fleet and what the API server has; every write is taken unless the test says otherwise.
struct Bench {
    fleet: Fleet,
    now: Timestamp,
    version: u64,
    resources: BTreeMap<RolloutName, Resource>,
    objects: BTreeMap<ObjectId, Value>,
    /// Writes whose line in the log begins like this are refused.
    refusing: Option<(&'static str, Failure)>,
    /// What was tried, in order.
    log: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        Self::with(settings(Mode::Mesh))
    }

    fn with(settings: Settings) -> Self {
        Self {
            fleet: Fleet::new(settings),
            now: Timestamp::from_second(1_000).unwrap(),
            version: 0,
            resources: BTreeMap::new(),
            objects: BTreeMap::new(),
            refusing: None,
            log: Vec::new(),
        }
    }

    /// At its first step, with everything written.
    fn started() -> Self {
        let mut bench = Self::new();
        bench.apply(&in_mesh());
        bench.perform();
        bench.log.clear();
        bench
    }

    fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// Somebody applies a file.
    fn apply(&mut self, text: &str) {
        let rollout = source(text).rollout;
        let name = name_of(&rollout.metadata.name);
        let version = self.next_version();
        let mut resource = match self.resources.remove(&name) {
            Some(resource) => resource,
            None => serde_json::from_value(json!({
                "metadata": {"name": name.name, "namespace": "ml", "uid": name.name, "generation": 0},
            }))
            .unwrap(),
        };
        resource.spec = serde_json::to_value(&rollout.spec).unwrap();
        let metadata = &mut resource.metadata;
        metadata.generation = metadata.generation.map(|it| it + 1);
        metadata.resource_version = Some(version);
        self.resources.insert(name.clone(), resource);
        self.tell(&name);
    }

    /// Somebody changes a resource otherwise.
    fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Resource)) {
        let version = self.next_version();
        let name = name_of(name);
        let resource = self.resources.get_mut(&name).unwrap();
        edit(resource);
        resource.metadata.resource_version = Some(version);
        self.tell(&name);
    }

    /// The watch tells what a resource is.
    fn tell(&mut self, name: &RolloutName) {
        let resource = self.resources[name].clone();
        self.fleet.resource(&resource, self.now);
    }

    fn ask(&mut self, id: &str, what: Do) {
        let action = Action {
            id: id.to_owned(),
            what,
            by: "ann".to_owned(),
            why: String::new(),
            seen: None,
            weight: None,
        };
        let action = serde_json::to_string(&action).unwrap();
        self.edit("fraud", |resource| {
            let annotations = resource.metadata.annotations.get_or_insert_default();
            annotations.insert(names::ACTION.to_owned(), action);
        });
        self.fleet.answer(self.now);
    }

    fn delete(&mut self, name: &str) {
        let now = self.now;
        self.edit(name, |resource| {
            resource.metadata.deletion_timestamp = Some(Time(now));
        });
    }

    /// Somebody else edits the plugin's object.
    fn give_everybody_the_new_version(&mut self) -> ObjectId {
        let id = plugin::id(Kind::WasmPlugin, "istio-system");
        let mut config = self.config("istio-system").unwrap();
        config.rollouts[0].table = BucketTable::whole(1);
        let mut object = self.objects[&id].clone();
        object["spec"]["pluginConfig"] = json!(config);
        object["metadata"]["resourceVersion"] = json!(self.next_version());
        self.objects.insert(id.clone(), object.clone());
        self.fleet.object(id.clone(), Some(object));
        id
    }

    /// A tick in which every proxy reports this generation.
    fn tick(&mut self, generation: u64) {
        let proxy = Proxy {
            target: "a".to_owned(),
            namespace: Some("shop".to_owned()),
            up: true,
            generation: Some(generation),
            invalid: false,
        };
        let world = World::of([], Some(Ok(Arc::new(vec![proxy]))));
        self.fleet.tick(&world, self.now);
    }

    /// Another controller with nothing but what the server has.
    fn restart(&mut self) {
        self.fleet = Fleet::new(self.fleet.settings.clone());
        for (id, object) in &self.objects {
            self.fleet.object(id.clone(), Some(object.clone()));
        }
        self.fleet.expect_list();
        for resource in self.resources.values() {
            self.fleet.resource(resource, self.now);
        }
        self.fleet.all_told(self.now);
    }

    fn refused(&mut self, line: String) -> Result<(), Failure> {
        let refusing = self.refusing.clone();
        let refusing = refusing.filter(|(begin, _)| line.starts_with(begin));
        self.log.push(line);
        refusing.map_or(Ok(()), |(_, failure)| Err(failure))
    }

    fn statuses(&mut self, writes: Vec<StatusWrite>) {
        for write in writes {
            let became = self.refused(format!("status {}", write.name)).map(|()| {
                let version = self.next_version();
                let resource = self.resources.get_mut(&write.name).unwrap();
                assert_eq!(
                    resource.metadata.resource_version.as_ref(),
                    Some(&write.resource_version)
                );
                resource.status = Some(write.status.clone());
                resource.metadata.resource_version = Some(version.clone());
                version
            });
            self.fleet.status_written(&write, became, self.now);
        }
    }

    fn applied(&mut self, writes: Vec<ObjectWrite>) {
        for write in writes {
            let ObjectWrite {
                object: Owned { id, object },
                ..
            } = write;
            let became = self.refused(id.to_string()).map(|()| {
                let mut object = object;
                object["metadata"]["resourceVersion"] = json!(self.next_version());
                self.objects.insert(id.clone(), object.clone());
                object
            });
            self.fleet.object_written(&id, became, self.now);
        }
    }

    fn finalizers(&mut self, writes: Vec<(RolloutName, String)>, wanted: bool) {
        for (name, _) in writes {
            let line = format!("finalizer {name} {wanted}");
            let became = self.refused(line).map(|()| {
                let version = self.next_version();
                let metadata = &mut self.resources.get_mut(&name).unwrap().metadata;
                metadata.finalizers = wanted.then(|| vec![names::FINALIZER.to_owned()]);
                metadata.resource_version = Some(version.clone());
                (version, wanted)
            });
            self.fleet.finalizer_written(&name, became, self.now);
        }
    }

    /// Every write that is due, in the order of `perform.rs`.
    fn perform(&mut self) -> &[String] {
        self.log.clear();
        let now = self.now;
        if self.fleet.show_descents() {
            self.plugins();
        }
        let added = self.fleet.finalizers_to_add(now);
        self.finalizers(added, true);
        let first = self.fleet.statuses_first(now);
        self.statuses(first);
        for _ in 0..3 {
            let (rules, routes): (Vec<_>, Vec<_>) = self
                .fleet
                .route_writes(now)
                .into_iter()
                .partition(|it| it.object.id.kind == Kind::DestinationRule);
            self.applied(rules);
            self.applied(routes);
        }
        self.plugins();
        let after = self.fleet.statuses_after(now);
        self.statuses(after);
        let removed = self.fleet.finalizers_to_remove(now);
        self.finalizers(removed, false);
        self.overlooks_nothing();
        &self.log
    }

    fn plugins(&mut self) {
        let now = self.now;
        for (id, _) in self.fleet.plugins_to_delete(now) {
            let became = self.refused(format!("delete {id}")).map(|()| {
                self.objects.remove(&id);
            });
            self.fleet.object_deleted(&id, became, now);
        }
        let writes = self.fleet.plugin_writes(now);
        self.applied(writes);
    }

    /// What is kept up to date change by change is what a look at everything would find.
    fn overlooks_nothing(&self) {
        let found = |mut fleet: Fleet| {
            let routes = fleet.route_writes(Timestamp::MAX);
            let plugins = fleet.plugin_writes(Timestamp::MAX);
            let all = routes.into_iter().chain(plugins);
            all.map(|write| (write.object, write.resource_version))
                .collect::<Vec<_>>()
        };
        let mut anew = self.fleet.clone();
        anew.look_at_everything();
        assert_eq!(found(self.fleet.clone()), found(anew));
    }

    /// Where a line begins like this in the log.
    #[track_caller]
    fn place(&self, begin: &str) -> usize {
        let found = self.log.iter().position(|line| line.starts_with(begin));
        found.unwrap_or_else(|| panic!("no {begin} in {:?}", self.log))
    }

    fn managed(&self) -> &Managed {
        let entry = self.fleet.rollouts.get(&name_of("fraud")).unwrap();
        entry.managed.as_ref().unwrap()
    }

    fn state(&self) -> &RolloutState {
        &self.managed().state
    }

    fn problems(&self, name: &str) -> String {
        let entry = self.fleet.rollouts.get(&name_of(name)).unwrap();
        entry.problems.join("\n")
    }

    /// Reason of the condition `Ready` on the server.
    fn why_not(&self, name: &str) -> &str {
        let status = self.resources[&name_of(name)].status.as_ref().unwrap();
        let ready = status.conditions.iter().find(|it| it.kind == "Ready");
        &ready.unwrap().reason
    }

    /// The plugin config that the proxies of a namespace get.
    fn config(&self, namespace: &str) -> Option<FilterConfig> {
        plugin::config_in(self.objects.get(&plugin::id(Kind::WasmPlugin, namespace))?)
    }

    fn sections(&self) -> BTreeSet<String> {
        let config = self.config("istio-system");
        let rollouts = config.into_iter().flat_map(|config| config.rollouts);
        rollouts.map(|section| section.name).collect()
    }

    /// Share of the buckets that the proxies give to the new version.
    fn weight(&self) -> u16 {
        let config = self.config("istio-system").unwrap();
        let section = config.rollouts.iter().find(|it| it.name == "ml/fraud");
        section.map_or(0, |section| section.table.share(1))
    }

    fn routes(&self) -> &Value {
        let mut objects = self.objects.iter();
        let found = objects.find(|(id, _)| id.kind == Kind::VirtualService);
        found.unwrap().1
    }
}
