//! The demo's models and users with the real model server: version 9 lets the new countries down, the others do not.

use std::time::Duration;

use serin_tests::demo::models::{self, Training};
use serin_tests::demo::population::Population;
use serin_tests::demo::transactions::NO_COUNTRY;
use serin_tests::programs::Serve;
use serin_tests::tally::Count;
use serin_tests::tools;
use serin_tests::traffic::{Call, Plan, Traffic};
use serin_tests::world::World;

#[tokio::test]
async fn only_the_bad_version_fails_for_users_from_new_countries() {
    let world = World::new("demo").unwrap();
    let serve = tools::programs().unwrap().serve;
    // Quality is tested with the models; what is served does not depend on it.
    let training = Training {
        transactions: 2000,
        hold_out: 2000,
        epochs: 1,
        seed: 1,
    };
    let versions = models::train(world.path(), training).unwrap();
    let typo = format!("[{NO_COUNTRY}]");
    let mistyped = |call: &Call| std::str::from_utf8(&call.body).unwrap().contains(&typo);
    for version in &versions {
        let number = version.number.to_string();
        let server = Serve::start(&world, &number, &serve, &version.repository)
            .await
            .unwrap();
        let population = Population::new(500, 1);
        let new = (population.new_share() * 500.0).round() as u64;
        let calls = population.calls(2).take(6000);
        let typos = Population::new(500, 1)
            .calls(2)
            .take(6000)
            .filter(mistyped)
            .count() as u64;
        assert!(typos > 0);
        let plan = Plan {
            timeout: Duration::from_secs(60),
            ..Plan::closed(server.address, 4)
        };
        let tally = Traffic::start(plan, calls).unwrap().finish().await.unwrap();

        let count = tally.version(&number);
        assert_eq!(
            count.requests,
            6000,
            "{:?} {:?}",
            tally.versions(),
            tally.broken
        );
        let down = tally.reached(&number);
        assert_eq!(down.requests, 500);
        if version.number == 9 {
            // Each of the new countries' users, every time, and the few of the typing errors.
            assert!(
                (new..=new + typos).contains(&down.bad),
                "{down:?}, {new} users are new"
            );
        } else {
            assert_eq!(
                count,
                Count {
                    requests: 6000,
                    bad: typos
                }
            );
        }
        server.process.stop().await.unwrap();
    }
}
