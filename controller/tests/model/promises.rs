//! What must hold in every state, and what must happen in some.

use serin_controller::rollout::{Outcome, Stage};
use stateright::Property;

use super::GOOD;
use super::state::State;
use super::system::{Deed, System};
use super::world::{PROMISES, Turn};

/// Rounds without any deviation after which things are as they should be.
pub(crate) const CALM: u8 = 4;

/// A promise.
pub(crate) const REVERTS_END_AT_LIVE: &str = "every revert ends at live";
/// A promise.
pub(crate) const SAME_DECISION: &str = "the decision is that of the undisturbed run";
/// A promise.
pub(crate) const NOTHING_STANDS_STILL: &str = "the release ends when it is left alone";
/// Must happen.
pub(crate) const ROLLS_BACK: &str = "a release rolls back";
/// Must happen.
pub(crate) const SUCCEEDS: &str = "a release succeeds";
/// Must happen.
pub(crate) const IS_CLEANED_UP: &str = "a deleted rollout is cleaned up";

/// What must always hold, and what must happen somewhere.
pub(crate) fn properties(system: &System) -> Vec<Property<System>> {
    // Shorter ones are about what people do meanwhile.
    let ends = system.bad || system.rounds >= GOOD;
    let kept: [fn(&System, &State) -> bool; 9] = [
        |_, state| state.world.broken & 1 == 0,
        |_, state| state.world.broken & 2 == 0,
        |_, state| state.world.broken & 4 == 0,
        |_, state| state.world.broken & 8 == 0,
        |_, state| state.world.broken & 16 == 0,
        |_, state| state.world.broken & 32 == 0,
        |_, state| state.world.broken & 64 == 0,
        |_, state| state.world.broken & 128 == 0,
        |_, state| state.world.broken & 256 == 0,
    ];
    let mut found: Vec<_> = PROMISES
        .into_iter()
        .zip(kept)
        .map(|(name, kept)| Property::always(name, kept))
        .collect();
    found.push(Property::always(REVERTS_END_AT_LIVE, |_, state: &State| {
        let left_alone = state.calm >= CALM && state.turn == Turn::Clock;
        let reverted = match state.gone() {
            // Everybody was on the new version already when it was deleted: whoever found that out before the deletion
            // may leave them there, and whoever did not takes them back.
            Some(Some(release)) if release.stage == Stage::DropHeader => false,
            Some(release) => release.is_none_or(|it| it.outcome != Some(Outcome::Succeeded)),
            None => state.outcome() == Some(Outcome::RolledBack),
        };
        !(left_alone && reverted) || state.is_at_live()
    }));
    found.push(Property::always(
        SAME_DECISION,
        |system, state: &State| match state.outcome() {
            Some(Outcome::Succeeded) => !system.bad,
            Some(Outcome::RolledBack) => system.bad || state.done > 0,
            _ => true,
        },
    ));
    if ends {
        found.push(Property::always(
            NOTHING_STANDS_STILL,
            |system, state: &State| {
                let over = state.turn == Turn::Clock && state.world.cells.len() >= system.rounds;
                let left_alone = state.calm >= CALM && state.done == 0;
                !(over && left_alone) || state.outcome().is_some()
            },
        ));
    }
    if system.bad || system.deeds.contains(&Deed::Abort) {
        found.push(Property::sometimes(ROLLS_BACK, |_, state: &State| {
            state.outcome() == Some(Outcome::RolledBack) && state.is_at_live()
        }));
    }
    if ends && !system.bad {
        found.push(Property::sometimes(SUCCEEDS, |_, state: &State| {
            state.outcome() == Some(Outcome::Succeeded)
        }));
    }
    if system.deeds.contains(&Deed::Delete) {
        found.push(Property::sometimes(IS_CLEANED_UP, |_, state: &State| {
            state.gone().is_some() && state.world.config().is_some()
        }));
    }
    found
}
