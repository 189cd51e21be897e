//! The controller itself ends, sleeps, or is not alone.

use std::time::Duration;

use anyhow::ensure;
use rustix::process::Signal;
use serin_controller::rollout::Phase;
use serin_tests::cluster::mesh::Mesh;
use serin_tests::cluster::model::Model;
use serin_tests::cluster::witness::Witness;
use serin_tests::wait;

use super::super::LIMIT;
use super::{Chaos, FIRST, SHARES, STEPS, approve, ended};

const LEADS: &str = "serin_controller_leader";
const WRITES: &str = "serin_controller_api_writes_total";

/// Longer than a busy machine needs for a release that is killed with each of its writes.
const RELEASE: Duration = Duration::from_secs(480);

/// A controller that ends like a killed one after each `writes` writes, and is started again at once.
///
/// A version that breaks is released beside it.
async fn a_release_whose_controller_dies_after(writes: &str) {
    let name = format!("chaos-kill-{writes}");
    let mesh = Mesh::without_controller(&name, &["7"], &[]).await;
    let mut mesh = mesh.unwrap();
    let mut good = Model::start(&mesh, "good", &["7", "8"]).await.unwrap();
    let mut bad = Model::start(&mesh, "bad", &["7", "8"]).await.unwrap();
    bad.breaks("8", true);
    for model in [&mut good, &mut bad] {
        model.open(&mesh).unwrap();
    }
    let witness = Witness::start(&mesh).await.unwrap();
    for model in [&good, &bad] {
        mesh.apply(&model.rollout(STEPS, "  fuse: {enabled: false}"))
            .await
            .unwrap();
    }
    let mut deaths = 0;
    let mut approved = false;
    let begun = std::time::Instant::now();
    loop {
        let dead = mesh
            .controller(FIRST)
            .is_none_or(|controller| controller.alive().is_err());
        if dead {
            let variables = [("SERIN_FAULT_AFTER_WRITES", writes)];
            mesh.spawn_controller(FIRST, &variables).unwrap();
            deaths += 1;
        }
        let status = async |name| mesh.status(name).await.unwrap_or_default();
        let (well, ill) = (status("good").await, status("bad").await);
        if well.phase == Some(Phase::Paused) && !approved {
            let release = mesh.state("good").await.unwrap().release.unwrap();
            let again = super::recomputed(&mesh.prometheus, "ml/good", &release).await;
            assert_eq!(
                release.evidence, again,
                "the evidence is not that of its cells"
            );
            approve(&mesh).await;
            approved = true;
        }
        if ended(&well) && ended(&ill) {
            assert_eq!(well.phase, Some(Phase::Succeeded));
            assert_eq!(well.live.unwrap().version, "8");
            assert_eq!(ill.phase, Some(Phase::RolledBack));
            assert_eq!(ill.live.unwrap().version, "7");
            break;
        }
        let log = mesh.controller(FIRST).map(|it| it.log_tail());
        assert!(
            begun.elapsed() < RELEASE,
            "after {deaths} deaths: {:?} {:?}; {:?} {:?}; {log:?}",
            well.phase,
            well.message,
            ill.phase,
            ill.message
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(deaths > 5, "it was killed {deaths} times only");
    witness.check().unwrap();
    assert_eq!(witness.shares("ml/good"), SHARES);
    assert_eq!(witness.shares("ml/bad")[0], SHARES[0]);
    let state = mesh.state("good").await.unwrap();
    let answered = state.consumed_actions.len();
    assert_eq!(answered, 1, "the approval was given once");
    drop((good, bad));
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_after_every_write_decides_as_one_that_lives() {
    a_release_whose_controller_dies_after("1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_after_every_second_and_third_write_decides_as_one_that_lives() {
    tokio::join!(
        a_release_whose_controller_dies_after("2"),
        a_release_whose_controller_dies_after("3"),
    );
}

impl Chaos {
    async fn leads(&self, name: &str) {
        wait::until(LIMIT, &format!("{name} to lead"), async || {
            let leads = self.mesh.controller_metric(name, LEADS, &[]).await?;
            ensure!(leads == 1.0, "it does not");
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_controllers_one_writes_even_when_the_other_wakes_from_a_long_sleep() {
    let mut chaos = Chaos::start("chaos-two").await;
    chaos.mesh.start_controller("serin-1", &[]).await.unwrap();
    chaos.leads(FIRST).await;
    chaos.mesh.kill_controller(FIRST).await.unwrap();
    chaos.leads("serin-1").await;
    chaos.mesh.start_controller("serin-2", &[]).await.unwrap();
    chaos.asks_for_approval().await;
    let writes = async |chaos: &Chaos| {
        let found = chaos.mesh.controller_metric("serin-1", WRITES, &[]);
        found.await.unwrap()
    };
    // The approval comes while the leader sleeps: the other answers it, when the Lease is over and not before.
    let before = writes(&chaos).await;
    let sleeper = chaos.mesh.controller("serin-1").unwrap();
    sleeper.signal(Signal::STOP).unwrap();
    approve(&chaos.mesh).await;
    chaos.leads("serin-2").await;
    let sleeper = chaos.mesh.controller("serin-1").unwrap();
    sleeper.signal(Signal::CONT).unwrap();
    chaos.succeeds().await;
    let leads = chaos.mesh.controller_metric("serin-1", LEADS, &[]).await;
    assert_eq!(leads.unwrap(), 0.0, "it thinks that it leads");
    assert_eq!(writes(&chaos).await, before, "it wrote after its term");
    chaos.close().await;
}
