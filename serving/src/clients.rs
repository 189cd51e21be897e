//! How many requests one client may have in flight.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::http::{HeaderMap, HeaderName};

/// What a client may do, and what tells it from others.
#[derive(Debug, Clone)]
pub struct ClientLimit {
    /// Requests in flight at the most.
    pub in_flight: NonZeroUsize,
    /// The header that names it. Without it, and where a request does not have it, the address that it comes from does.
    pub header: Option<HeaderName>,
}

/// What clients have in flight. Who has nothing is not kept, so there are never more than there are requests.
pub struct Clients {
    limit: ClientLimit,
    /// Unknown to clients: none can make itself look like another.
    hasher: RandomState,
    counts: Mutex<HashMap<u64, usize>>,
}

/// A client's place, which is free again when dropped.
pub struct Turn<'a> {
    clients: &'a Clients,
    client: u64,
}

impl Clients {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(limit: ClientLimit) -> Self {
        Self {
            limit,
            hasher: RandomState::new(),
            counts: Mutex::default(),
        }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// How many its client may have, if it has so many already.
    pub fn admit(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Turn<'_>, usize> {
        let header = self.limit.header.as_ref();
        let named = header.and_then(|it| headers.get(it));
        let client = match (named, peer.map(|it| it.to_canonical())) {
            // Apart, so that no header looks like an address.
            (Some(name), _) => self.hasher.hash_one((true, name.as_bytes())),
            (None, Some(peer)) => self.hasher.hash_one((false, peer)),
            (None, None) => self.hasher.hash_one(()),
        };
        let most = self.limit.in_flight.get();
        let mut counts = self.counts();
        let count = counts.entry(client).or_default();
        if *count >= most {
            return Err(most);
        }
        *count += 1;
        Ok(Turn {
            clients: self,
            client,
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut counts = self.clients.counts();
        let left = counts.get_mut(&self.client).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            counts.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HeaderName = HeaderName::from_static("x-api-key");

    fn clients(in_flight: usize, header: Option<HeaderName>) -> Clients {
        Clients::new(ClientLimit {
            in_flight: NonZeroUsize::new(in_flight).unwrap(),
            header,
        })
    }

    fn key(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(KEY, value.parse().unwrap())])
    }

    fn peer(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn each_client_has_its_own_places_and_gets_them_back() {
        let clients = clients(2, Some(KEY));
        let admit = |name: &str| clients.admit(&key(name), peer("10.0.0.1"));
        let one = (admit("a").unwrap(), admit("a").unwrap());
        assert_eq!(admit("a").err(), Some(2));
        let other = admit("b").unwrap();
        drop(one.0);
        let again = admit("a").unwrap();
        assert_eq!(admit("a").err(), Some(2));
        drop((one.1, other, again));
        assert_eq!(clients.counts().len(), 0);
    }

    #[test]
    fn an_address_is_a_client_where_no_header_is() {
        let clients = clients(1, Some(KEY));
        let none = HeaderMap::new();
        let first = clients.admit(&none, peer("10.0.0.1")).unwrap();
        assert!(clients.admit(&none, peer("10.0.0.1")).is_err());
        assert!(
            clients.admit(&none, peer("::ffff:10.0.0.1")).is_err(),
            "the same in IPv6"
        );
        let other = clients.admit(&none, peer("10.0.0.2")).unwrap();
        let named = clients.admit(&key("10.0.0.1"), peer("10.0.0.1")).unwrap();
        assert_eq!(clients.counts().len(), 3);
        drop((first, other, named));
    }

    #[test]
    fn a_header_that_is_not_asked_for_names_nobody() {
        let clients = clients(1, None);
        let first = clients.admit(&key("a"), peer("10.0.0.1")).unwrap();
        assert!(clients.admit(&key("b"), peer("10.0.0.1")).is_err());
        drop(first);
    }

    #[test]
    fn a_hundred_thousand_clients_leave_nothing_behind() {
        let clients = clients(1, Some(KEY));
        for number in 0..100_000 {
            drop(clients.admit(&key(&number.to_string()), None));
        }
        assert_eq!(clients.counts().len(), 0);
    }
}
