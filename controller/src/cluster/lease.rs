//! Leader election: one controller writes, the others wait. The protocol is that of Kubernetes' own controllers
//! (client-go `leaderelection`): whoever holds the Lease renews it; another takes it when it has not changed for its
//! duration, by the waiting one's own clock. No two clocks are compared, so that none may jump.
//!
//! A leader stops before another may start: it counts its time from before its last renewal was sent, and gives up a
//! margin earlier, which is longer than any write may take.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};

use super::names;

/// Name of the Lease.
const NAME: &str = "serin-controller";
/// Annotation with the leader's address, to which the others send those who ask for live numbers.
const ADDRESS: &str = "serin.dev/address";
/// How long a Lease is good for.
pub const DURATION: Duration = Duration::from_secs(15);
/// How long before its end the leader stops writing.
pub const MARGIN: Duration = Duration::from_secs(5);
/// How often it is renewed, or looked at.
pub const EVERY: Duration = Duration::from_secs(2);

/// What a candidate remembers of the Lease.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Holder, renewal and resource version, as last seen.
    record: Option<(String, String)>,
    /// When that was first seen.
    since: Option<Instant>,
}

impl Seen {
    /// Whether the Lease is for the taking: nobody holds it, it is ours, or it has not changed for its duration.
    pub fn is_free(&mut self, holder: &str, version: &str, us: &str, now: Instant) -> bool {
        let record = (holder.to_owned(), version.to_owned());
        if self.record.as_ref() != Some(&record) {
            self.record = Some(record);
            self.since = Some(now);
        }
        let waited = self.since.is_some_and(|since| now >= since + DURATION);
        holder.is_empty() || holder == us || waited
    }
}

/// A candidate.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    address: String,
    seen: Seen,
    /// Where the leader listens.
    pub leader: Option<String>,
}

impl Candidate {
    /// `identity` is unique, such as the pod's name.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, identity: String, address: String) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            identity,
            address,
            seen: Seen::default(),
            leader: None,
        }
    }

    /// Takes or renews the Lease; until when its holder may write, or `None` while somebody else has it.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn renew(&mut self) -> Result<Option<Instant>, kube::Error> {
        let begun = Instant::now();
        let present = self.api.get_opt(NAME).await?;
        // What is seen was true before this moment; whoever holds the Lease may have begun to count at it.
        let seen_at = Instant::now();
        let Some(mut lease) = present else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(NAME.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: None,
            };
            let lease = self.claimed(lease, 0);
            return won(self.api.create(&params(), &lease).await, begun);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let annotations = lease.metadata.annotations.as_ref();
        self.leader = annotations.and_then(|it| it.get(ADDRESS)).cloned();
        if !self
            .seen
            .is_free(&holder, &version, &self.identity, seen_at)
        {
            return Ok(None);
        }
        let transitions = spec.lease_transitions.unwrap_or(0);
        let taken = i32::from(holder != self.identity);
        lease.spec = Some(spec);
        let lease = self.claimed(lease, transitions.saturating_add(taken));
        // With the version that was read: of two candidates one is refused.
        won(self.api.replace(NAME, &params(), &lease).await, begun)
    }

    fn claimed(&self, mut lease: Lease, transitions: i32) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = lease.spec.take().unwrap_or_default();
        let ours = before.holder_identity.as_deref() == Some(&self.identity);
        let seconds = i32::try_from(DURATION.as_secs()).unwrap_or(i32::MAX);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(seconds),
            acquire_time: before.acquire_time.filter(|_| ours).or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..before
        });
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(ADDRESS.to_owned(), self.address.clone());
        lease
    }

    /// Gives the Lease up, so that the next one need not wait.
    ///
    /// # Errors
    /// The API server does not answer, or somebody else has it already.
    pub async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            return Ok(());
        };
        let Some(spec) = lease
            .spec
            .as_mut()
            .filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity))
        else {
            return Ok(());
        };
        spec.holder_identity = Some(String::new());
        self.api.replace(NAME, &params(), &lease).await.map(drop)
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn won(
    written: Result<Lease, kube::Error>,
    begun: Instant,
) -> Result<Option<Instant>, kube::Error> {
    match written {
        Ok(_) => Ok(Some(begun + DURATION.saturating_sub(MARGIN))),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_renewed_is_never_free() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        for second in 0..60_u32 {
            let now = start + Duration::from_secs(second.into());
            assert!(!seen.is_free("a", &second.to_string(), "b", now));
        }
    }

    #[test]
    fn a_lease_that_stands_still_is_free_after_its_duration_by_our_own_clock() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        assert!(!seen.is_free("a", "1", "b", start));
        let almost = start + DURATION - Duration::from_millis(1);
        assert!(!seen.is_free("a", "1", "b", almost));
        assert!(seen.is_free("a", "1", "b", start + DURATION));
    }

    #[test]
    fn a_lease_that_was_given_up_or_is_ours_is_free_at_once() {
        let now = Instant::now();
        assert!(Seen::default().is_free("", "1", "b", now));
        assert!(Seen::default().is_free("b", "1", "b", now));
    }
}
