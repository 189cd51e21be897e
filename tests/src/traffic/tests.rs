use super::*;
use crate::upstream::{Behaviour, Upstream};

fn call(user: u64) -> Call {
    Call {
        user,
        host: HeaderValue::from_static("fraud.ml"),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
    }
}

#[tokio::test]
async fn a_closed_loop_sends_every_call_once() {
    let upstream = Upstream::start("7").await.unwrap();
    let traffic = Traffic::start(Plan::closed(upstream.address(), 8), (0..500).map(call)).unwrap();
    let tally = traffic.finish().await.unwrap();
    assert_eq!(tally.assignment().unwrap().len(), 500);
    assert_eq!(tally.version("7").requests, 500);
    assert_eq!(
        (tally.total().bad, tally.late, upstream.requests()),
        (0, 0, 500)
    );
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate_when_answers_are_slow() {
    let upstream = Upstream::start("7").await.unwrap();
    upstream.set(Behaviour {
        delay: Duration::from_millis(100),
        ..Behaviour::default()
    });
    let start = Instant::now();
    let plan = Plan::open(upstream.address(), 200.0);
    let tally = Traffic::start(plan, (0..200).map(call))
        .unwrap()
        .finish()
        .await
        .unwrap();
    let took = start.elapsed().as_secs_f64();
    // 64 connections that waited for their answers would be done in 0.4 s. No upper bound: a busy machine may take
    // what it likes.
    let slots = (tally.total().requests + tally.late) as f64;
    assert!(
        took / (slots / 200.0) >= 0.9,
        "{took} s, {} late",
        tally.late
    );
}

#[tokio::test]
async fn a_schedule_that_cannot_be_kept_is_told_not_caught_up() {
    let upstream = Upstream::start("7").await.unwrap();
    upstream.set(Behaviour {
        delay: Duration::from_millis(200),
        ..Behaviour::default()
    });
    let plan = Plan {
        connections: 2,
        ..Plan::open(upstream.address(), 100.0)
    };
    let tally = Traffic::start(plan, (0..8).map(call))
        .unwrap()
        .finish()
        .await
        .unwrap();
    // Two connections answer ten requests a second of the hundred.
    assert_eq!(tally.total().requests, 8);
    assert!(tally.late > 20, "{}", tally.late);
}

#[tokio::test]
async fn stopped_traffic_says_what_was_sent_and_a_broken_answer_says_why() {
    let upstream = Upstream::start("7").await.unwrap();
    upstream.set(Behaviour {
        reset: true,
        ..Behaviour::default()
    });
    let traffic = Traffic::start(Plan::open(upstream.address(), 100.0), (0..).map(call)).unwrap();
    crate::wait::until_true(Duration::from_secs(10), "three resets", async || {
        traffic.look(|tally| tally.total().bad >= 3)
    })
    .await
    .unwrap();
    let tally = traffic.stop().await.unwrap();
    assert_eq!(tally.total().bad, tally.total().requests);
    assert!(
        tally
            .broken
            .keys()
            .all(|why| why.contains("failed to get an answer")),
        "{:?}",
        tally.broken
    );
}

#[tokio::test]
async fn each_request_is_told_when_it_is_over_and_the_tally_counts_the_same() {
    let upstream = Upstream::start("7").await.unwrap();
    let (told, hear) = std::sync::mpsc::channel();
    let plan = Plan::closed(upstream.address(), 4);
    let before = Instant::now();
    let traffic = Traffic::start_watched(plan, (0..100).map(call), move |visit| {
        told.send(visit).unwrap();
    });
    let tally = traffic.unwrap().finish().await.unwrap();
    let visits: Vec<Visit> = hear.try_iter().collect();
    assert_eq!(visits.len() as u64, tally.total().requests);
    let mut users: Vec<u64> = visits.iter().map(|visit| visit.user).collect();
    users.sort_unstable();
    assert_eq!(users, (0..100).collect::<Vec<_>>());
    for visit in visits {
        assert_eq!(visit.version(), Some("7"));
        assert!(before <= visit.sent && visit.sent + visit.took <= Instant::now());
    }
}
