//! Mixed load at a part of what the machine does, while new versions come: no request fails, and the server does not
//! grow. `make test` runs a short version, `make soak-serving` the long one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::json;
use serin_serving::tensor::Tensor;
use tch::CModule;
use tokio::time;

use crate::{
    kinds::{close, sent, tensors},
    models::kinds::{self, Sort, direct},
    reload::versions,
    server::{DEADLINE, Server},
    wire::{Caller, Way, plain},
};

/// How long it takes, when `$SOAK_SECONDS` does not say otherwise.
const SECONDS: u64 = 24;
const RELOADS: u32 = 20;
const CLIENTS: usize = 8;
/// The part of the machine's throughput that is asked for.
const LOAD: f64 = 0.7;
/// Of the time, when the memory is what it must not grow beyond: by then every model has been replaced.
const BEGIN: (f64, f64) = (0.3, 0.4);
/// When it is compared with that.
const END: (f64, f64) = (0.9, 1.0);
/// What the server may take on top in between. In a short run the allocator's arenas of new threads still fill.
const GROWTH: f64 = 1.02;
const GROWTH_SHORT: f64 = 1.05;
/// From when on a run is long.
const LONG: u64 = 180;

/// What is sent.
enum Sent {
    Tensors(Way, Vec<(&'static str, Tensor)>),
    /// A body of REST, with its headers.
    Raw(Vec<(&'static str, String)>, Vec<u8>),
}

/// A request, and its outputs or words of the refusal.
struct Question {
    model: &'static str,
    sent: Sent,
    wanted: Result<Vec<Tensor>, &'static str>,
}

/// What became of the requests of a client.
#[derive(Default)]
struct Tally {
    asked: u64,
    refused: u64,
    failed: u64,
    /// Some of those that failed, in words.
    failures: Vec<String>,
    worst: Duration,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.refused += other.refused;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.worst = self.worst.max(other.worst);
    }
}

impl Question {
    /// What is wrong with the answer.
    async fn ask(&self, caller: &Caller) -> Result<(), String> {
        let answer = match &self.sent {
            Sent::Tensors(way, inputs) => caller.ask(*way, self.model, inputs).await,
            Sent::Raw(headers, body) => {
                let answer = caller.post(self.model, headers, body.clone()).await;
                answer.map(|_| Vec::new())
            }
        };
        match (answer, &self.wanted) {
            (Ok(outputs), Ok(wanted)) => {
                let outputs = tensors(outputs);
                let mut both = outputs.iter().zip(wanted);
                let alike = outputs.len() == wanted.len() && both.all(|(it, to)| close(it, to));
                let wrong = || format!("{}: {outputs:?} in place of {wanted:?}", self.model);
                if alike { Ok(()) } else { Err(wrong()) }
            }
            (Err(refusal), Err(words)) if refusal.contains(words) => Ok(()),
            (answer, wanted) => Err(format!("{}: {answer:?} in place of {wanted:?}", self.model)),
        }
    }
}

/// What all clients ask, one after the other: every model in every way, and what is refused among it.
fn questions(sorts: &[(Sort, CModule)]) -> Vec<Question> {
    let mut questions = Vec::new();
    for call in 0..8 {
        for (way, (sort, module)) in Way::ALL
            .into_iter()
            .flat_map(|way| sorts.iter().map(move |it| (way, it)))
        {
            let inputs = (sort.request)(call, call % 4 + 1);
            let wanted = direct(module, &inputs);
            questions.push(Question {
                model: sort.name,
                wanted: Ok(wanted.iter().map(plain).collect()),
                sent: Sent::Tensors(way, sent(&inputs)),
            });
        }
        for (bad, way) in Way::ALL.into_iter().enumerate() {
            questions.push(refused((call as usize + bad) % 5, way));
        }
    }
    questions
}

/// One of five requests that are refused; the last throws.
fn refused(number: usize, way: Way) -> Question {
    let tensor =
        |values: &[i64], shape: Vec<i64>| plain(&tch::Tensor::from_slice(values).reshape(shape));
    let (model, sent, words) = match number {
        0 => (
            "words",
            Sent::Tensors(way, vec![("tokens", tensor(&[1; 5], vec![1, 5]))]),
            "but the model has [-1, 6]",
        ),
        1 => (
            "nothing",
            Sent::Tensors(way, vec![("tokens", tensor(&[1; 6], vec![1, 6]))]),
            "model 'nothing' is not found",
        ),
        2 => (
            "image",
            Sent::Raw(Vec::new(), br#"{"inputs": [{"name": "image"#.to_vec()),
            "400 Bad Request",
        ),
        3 => {
            let headers = vec![
                ("content-encoding", "gzip".to_owned()),
                ("inference-header-content-length", "77".to_owned()),
            ];
            (
                "several",
                Sent::Raw(headers, vec![7; 300]),
                "not valid gzip",
            )
        }
        _ => (
            "words",
            Sent::Tensors(way, vec![("tokens", tensor(&[50; 6], vec![1, 6]))]),
            "failed: index out of range in self",
        ),
    };
    Question {
        model,
        sent,
        wanted: Err(words),
    }
}

/// Asks until the end: at each `pace`, or as soon as there is an answer.
async fn client(
    caller: Caller,
    questions: Arc<[Question]>,
    first: usize,
    pace: Option<Duration>,
    end: Instant,
) -> Tally {
    let mut tally = Tally::default();
    // Not all of them at the same moment.
    let mut due = Instant::now() + pace.unwrap_or_default() * first as u32 / CLIENTS as u32;
    let start = first * questions.len() / CLIENTS;
    for question in questions.iter().cycle().skip(start) {
        if let Some(pace) = pace {
            time::sleep_until(due.into()).await;
            due += pace;
        }
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        let answer = question.ask(&caller).await;
        tally.worst = tally.worst.max(begun.elapsed());
        tally.asked += 1;
        tally.refused += u64::from(question.wanted.is_err());
        if let Err(failure) = answer {
            tally.failed += 1;
            if tally.failures.len() < 3 {
                tally.failures.push(failure);
            }
        }
    }
    tally
}

async fn clients(
    server: &Server,
    questions: &Arc<[Question]>,
    pace: Option<Duration>,
    span: Duration,
) -> Tally {
    let end = Instant::now() + span;
    let clients = (0..CLIENTS).map(|first| {
        let caller = Caller::of(server);
        tokio::spawn(client(caller, Arc::clone(questions), first, pace, end))
    });
    let mut tally = Tally::default();
    for found in join_all(clients.collect::<Vec<_>>()).await {
        tally.add(found.unwrap());
    }
    tally
}

/// New versions of all models in turn, each found by a reading of the repository or told by a signal.
async fn reload(server: &Server, sorts: &[(Sort, CModule)], dir: &std::path::Path, span: Duration) {
    let begun = Instant::now();
    for reload in 0..RELOADS {
        // The first after half of such a pause, and the last before another half.
        time::sleep_until((begun + span * (2 * reload + 1) / (2 * RELOADS)).into()).await;
        let (sort, _) = &sorts[reload as usize % sorts.len()];
        let version = u64::from(reload) / sorts.len() as u64 + 2;
        sort.publish(dir, version);
        if reload % 2 == 0 {
            server.process().signal("HUP");
        }
        let published = Instant::now();
        loop {
            let url = format!("{}/v2/models/{}", server.url, sort.name);
            let metadata = server.client.get(url).send().await.unwrap();
            if versions(&metadata.text().await.unwrap()) == json!([version.to_string()]) {
                break;
            }
            assert!(
                published.elapsed() < DEADLINE,
                "{} has no version {version}",
                sort.name
            );
            time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The memory while they are at it, and when.
async fn watch(server: &Server, span: Duration) -> Vec<(f64, u64)> {
    let begun = Instant::now();
    let mut found = Vec::new();
    while begun.elapsed() < span {
        let part = begun.elapsed().as_secs_f64() / span.as_secs_f64();
        found.push((part, server.resident()));
        time::sleep(Duration::from_millis(100)).await;
    }
    found
}

/// The median of what was found in this part of the time.
fn median(found: &[(f64, u64)], (from, to): (f64, f64)) -> u64 {
    let within = found.iter().filter(|(at, _)| (from..to).contains(at));
    let mut within: Vec<_> = within.map(|(_, bytes)| *bytes).collect();
    within.sort_unstable();
    within[within.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_load_while_versions_come_fails_no_request_and_does_not_fill_the_memory() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let span = Duration::from_secs(seconds);
    let dir = tempfile::tempdir().unwrap();
    let load = |sort: Sort| {
        let file = sort.add(dir.path(), "maxBatchSize: 8\nversions: {latest: 1}\n");
        (sort, CModule::load(file).unwrap())
    };
    let sorts: Vec<_> = kinds::all().into_iter().map(load).collect();
    let questions: Arc<[Question]> = questions(&sorts).into();
    let server = Server::start_with(dir.path(), &["--poll", "200ms"]);

    // What the machine does, clients included.
    let calibration = (span / 10).clamp(Duration::from_secs(3), Duration::from_secs(20));
    let most = clients(&server, &questions, None, calibration).await;
    assert_eq!(most.failed, 0, "{:#?}", most.failures);
    let most = most.asked as f64 / calibration.as_secs_f64();
    let pace = Duration::from_secs_f64(CLIENTS as f64 / (LOAD * most));

    let (tally, (), found) = tokio::join!(
        clients(&server, &questions, Some(pace), span),
        reload(&server, &sorts, dir.path(), span),
        watch(&server, span)
    );
    let (before, after) = (median(&found, BEGIN), median(&found, END));
    let growth = after as f64 / before as f64;
    let tenths = (0..10_u8).map(|it| (f64::from(it) / 10.0, f64::from(it + 1) / 10.0));
    let tenths: Vec<_> = tenths.map(|it| median(&found, it) >> 10).collect();
    println!("KiB in each tenth of the time: {tenths:?}");
    println!(
        "{} requests ({} refused) in {seconds} s at {:.0} of {most:.0} a second, the slowest {:?}; {RELOADS} reloads; \
         {} KiB became {} KiB: x {growth:.4}",
        tally.asked,
        tally.refused,
        tally.asked as f64 / span.as_secs_f64(),
        tally.worst,
        before >> 10,
        after >> 10
    );
    assert_eq!(tally.failed, 0, "{:#?}", tally.failures);
    assert!(tally.refused > 0);
    let most = if seconds < LONG { GROWTH_SHORT } else { GROWTH };
    assert!(growth < most, "{before} bytes became {after}");
}
