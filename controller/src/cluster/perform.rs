//! A round of writes.

use futures::StreamExt;
use jiff::Timestamp;

use super::apply::Writer;
use super::fleet::{Fleet, ObjectWrite, StatusWrite};
use super::object::Kind;
use crate::validate::RolloutName;

/// Writes at once: the API server's default share of a client is about that.
const AT_ONCE: usize = 16;

/// The ways home alone.
pub(super) async fn descend(fleet: &mut Fleet, writer: &Writer, now: Timestamp) {
    writer.begin();
    if fleet.show_descents() {
        plugins(fleet, writer, now).await;
    }
}

/// Everything that is to be written, in the order that loses nothing. What fails is tried again with a later tick, each
/// resource for itself.
pub(super) async fn perform(fleet: &mut Fleet, writer: &Writer, now: Timestamp) {
    // Nothing that is slow may stand before a way home.
    descend(fleet, writer, now).await;
    let added = fleet.finalizers_to_add(now);
    finalizers(fleet, writer, added, true, now).await;
    let first = fleet.statuses_first(now);
    statuses(fleet, writer, first, now).await;
    // Each round writes what the one before made possible: subsets, routes, and then what leads nowhere any more.
    for _ in 0..3 {
        let writes = fleet.route_writes(now);
        if writes.is_empty() {
            break;
        }
        for kind in [Kind::DestinationRule, Kind::VirtualService] {
            let of_kind = writes.iter().filter(|it| it.object.id.kind == kind);
            objects(fleet, writer, of_kind.cloned().collect(), now).await;
        }
    }
    plugins(fleet, writer, now).await;
    let after = fleet.statuses_after(now);
    statuses(fleet, writer, after, now).await;
    let removed = fleet.finalizers_to_remove(now);
    finalizers(fleet, writer, removed, false, now).await;
}

async fn plugins(fleet: &mut Fleet, writer: &Writer, now: Timestamp) {
    // A moment without any plugin is a moment on the live version; one with two counts every request twice.
    for (id, version) in fleet.plugins_to_delete(now) {
        let became = writer.delete(&id, &version).await;
        fleet.object_deleted(&id, became, now);
    }
    // A few at a time, for they are large. What fails is not due any more.
    loop {
        let writes = fleet.plugin_writes(now);
        if writes.is_empty() {
            break;
        }
        objects(fleet, writer, writes, now).await;
    }
}

async fn statuses(fleet: &mut Fleet, writer: &Writer, writes: Vec<StatusWrite>, now: Timestamp) {
    let mut results = futures::stream::iter(writes)
        .map(|write| async move {
            let became = writer.status(&write).await;
            (write, became)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((write, became)) = results.next().await {
        fleet.status_written(&write, became, now);
    }
}

async fn objects(fleet: &mut Fleet, writer: &Writer, writes: Vec<ObjectWrite>, now: Timestamp) {
    let mut results = futures::stream::iter(writes)
        .map(|write| async move {
            let became = writer.object(&write).await;
            (write.object.id, became)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((id, became)) = results.next().await {
        fleet.object_written(&id, became, now);
    }
}

async fn finalizers(
    fleet: &mut Fleet,
    writer: &Writer,
    writes: Vec<(RolloutName, String)>,
    wanted: bool,
    now: Timestamp,
) {
    let mut results = futures::stream::iter(writes)
        .map(|(name, version)| async move {
            let became = writer.finalizer(&name, &version, wanted).await;
            (name, became)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((name, became)) = results.next().await {
        fleet.finalizer_written(&name, became, now);
    }
}
