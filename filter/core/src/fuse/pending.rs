//! Calls in flight, in the order of their admission.

use super::clock::age;

/// Most calls that one fuse watches while they are pending. Calls beyond it are let through all the same, but count
/// only when they end, as bad if they took longer than the limit: when so many hang, the watched ones trip the fuse.
pub const MAX_WATCHED: u32 = 4096;

/// No slot.
const NONE: u32 = u32::MAX;
/// The number of no call.
const VACANT: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    call: u64,
    admitted: u64,
    /// The call admitted before this one.
    older: u32,
    /// The call admitted after this one; of a vacant slot the next vacant one.
    newer: u32,
}

/// A doubly linked list in a vector: calls join at one end, become overdue at the other, and end anywhere, each in
/// constant time. Its memory is that of the most calls that were in flight at once, whatever their rate.
#[derive(Debug)]
pub(super) struct Pending {
    slots: Vec<Slot>,
    oldest: u32,
    newest: u32,
    vacant: u32,
    len: u32,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            oldest: NONE,
            newest: NONE,
            vacant: NONE,
            len: 0,
        }
    }
}

impl Pending {
    /// Number of calls in flight.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Adds a call, not admitted before the last one, and returns its slot; none: there are [`MAX_WATCHED`] already.
    pub(super) fn push(&mut self, call: u64, admitted: u64) -> Option<u32> {
        let slot = Slot {
            call,
            admitted,
            older: self.newest,
            newer: NONE,
        };
        let at = if let Some(vacant) = self.slots.get_mut(self.vacant as usize) {
            let at = self.vacant;
            self.vacant = vacant.newer;
            *vacant = slot;
            at
        } else {
            let at = u32::try_from(self.slots.len()).ok();
            let at = at.filter(|&at| at < MAX_WATCHED)?;
            self.slots.push(slot);
            at
        };
        *self.newer_of(slot.older) = at;
        self.newest = at;
        self.len = self.len.saturating_add(1);
        Some(at)
    }

    /// Takes a call out; false: it is not there any more.
    pub(super) fn remove(&mut self, at: u32, call: u64) -> bool {
        let vacant = self.vacant;
        let Some(slot) = self.slots.get_mut(at as usize) else {
            return false;
        };
        if slot.call != call {
            return false;
        }
        let Slot { older, newer, .. } = *slot;
        slot.call = VACANT;
        slot.newer = vacant;
        self.vacant = at;
        *self.newer_of(older) = newer;
        *self.older_of(newer) = older;
        self.len = self.len.saturating_sub(1);
        true
    }

    /// Takes out the oldest call if it has been pending for `limit` nanoseconds, and returns when it reached that.
    pub(super) fn pop_overdue(&mut self, now: u64, limit: u64) -> Option<u64> {
        let Slot { call, admitted, .. } = *self.slots.get(self.oldest as usize)?;
        let overdue = age(now, admitted) >= limit;
        (overdue && self.remove(self.oldest, call)).then(|| admitted.wrapping_add(limit))
    }

    /// Forgets all calls, and keeps the memory.
    pub(super) fn clear(&mut self) {
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        *self = Self {
            slots,
            ..Self::default()
        };
    }

    /// Most calls that were in flight at once since it was last cleared.
    #[cfg(test)]
    pub(super) fn high_water(&self) -> usize {
        self.slots.len()
    }

    /// Where the call after a slot is kept; after none comes the oldest.
    fn newer_of(&mut self, at: u32) -> &mut u32 {
        match self.slots.get_mut(at as usize) {
            Some(slot) => &mut slot.newer,
            None => &mut self.oldest,
        }
    }

    /// Where the call before a slot is kept; before none comes the newest.
    fn older_of(&mut self, at: u32) -> &mut u32 {
        match self.slots.get_mut(at as usize) {
            Some(slot) => &mut slot.older,
            None => &mut self.newest,
        }
    }
}
