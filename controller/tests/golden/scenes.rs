//! One scene for each strategy and outcome.

use serin_controller::rollout::{Do, Phase, Ready, Stage as At};

use super::files::{BLUE_GREEN, CANARY, LINEAR, MANUAL, ROLLING, SHADOW, ab_test, rollout};
use super::stage::{Stage, window};
use super::traffic::{Quality, Traffic, errors};

/// Name of the trace, and how it comes about.
pub(crate) type Scene = (&'static str, fn() -> String);

pub(crate) const ALL: &[Scene] = &[
    ("canary-promoted", canary_promoted),
    ("canary-rolled-back-by-comparison", canary_comparison),
    ("canary-rolled-back-in-soak", canary_soak),
    ("canary-rolled-back-by-guard", canary_guard),
    ("canary-rolled-back-by-fuse", canary_fuse),
    ("canary-held-on-fail", canary_held),
    ("canary-deadline-hold", canary_deadline),
    ("canary-wrong-route", canary_wrong_route),
    ("canary-no-data", canary_no_data),
    ("canary-set-weight", canary_set_weight),
    ("canary-retry", canary_retry),
    ("canary-rollback-window", rollback_window),
    ("linear-promoted", linear_promoted),
    ("linear-rolled-back", linear_rolled_back),
    ("blue-green-promoted", blue_green_promoted),
    ("blue-green-rolled-back-in-soak", blue_green_rolled_back),
    ("rolling-promoted", rolling_promoted),
    ("rolling-rolled-back", rolling_rolled_back),
    ("ab-test-winner", ab_winner),
    ("ab-test-no-difference", ab_no_difference),
    ("ab-test-time-over", ab_time_over),
    ("ab-test-one-out", ab_one_out),
    ("shadow-concluded", shadow_concluded),
    ("shadow-rolled-back", shadow_rolled_back),
    ("manual-promoted", manual_promoted),
    ("manual-rolled-back", manual_rolled_back),
    ("metrics-latency-fails", latency_fails),
    ("metrics-custom", custom_metric),
];

const REQUESTS: u64 = 4000;

fn healthy() -> [Quality; 3] {
    [errors(0.005); 3]
}

fn stage(strategy: &str, analysis: &str, more: &str) -> Stage {
    Stage::new(
        &rollout(strategy, analysis, more),
        Traffic::new(REQUESTS, &healthy()),
    )
}

fn at(at: At) -> impl Fn(&Stage) -> bool {
    move |stage| stage.release().stage == at
}

fn canary_promoted() -> String {
    let mut it = stage(CANARY, "", "");
    it.until(Phase::Succeeded).ticks(2);
    it.into_text()
}

fn canary_comparison() -> String {
    let mut it = stage(CANARY, "", "");
    it.until_that(at(At::Step(1)))
        .quality("canary errors rise to 2 %", &[errors(0.005), errors(0.02)])
        .until(Phase::RolledBack)
        .ticks(2);
    it.into_text()
}

fn canary_soak() -> String {
    let mut it = stage(&CANARY.replace("30s", "1h"), "", "");
    it.until_that(at(At::Soak))
        .ticks(5)
        .quality("canary errors rise to 3 %", &[errors(0.005), errors(0.03)])
        .until(Phase::RolledBack)
        .ticks(2);
    it.into_text()
}

fn canary_guard() -> String {
    let guards = "    guards: [{name: outage, errorRate: {above: 50%}}]\n";
    let mut it = stage(CANARY, guards, "");
    it.ticks(3)
        .quality("the canary dies", &[errors(0.005), errors(1.0)]);
    it.guard = Some(window(300, 400));
    it.tick().ticks(6);
    it.into_text()
}

fn canary_fuse() -> String {
    let mut it = stage(CANARY, "", "");
    let dead = Quality {
        errors: 1.0,
        fused: 0.9975,
        trips: true,
        ..Quality::default()
    };
    let alone = Quality {
        fused: 1.0,
        ..Quality::default()
    };
    it.ticks(4);
    for _ in 0..3 {
        it.quality("the fuse opens", &[errors(0.005), dead]).tick();
        it.quality("the fuse is open", &[errors(0.005), alone])
            .ticks(14);
    }
    it.into_text()
}

fn canary_held() -> String {
    let mut it = stage(CANARY, "    onFail: hold\n", "");
    it.ticks(4)
        .quality("canary errors rise to 3 %", &[errors(0.005), errors(0.03)])
        .until(Phase::Paused)
        .ticks(3)
        .ask(Do::Resume, None)
        .ticks(3)
        .ask(Do::Abort, None);
    it.into_text()
}

fn canary_deadline() -> String {
    let strategy = format!("{CANARY}      deadline: {{after: 1m, then: hold}}\n");
    let text = rollout(&strategy, "", "");
    let mut it = Stage::new(&text, Traffic::new(100, &healthy()));
    it.until(Phase::Paused)
        .ticks(3)
        .ask(Do::Promote, None)
        .ticks(3);
    it.into_text()
}

fn canary_wrong_route() -> String {
    let mut it = stage(CANARY, "", "");
    let astray = Quality {
        misrouted: true,
        ..errors(0.005)
    };
    it.quality(
        "requests of the canary reach stable",
        &[errors(0.005), astray],
    )
    .ticks(40)
    .quality("the route is put right", &healthy())
    .until_that(at(At::Step(1)));
    it.into_text()
}

fn canary_no_data() -> String {
    let mut it = stage(CANARY, "", "");
    it.ticks(3).say("Prometheus goes down");
    it.down = Some("connection refused");
    it.ticks(20)
        .say("and comes back; the proxy takes no config");
    it.down = None;
    it.stuck = true;
    it.generation_given()
        .ticks(8)
        .say("the proxy does; there are no requests");
    it.stuck = false;
    it.traffic.requests = 0;
    it.ticks(20).say("and requests again");
    it.traffic.requests = REQUESTS;
    it.until_that(at(At::Soak));
    it.into_text()
}

fn canary_set_weight() -> String {
    let mut it = stage(CANARY, "", "");
    it.ticks(3)
        .ask(Do::SetWeight, Some(40.0))
        .ticks(30)
        .ask(Do::Resume, None)
        .until_that(at(At::Step(1)))
        .ask(Do::PromoteFull, None)
        .ticks(3)
        .ask(Do::Skip, None)
        .until(Phase::Succeeded);
    it.into_text()
}

fn canary_retry() -> String {
    let mut it = stage(CANARY, "", "");
    it.ticks(4)
        .quality("canary errors rise to 3 %", &[errors(0.005), errors(0.03)])
        .until(Phase::RolledBack)
        .quality("the canary is well again", &healthy())
        .ticks(3)
        .ask(Do::Retry, None)
        .until_that(at(At::Step(1)));
    it.into_text()
}

fn rollback_window() -> String {
    let window = "  rollbackWindow: 1h\n";
    let mut it = stage(CANARY, "", window);
    it.until(Phase::Succeeded).ticks(5);
    // The two versions change places.
    let back = rollout(CANARY, "", window);
    let [stable, canary] =
        ["7", "8"].map(|it| format!("version: \"{it}\", route: {{cluster: fraud-v{it}}}"));
    let back = back
        .replace(&stable, "?")
        .replace(&canary, &stable)
        .replace('?', &canary);
    it.edit("version 7 is wanted again", &back)
        .until(Phase::Succeeded);
    it.into_text()
}

fn linear_promoted() -> String {
    let mut it = stage(LINEAR, "", "");
    it.until(Phase::Succeeded);
    it.into_text()
}

fn linear_rolled_back() -> String {
    let mut it = stage(LINEAR, "", "");
    it.until_that(at(At::Step(1)))
        .quality("canary errors rise to 3 %", &[errors(0.005), errors(0.03)])
        .until(Phase::RolledBack);
    it.into_text()
}

fn blue_green_promoted() -> String {
    let mut it = stage(BLUE_GREEN, "", "");
    it.until(Phase::Paused)
        .ticks(5)
        .ask(Do::Promote, None)
        .until(Phase::Succeeded);
    it.into_text()
}

fn blue_green_rolled_back() -> String {
    let mut it = stage(BLUE_GREEN, "", "");
    it.until(Phase::Paused)
        .ticks(5)
        .ask(Do::Promote, None)
        .ticks(3)
        .quality("canary errors rise to 2 %", &[errors(0.005), errors(0.02)])
        .until(Phase::RolledBack);
    it.into_text()
}

fn rolling_promoted() -> String {
    let mut it = stage(ROLLING, "", "");
    it.traffic.requests = 1000;
    let ready = |canary, stable| Some(Ready { canary, stable });
    it.ticks(3);
    for (what, now) in [
        ("no new endpoint is ready", ready(0, 10)),
        ("one is", ready(1, 10)),
        ("three are", ready(3, 8)),
        ("one fails its check", ready(2, 8)),
        ("seven are", ready(7, 3)),
    ] {
        it.say(what);
        it.ready = now;
        it.ticks(5);
    }
    it.until_that(|it| it.release().weight() > 50.0)
        .say("all but one are");
    it.ready = ready(9, 1);
    it.ticks(5).say("all are");
    it.ready = ready(10, 0);
    it.until(Phase::Succeeded);
    it.into_text()
}

fn rolling_rolled_back() -> String {
    let mut it = stage(ROLLING, "", "");
    it.ready = Some(Ready {
        canary: 2,
        stable: 8,
    });
    it.ticks(6)
        .quality("canary errors rise to 3 %", &[errors(0.005), errors(0.03)])
        .until(Phase::RolledBack);
    it.into_text()
}

fn test(ending: &str, quality: [f64; 3]) -> Stage {
    Stage::new(
        &ab_test(ending),
        Traffic::new(REQUESTS, &quality.map(errors)),
    )
}

fn ab_winner() -> String {
    let mut it = test("for: 14d", [0.02, 0.02, 0.012]);
    it.until(Phase::Succeeded).ticks(2);
    it.into_text()
}

fn ab_no_difference() -> String {
    let mut it = test("for: 14d", [0.01, 0.01, 0.01]);
    it.until(Phase::Succeeded);
    it.into_text()
}

fn ab_time_over() -> String {
    let mut it = test("until: 2026-01-05T12:02:00Z", [0.01, 0.01, 0.008]);
    it.traffic.requests = 200;
    it.until(Phase::Succeeded);
    it.into_text()
}

fn ab_one_out() -> String {
    let mut it = test("for: 14d", [0.02, 0.05, 0.016]);
    it.until(Phase::Succeeded);
    it.into_text()
}

fn copies(canary: f64) -> Stage {
    let mut traffic = Traffic::new(REQUESTS, &[errors(0.005), errors(canary)]);
    traffic.copies = Some(0.1);
    Stage::new(&rollout(SHADOW, "", ""), traffic)
}

fn shadow_concluded() -> String {
    let mut it = copies(0.005);
    it.until(Phase::Succeeded).ticks(2);
    it.into_text()
}

fn shadow_rolled_back() -> String {
    let mut it = copies(0.03);
    it.until(Phase::RolledBack).ticks(2);
    it.into_text()
}

fn manual_promoted() -> String {
    let mut it = stage(MANUAL, "", "");
    it.ticks(5)
        .ask(Do::SetWeight, Some(30.0))
        .ticks(3)
        .ask(Do::Pause, None)
        .ask(Do::Resume, None)
        .ticks(2)
        .ask(Do::SetWeight, Some(10.0))
        .ticks(2)
        .ask(Do::Promote, None)
        .until(Phase::Succeeded);
    it.into_text()
}

fn manual_rolled_back() -> String {
    let mut it = stage(MANUAL, "", "");
    it.ask(Do::SetWeight, Some(30.0))
        .quality("canary errors rise to 3 %", &[errors(0.005), errors(0.03)])
        .until(Phase::RolledBack);
    it.into_text()
}

const THREE: &str = "    metrics:
      - {name: errors, errorRate: {}, weight: 0.5}
      - {name: slow, latency: {above: 100ms}, weight: 0.3}
      - {name: refunds, prometheus: {bad: 'refunds_total{app=\"shop\"}', total: 'orders_total{app=\"shop\"}'}, tolerance: {ratio: 1.2}, weight: 0.2}
";

fn quality(errors: f64, slow: f64, custom: f64) -> Quality {
    Quality {
        errors,
        slow,
        custom,
        ..Quality::default()
    }
}

fn three(canary: Quality) -> Stage {
    let traffic = Traffic::new(REQUESTS, &[quality(0.005, 0.01, 0.01), canary]);
    Stage::new(&rollout(CANARY, THREE, ""), traffic)
}

fn latency_fails() -> String {
    let mut it = three(quality(0.005, 0.04, 0.01));
    it.until(Phase::RolledBack);
    it.into_text()
}

fn custom_metric() -> String {
    let mut it = three(quality(0.005, 0.01, 0.01));
    it.until_that(at(At::Step(1)))
        .quality(
            "refunds and slow requests of the canary rise",
            &[quality(0.005, 0.01, 0.01), quality(0.005, 0.05, 0.05)],
        )
        .until(Phase::RolledBack);
    it.into_text()
}
