//! Making a table, a piece at a time, with what need not be made again.

use std::sync::Arc;

use super::hosts::Hosts;
use super::{Index, Rollout, RoutingTable, check};
use crate::config::{ConfigError, Head, Parts, RolloutConfig, read_rollout};
use crate::hash::{Map, xxh3};

/// Builds a table one rollout after the other, so that a long configuration can be taken in between requests. What is
/// the same as in the table before it is shared with that, not made again: most updates change one rollout of many.
#[derive(Debug)]
pub struct Builder {
    table: RoutingTable,
    /// The table before, where its rollouts mean the same in this one.
    before: Option<RoutingTable>,
    /// Where the rollout that comes next probably is in the table before.
    next: usize,
    /// None as long as all claims are those of the table before, in the same places: then its index will do.
    index: Option<Index>,
    /// How many rollouts are in the index.
    indexed: usize,
}

impl Builder {
    /// Begins with everything but the rollouts; `rollouts` is how many there will be.
    ///
    /// # Errors
    /// A field is wrong.
    pub fn new(head: &Head, rollouts: usize) -> Result<Self, ConfigError> {
        check::head(head, rollouts)?;
        Ok(Self {
            table: RoutingTable {
                generation: head.generation,
                route_header: head.route_header.to_ascii_lowercase(),
                shadow_header: head.shadow_header.to_ascii_lowercase(),
                encoding: head.stats,
                rollouts: Vec::with_capacity(rollouts),
                index: Arc::default(),
            },
            before: None,
            next: 0,
            index: Some(Index::with_capacity(rollouts)),
            indexed: 0,
        })
    }

    /// As [`Builder::new`], for what comes after a table that is in use.
    ///
    /// # Errors
    /// A field is wrong.
    pub fn after(before: &RoutingTable, head: &Head, rollouts: usize) -> Result<Self, ConfigError> {
        let mut builder = Self::new(head, rollouts)?;
        let own = |table: &RoutingTable| (table.route_header.clone(), table.shadow_header.clone());
        // Whether a rollout is valid depends on these, and on nothing else outside of it.
        if own(before) == own(&builder.table) {
            builder.before = Some(before.clone());
            builder.index = None;
        }
        Ok(builder)
    }

    /// Takes the next rollout of a configuration in, or does work that the ones before it left. Returns how many bytes of
    /// the configuration were read; none: all is done.
    ///
    /// # Errors
    /// A field of a rollout is wrong, or it claims what one before it has.
    pub fn step(&mut self, parts: &Parts, json: &[u8]) -> Result<Option<usize>, ConfigError> {
        if self.index_next()? {
            return Ok(Some(0));
        }
        let position = self.table.rollouts.len();
        let Some(text) = parts.text(json, position) else {
            let before = self.before.as_ref().map_or(0, |it| it.rollouts.len());
            if position < before && self.index.is_none() {
                // The last ones are gone.
                self.leave();
                return Ok(Some(0));
            }
            return Ok(None);
        };
        let digest = xxh3(text, 0);
        if let Some(same) = self.same(digest) {
            self.push(same, Some(self.next));
        } else {
            self.add(read_rollout(position, text)?, Some(digest))?;
        }
        Ok(Some(text.len()))
    }

    /// The rollout of the table before that was read from the same text.
    fn same(&self, digest: u64) -> Option<Arc<Rollout>> {
        let same = self.before.as_ref()?.rollouts.get(self.next)?;
        (same.digest == Some(digest)).then(|| Arc::clone(same))
    }

    /// Takes the next rollout in, but for the index.
    pub(super) fn add(
        &mut self,
        config: RolloutConfig,
        digest: Option<u64>,
    ) -> Result<(), ConfigError> {
        let at = format_args!("rollouts[{}]", self.table.rollouts.len());
        let own = [&*self.table.route_header, &*self.table.shadow_header];
        check::rollout(at, &config, &own)?;
        let rollout = Rollout::new(at, config, digest)?;
        let before = self.before.as_ref();
        let was = before.and_then(|it| it.index.names.get(&rollout.name).map(|&it| it as usize));
        self.push(Arc::new(rollout), was);
        Ok(())
    }

    /// `was`: where the rollout of this name was before.
    fn push(&mut self, rollout: Arc<Rollout>, was: Option<usize>) {
        if let Some(was) = was {
            self.next = was.saturating_add(1);
        }
        let position = self.table.rollouts.len();
        let before = self.before.as_ref().filter(|_| was == Some(position));
        let other = before.and_then(|it| it.rollouts.get(position));
        if !other.is_some_and(|it| Arc::ptr_eq(it, &rollout) || it.claims_as(&rollout)) {
            self.leave();
        }
        self.table.rollouts.push(rollout);
    }

    /// Goes on with an index of its own.
    fn leave(&mut self) {
        let rollouts = self.table.rollouts.capacity();
        self.index
            .get_or_insert_with(|| Index::with_capacity(rollouts));
    }

    /// Enters the next rollout that is missing in the index; returns whether there was one.
    ///
    /// # Errors
    /// It claims what one before it has.
    pub(super) fn index_next(&mut self) -> Result<bool, ConfigError> {
        let Some(index) = &mut self.index else {
            return Ok(false);
        };
        let Some(rollout) = self.table.rollouts.get(self.indexed) else {
            return Ok(false);
        };
        index.insert(self.indexed, rollout, &self.table.rollouts)?;
        self.indexed = self.indexed.saturating_add(1);
        Ok(true)
    }

    /// The finished table.
    pub fn finish(self) -> RoutingTable {
        let mut table = self.table;
        table.index = match (self.index, self.before) {
            (None, Some(before)) => before.index,
            (index, _) => Arc::new(index.unwrap_or_default()),
        };
        table
    }
}

impl Index {
    fn with_capacity(rollouts: usize) -> Self {
        let mut names = Map::default();
        names.reserve(rollouts);
        Self {
            names,
            hosts: Hosts::with_capacity(rollouts),
        }
    }

    fn insert(
        &mut self,
        position: usize,
        rollout: &Rollout,
        all: &[Arc<Rollout>],
    ) -> Result<(), ConfigError> {
        let number = u32::try_from(position).unwrap_or(u32::MAX);
        let name = &rollout.name;
        if self.names.insert(name.clone(), number).is_some() {
            let reason = format!(
                "the name \"{name}\" is used twice: a rollout appears once in a configuration"
            );
            return Err(ConfigError::new(
                format_args!("rollouts[{position}].name"),
                reason,
            ));
        }
        let claims = &rollout.claims;
        let hosts = if rollout.enabled {
            claims.hosts.as_slice()
        } else {
            &[]
        };
        for (place, host) in hosts.iter().enumerate() {
            let other = self.hosts.insert(host, claims.pattern(), number);
            let other = other.filter(|&other| other != number);
            if let Some(other) = other.and_then(|other| all.get(other as usize)) {
                return Err(ConfigError::new(
                    format_args!("rollouts[{position}].hosts[{place}]"),
                    format!(
                        "rollouts \"{}\" and \"{name}\" both claim host \"{host}\" with {}: \
                         give one of them another host or path",
                        other.name,
                        claims.words()
                    ),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
