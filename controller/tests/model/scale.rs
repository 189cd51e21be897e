//! How long a real [`Fleet`] takes with 10 000 rollouts, and how much memory: `cargo test --workspace --test model --
//! --ignored --nocapture ten_thousand`. Nothing here can fail by being slow; the numbers are for people. The whole
//! controller, with a real API server, is measured by `make bench-controller`.
//!
//! What a first process has made of the server is read by a second one, whose memory holds nothing else.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, read_to_string};
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use serin_controller::cells::Grid;
use serin_controller::cluster::fleet::{Failure, Fleet, Mode, Settings};
use serin_controller::cluster::names;
use serin_controller::cluster::object::{Kind, ObjectId};
use serin_controller::cluster::plugin::Module;
use serin_controller::cluster::resource::ModelRollout;
use serin_controller::driver::{Managed, World};
use serin_controller::observation::Proxy;
use serin_controller::source::parse;
use serin_filter_core::stat::Encoding;

use super::controller::{Wire, perform};
use super::prometheus::rows;
use super::server::{Answer, Write};

/// Rollouts.
const ALL: usize = 10_000;
/// Those whose release is in progress.
const PROGRESSING: usize = 1_000;
/// Namespaces with a plugin object.
const NAMESPACES: usize = 20;
/// Proxies.
const PROXIES: usize = 2_000;
/// Length of a cell in seconds.
const CELL: i64 = 10;

/// Where the second process finds what the server has.
const FILE: &str = "SERIN_SCALE";

/// An API server that takes everything, and how long its own work took.
#[derive(Default)]
struct Store {
    /// Whether it remembers nothing.
    blank: bool,
    /// As JSON, so that it weighs as little as can be beside what is measured.
    resources: BTreeMap<String, String>,
    objects: BTreeMap<ObjectId, String>,
    version: u64,
    writes: usize,
    spent: Duration,
}

impl Store {
    fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    fn resource(&self, name: &str) -> ModelRollout {
        serde_json::from_str(&self.resources[name]).unwrap()
    }

    fn edit(&mut self, name: &str, edit: impl FnOnce(&mut ModelRollout)) -> ModelRollout {
        let mut resource = self.resource(name);
        edit(&mut resource);
        resource.metadata.resource_version = Some(self.next_version());
        let text = serde_json::to_string(&resource).unwrap();
        self.resources.insert(name.to_owned(), text);
        resource
    }

    fn take(&mut self, write: Write) -> Answer {
        self.writes += 1;
        let mut object = None;
        match write {
            Write::Status(_) | Write::Finalizer(..) if self.blank => self.version += 1,
            Write::Status(write) => {
                self.edit(&write.name.to_string(), |it| it.status = Some(write.status));
            }
            Write::Finalizer(name, _, wanted) => {
                self.edit(&name.to_string(), |resource| {
                    resource.metadata.finalizers =
                        wanted.then(|| vec![names::FINALIZER.to_owned()]);
                });
            }
            Write::Object(write) => {
                let mut next = write.object.object;
                next["metadata"]["resourceVersion"] = json!(self.next_version());
                if !self.blank {
                    self.objects.insert(write.object.id, next.to_string());
                }
                object = Some(next);
            }
            Write::Delete(id, _) => {
                self.objects.remove(&id);
            }
        }
        Answer {
            version: self.version,
            object,
        }
    }
}

impl Wire for Store {
    fn send(&mut self, write: Write) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let answer = self.take(write);
        self.spent += begun.elapsed();
        Ok(answer)
    }

    fn is_dead(&self) -> bool {
        false
    }

    fn hold_statuses(&mut self, _: bool) {}
}

fn settings() -> Settings {
    let cell = Duration::from_secs(CELL.unsigned_abs());
    Settings {
        mode: Mode::Namespaces,
        root_namespace: "istio-system".to_owned(),
        kind: Kind::WasmPlugin,
        module: Module {
            url: "oci://filter".to_owned(),
            ..Module::default()
        },
        grid: Grid::new(cell, Duration::ZERO).unwrap(),
        encoding: Encoding::Istio,
        max_releases: None,
        watched: Vec::new(),
    }
}

fn spec() -> Value {
    let source = parse("scale.yaml", include_str!("scale.yaml")).unwrap();
    serde_json::to_value(&source.rollout.spec).unwrap()
}

fn name(number: usize) -> String {
    format!("ml-{:02}/model-{number:05}", number % NAMESPACES)
}

fn resource(number: usize, spec: &Value) -> ModelRollout {
    let namespace = format!("ml-{:02}", number % NAMESPACES);
    let plain = format!("model-{number:05}");
    let mut spec = spec.clone();
    spec["match"]["hosts"] = json!([format!("{plain}.{namespace}.svc.cluster.local")]);
    spec["scope"] = json!([format!("web-{:02}", number % NAMESPACES)]);
    spec["assignment"]["salt"] = json!(plain);
    let resource = json!({
        "metadata": {"name": plain, "namespace": namespace, "uid": plain, "generation": 1},
        "spec": spec
    });
    serde_json::from_value(resource).unwrap()
}

/// A cell in which every release in progress has healthy traffic.
fn world(index: i64, generation: u64) -> World {
    let found: Vec<_> = (0..PROGRESSING)
        .map(name)
        .flat_map(|rollout| [("8", 160), ("7", 1_440)].map(|it| (rollout.clone(), it)))
        .flat_map(|(rollout, (version, total))| rows(&rollout, version, total, 0))
        .collect();
    let proxy = |number: usize| Proxy {
        target: format!("10.0.{}.{}:15020", number / 250, number % 250),
        namespace: Some(format!("web-{:02}", number % NAMESPACES)),
        up: true,
        generation: Some(generation),
        invalid: false,
    };
    let proxies = (0..PROXIES).map(proxy).collect();
    World::of(
        [(index, found.iter().collect())],
        Some(Ok(Arc::new(proxies))),
    )
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let text = read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// What a round of writes takes beside the server's own time, and how many writes there are.
fn round(fleet: &mut Fleet, store: &mut Store, now: Timestamp) -> (Duration, usize) {
    (store.spent, store.writes) = (Duration::ZERO, 0);
    let begun = Instant::now();
    perform(fleet, store, now, false);
    (begun.elapsed() - store.spent, store.writes)
}

/// Rounds until nothing is left to be written.
fn write_all(fleet: &mut Fleet, store: &mut Store, now: Timestamp) {
    let rounds = std::iter::repeat_with(|| round(fleet, store, now));
    let rounds: Vec<_> = rounds.take_while(|(_, writes)| *writes > 0).collect();
    let longest = rounds.iter().map(|(took, _)| *took).max();
    let writes: usize = rounds.iter().map(|(_, writes)| writes).sum();
    let count = rounds.len();
    eprintln!("{writes} writes in {count} rounds, the longest {longest:.2?}");
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A server with all rollouts begun, and all but a few ended again.
fn server() -> Store {
    let (mut fleet, mut store, spec) = (Fleet::new(settings()), Store::default(), spec());
    let begun = Instant::now();
    for number in 0..ALL {
        let resource = resource(number, &spec);
        let text = serde_json::to_string(&resource).unwrap();
        store.resources.insert(name(number), text);
        let resource = store.edit(&name(number), |_| {});
        fleet.resource(&resource, at(0));
    }
    eprintln!("all begin at once: {:.2?}", begun.elapsed());
    write_all(&mut fleet, &mut store, at(0));
    let abort = json!({"id": "1", "do": "abort", "by": "ann", "why": "scale"}).to_string();
    for number in PROGRESSING..ALL {
        let annotations = BTreeMap::from([(names::ACTION.to_owned(), abort.clone())]);
        let resource = store.edit(&name(number), |resource| {
            resource.metadata.annotations = Some(annotations);
        });
        fleet.resource(&resource, at(1));
    }
    let begun = Instant::now();
    fleet.answer(at(1));
    eprintln!("9 000 abort: {:.2?}", begun.elapsed());
    write_all(&mut fleet, &mut store, at(1));
    store
}

const KINDS: [Kind; 3] = [
    Kind::DestinationRule,
    Kind::VirtualService,
    Kind::WasmPlugin,
];

/// A line for each object and resource, in the order in which a controller reads them.
fn save(store: &Store, file: File) {
    let mut file = BufWriter::new(file);
    for (id, text) in &store.objects {
        let kind = KINDS.iter().position(|it| *it == id.kind).unwrap();
        writeln!(file, "{kind} {} {} {text}", id.namespace, id.name).unwrap();
    }
    for text in store.resources.values() {
        writeln!(file, "{text}").unwrap();
    }
    file.flush().unwrap();
}

/// Takes a line in, and says how long that took beside reading it.
fn take_in(fleet: &mut Fleet, line: &str) -> Duration {
    if line.starts_with('{') {
        let resource: ModelRollout = serde_json::from_str(line).unwrap();
        let begun = Instant::now();
        fleet.resource(&resource, at(2));
        return begun.elapsed();
    }
    let parts: Vec<_> = line.splitn(4, ' ').collect();
    let id = ObjectId {
        kind: KINDS[parts[0].parse::<usize>().unwrap()],
        namespace: parts[1].to_owned(),
        name: parts[2].to_owned(),
    };
    let object: Value = serde_json::from_str(parts[3]).unwrap();
    let begun = Instant::now();
    fleet.object(id, Some(object));
    begun.elapsed()
}

#[test]
#[ignore = "a measurement"]
fn ten_thousand() {
    if let Some(file) = std::env::var_os(FILE) {
        measure(File::open(file).unwrap());
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    save(&server(), file.reopen().unwrap());
    let mut second = Command::new(std::env::current_exe().unwrap());
    second.args(["--ignored", "--nocapture", "ten_thousand"]);
    assert!(second.env(FILE, file.path()).status().unwrap().success());
}

fn measure(file: File) {
    let before = resident();
    let mut fleet = Fleet::new(settings());
    let mut store = Store {
        blank: true,
        version: 1_000_000,
        ..Store::default()
    };
    let mut taken = Duration::ZERO;
    for line in BufReader::new(file).lines() {
        taken += take_in(&mut fleet, &line.unwrap());
    }
    eprintln!("taken in: {taken:.2?}");
    eprintln!("first round: {:.2?}", round(&mut fleet, &mut store, at(2)));
    let mib = |bytes: u64| bytes / (1 << 20);
    eprintln!(
        "resident: {} MiB more",
        mib(resident().saturating_sub(before))
    );
    for _ in 0..3 {
        eprintln!("idle round: {:.2?}", round(&mut fleet, &mut store, at(2)));
    }
    let begun = Instant::now();
    let names = fleet.take_changed();
    let known = names.iter().filter_map(|name| fleet.look_up(name)?.managed);
    let statuses: Vec<_> = known.map(Managed::status).collect();
    eprintln!(
        "{} statuses for people: {:.2?}",
        statuses.len(),
        begun.elapsed()
    );
    drop(statuses);
    for index in 0..14 {
        let now = at((index + 1) * CELL);
        let generation = fleet.generation();
        let asks: HashMap<_, usize> = fleet.asks().iter().fold(HashMap::new(), |mut sum, ask| {
            *sum.entry(ask.next_cell).or_default() += 1;
            sum
        });
        let world = world(index, generation);
        let begun = Instant::now();
        fleet.tick(&world, now);
        let ticked = begun.elapsed();
        let (written, writes) = round(&mut fleet, &mut store, now);
        let idle = round(&mut fleet, &mut store, now);
        eprintln!(
            "tick {ticked:.2?}, {writes} writes in {written:.2?}, then an idle round {idle:.2?}; next cells {asks:?}"
        );
    }
    eprintln!(
        "resident: {} MiB more",
        mib(resident().saturating_sub(before))
    );
}
