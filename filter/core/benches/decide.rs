//! What a decision costs at one rollout and at 10 000, and what it costs to get these. `make bench-decide` runs it and
//! leaves `target/bench/decide.json`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails by a panic and prints a table"
)]

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use serde_json::{Value, json};
use serin_filter_core::config::FilterConfig;
use serin_filter_core::pairs::Pairs;
use serin_filter_core::route::decide;
use serin_filter_core::table::RoutingTable;

#[path = "../tests/support/proxied.rs"]
mod proxied;

use proxied::{DIGITS, NUMBER, Proxied, compiled, configuration, inference, numbered};

const MANY: usize = 10_000;
const GROUP: &str = "decide";
const HOST: &str = "model-#####.ml.svc.cluster.local";
const OTHER: &str = "inference.ml.svc.cluster.local";
const PATH: &str = "/v2/models/model-#####";
/// A segment of eight bytes, which a hash by words of eight bytes can take badly.
const SHORT: &str = "/v2/models/mod#####";
const SUFFIX: &str = "/infer";

/// The rows, in order: the first is what the others are compared with.
const ONE: &str = "1 rollout";
const SAME_HOST: &str = "10 000 rollouts by host, one request";
const ALL_HOSTS: &str = "10 000 rollouts by host, requests for all of them";
const SAME_PATH: &str = "10 000 rollouts by path, one request";
const ALL_PATHS: &str = "10 000 rollouts by path, requests for all of them";
const NOBODY: &str = "10 000 rollouts, a request of nobody";
const LOAD: &str = "10 000 rollouts parsed and compiled";

/// A request whose model can be changed in place: what the proxy hands over was written a moment ago, so that it must
/// not be cold in the cache while the table may well be.
struct Changing {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Changing {
    fn new(host: &str, path: &str) -> Self {
        let bytes = inference(host, path);
        let windows = bytes.windows(DIGITS).enumerate();
        let places = windows.filter(|(_, window)| *window == NUMBER.as_bytes());
        let places = places.map(|(at, _)| at).collect();
        Self { bytes, places }
    }

    fn turn_to(&mut self, digits: &[u8; DIGITS]) -> Proxied<'_> {
        for &place in &self.places {
            self.bytes[place..place + DIGITS].copy_from_slice(digits);
        }
        Proxied(Pairs::new(&self.bytes))
    }
}

fn digits(number: usize) -> [u8; DIGITS] {
    numbered(NUMBER, number).into_bytes().try_into().unwrap()
}

/// Decides requests for these models in turn.
fn walk(
    criterion: &mut Criterion,
    name: &str,
    table: &RoutingTable,
    (host, path): (&str, &str),
    models: &[usize],
) {
    let mut request = Changing::new(host, &format!("{path}{SUFFIX}"));
    let models: Vec<_> = models.iter().map(|&model| digits(model)).collect();
    let mut turn = models.iter().cycle();
    let found = decide(table, &request.turn_to(&models[0])).is_some();
    assert_eq!(found, name != NOBODY, "{name}");
    criterion
        .benchmark_group(GROUP)
        .bench_function(name, |bencher| {
            bencher.iter(|| {
                let model = turn.next().unwrap_or(&models[0]);
                decide(table, black_box(&request.turn_to(model)))
            });
        });
}

/// All models, in an order that the cache cannot foresee: 7919 is prime to their number.
fn scattered() -> Vec<usize> {
    (0..MANY).map(|turn| turn * 7_919 % MANY).collect()
}

fn measure(criterion: &mut Criterion) {
    let one = compiled(&configuration(1, HOST, PATH));
    walk(criterion, ONE, &one, (HOST, PATH), &[0]);

    let json = configuration(MANY, HOST, PATH);
    let by_host = compiled(&json);
    walk(criterion, SAME_HOST, &by_host, (HOST, PATH), &[0]);
    walk(criterion, ALL_HOSTS, &by_host, (HOST, PATH), &scattered());
    walk(criterion, NOBODY, &by_host, (OTHER, PATH), &[0]);

    let by_path = compiled(&configuration(MANY, OTHER, SHORT));
    walk(criterion, SAME_PATH, &by_path, (OTHER, SHORT), &[0]);
    walk(criterion, ALL_PATHS, &by_path, (OTHER, SHORT), &scattered());

    let mut group = criterion.benchmark_group(GROUP);
    group.sample_size(20);
    group.bench_function(LOAD, |bencher| {
        bencher.iter_batched(
            || json.as_slice(),
            |json| RoutingTable::new(FilterConfig::parse(json).unwrap()).unwrap(),
            BatchSize::PerIteration,
        );
    });
}

/// Where criterion leaves the median of a row, in nanoseconds: it names folders after the row.
fn median(folder: &Path, row: &str) -> Option<f64> {
    let group = folder.join(GROUP);
    let rows = fs::read_dir(group).ok()?.filter_map(Result::ok);
    let read =
        |path: PathBuf| -> Option<Value> { serde_json::from_slice(&fs::read(path).ok()?).ok() };
    let mut news = rows.map(|entry| entry.path().join("new"));
    let new = news
        .find(|new| read(new.join("benchmark.json")).is_some_and(|it| it["function_id"] == row))?;
    read(new.join("estimates.json"))?["median"]["point_estimate"].as_f64()
}

/// The rows that were measured, as all benches leave them, and as a table.
fn report(folder: &Path) -> Value {
    let first = median(folder, ONE);
    let mut rows = Vec::new();
    for name in [ONE, SAME_HOST, ALL_HOSTS, SAME_PATH, ALL_PATHS, NOBODY] {
        if let (Some(value), Some(first)) = (median(folder, name), first) {
            println!("{name:<52} {value:>8.1} ns  {:>5.2} x", value / first);
            rows.push(
                json!({"name": name, "value": value, "unit": "ns/request", "ratio": value / first}),
            );
        }
    }
    if let Some(value) = median(folder, LOAD).map(|nanoseconds| nanoseconds / 1e6) {
        println!("{LOAD:<52} {value:>8.1} ms");
        rows.push(json!({"name": LOAD, "value": value, "unit": "ms", "ratio": null}));
    }
    json!({"rows": rows})
}

fn main() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    let folder = target.join("criterion");
    let mut criterion = Criterion::default()
        .without_plots()
        .output_directory(&folder)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    measure(&mut criterion);
    criterion.final_summary();
    // As a test each row runs once and measures nothing.
    if std::env::args().any(|argument| argument == "--bench") {
        let report = serde_json::to_vec_pretty(&report(&folder)).unwrap();
        fs::write(target.join("decide.json"), report).unwrap();
    }
}
