//! A request with its key in a header is decided without touching the heap.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what it found by a panic"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use serin_filter_core::pairs::Pairs;
use serin_filter_core::route::{Reason, decide};
use serin_filter_core::table::RoutingTable;

#[path = "support/proxied.rs"]
#[expect(dead_code, reason = "shared with the benchmark")]
mod proxied;

use proxied::{Proxied, compiled, configuration, inference, numbered};

/// Counts what the calling thread takes from the heap.
struct Counting;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    TAKEN.set(TAKEN.get() + 1);
}

#[expect(
    unsafe_code,
    reason = "the trait of an allocator is unsafe; all of it is passed on"
)]
// SAFETY: each call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of a piece of work, and what it gave.
fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = TAKEN.get();
    let result = work();
    (TAKEN.get() - before, result)
}

const HOST: &str = "model-#####.ml.svc.cluster.local";
const PATH: &str = "/v2/models/model-#####";

/// Every one of these rollouts, asked for at this host and path.
#[track_caller]
fn allocates_nothing(table: &RoutingTable, host: &str, path: &str) {
    let rollouts = table.rollouts().len();
    for number in (0..rollouts).step_by(rollouts.div_ceil(100)) {
        let bytes = inference(&numbered(host, number), &numbered(path, number));
        let (taken, decision) = allocations(|| decide(table, &Proxied(Pairs::new(&bytes))));
        let decision = decision.expect("the rollout is found");
        assert_eq!(
            (decision.rollout, decision.reason),
            (number, Reason::Weight)
        );
        assert_eq!(taken, 0, "at {host} {path}");
    }
}

#[test]
fn the_counter_counts() {
    let (taken, _) = allocations(|| Box::new(7));
    assert_eq!(taken, 1);
}

#[test]
fn one_rollout() {
    let table = compiled(&configuration(1, HOST, PATH));
    allocates_nothing(&table, HOST, "/v2/models/model-#####/infer");
}

#[test]
fn ten_thousand_rollouts_by_host_with_port_and_capitals() {
    let table = compiled(&configuration(10_000, HOST, "/v2"));
    allocates_nothing(&table, HOST, "/v2/models/model/infer");
    allocates_nothing(
        &table,
        "Model-#####.ML.svc.Cluster.Local:8080",
        "/v2/models/model/infer?x=1",
    );
}

#[test]
fn ten_thousand_rollouts_by_suffix() {
    let table = compiled(&configuration(10_000, "*.model-#####.ml.svc", "/v2"));
    allocates_nothing(&table, "EU.west.model-#####.ml.svc:80", "/v2");
}

#[test]
fn ten_thousand_rollouts_by_path() {
    let table = compiled(&configuration(10_000, "inference.ml", PATH));
    allocates_nothing(&table, "Inference.ml", "/v2/models/model-#####/infer");
}

#[test]
fn requests_of_nobody() {
    let table = compiled(&configuration(10_000, HOST, PATH));
    let path = numbered(PATH, 20_000);
    for host in [
        "other.ml",
        "OTHER.ml:80",
        "",
        &numbered(HOST, 20_000),
        &numbered(HOST, 7),
    ] {
        let bytes = inference(host, &path);
        let (taken, decision) = allocations(|| decide(&table, &Proxied(Pairs::new(&bytes))));
        assert_eq!((taken, decision), (0, None), "{host}");
    }
}
