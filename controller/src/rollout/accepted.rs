//! What the accepted file of a rollout comes to.

use std::sync::Arc;

use super::RolloutState;
use crate::validate::{Plan, validate};

/// What the accepted file comes to. It is kept while a release goes on; of the thousands of rollouts in which nothing
/// does, it is made again from the file in the state when somebody asks.
#[derive(Clone, Debug, Default)]
pub enum Accepted {
    /// No file is in force.
    #[default]
    Nothing,
    /// This.
    Kept(Arc<Plan>),
    /// What the file in the state says.
    InState,
}

impl Accepted {
    /// Of a state that was kept: its file goes on judging, also if the one that people see is broken by now.
    #[must_use]
    pub fn restore(state: &RolloutState) -> Self {
        let mut accepted = in_state(state).map_or(Self::Nothing, Self::Kept);
        accepted.follow(state);
        accepted
    }

    /// Whether a file is in force.
    #[must_use]
    pub fn is_any(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// What it comes to, with the state that belongs to it.
    #[must_use]
    pub fn plan(&self, state: &RolloutState) -> Option<Arc<Plan>> {
        match self {
            Self::Nothing => None,
            Self::Kept(plan) => Some(Arc::clone(plan)),
            Self::InState => in_state(state),
        }
    }

    /// The state has changed.
    pub fn follow(&mut self, state: &RolloutState) {
        let goes_on = state.in_progress().is_some();
        match self {
            Self::Kept(_) if !goes_on && state.release.is_some() => *self = Self::InState,
            Self::InState if goes_on => {
                *self = in_state(state).map_or(Self::Nothing, Self::Kept);
            }
            _ => (),
        }
    }
}

fn in_state(state: &RolloutState) -> Option<Arc<Plan>> {
    let release = state.release.as_ref()?;
    validate(&release.rollout).ok().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::fixtures::started;
    use crate::rollout::Outcome;

    #[test]
    fn a_plan_is_kept_as_long_as_a_release_goes_on_and_is_there_after_it() {
        let (plan, mut state) = started();
        let mut accepted = Accepted::Kept(Arc::new(plan.clone()));
        accepted.follow(&state);
        assert!(matches!(accepted, Accepted::Kept(_)));
        let going = state.clone();
        let release = state.release.as_mut().unwrap();
        release.end(Outcome::RolledBack, Timestamp::UNIX_EPOCH, "bad");
        accepted.follow(&state);
        assert!(matches!(accepted, Accepted::InState));
        assert_eq!(accepted.plan(&state).as_deref(), Some(&plan));
        accepted.follow(&going);
        assert!(matches!(accepted, Accepted::Kept(_)), "it is tried again");
    }

    #[test]
    fn a_restored_rollout_has_what_it_had() {
        let (plan, mut state) = started();
        let restored = Accepted::restore(&state);
        assert!(matches!(&restored, Accepted::Kept(kept) if **kept == plan));
        let release = state.release.as_mut().unwrap();
        release.end(Outcome::Succeeded, Timestamp::UNIX_EPOCH, "good");
        assert!(matches!(Accepted::restore(&state), Accepted::InState));
    }

    #[test]
    fn of_a_file_that_is_no_longer_understood_there_is_no_plan() {
        let (_, mut state) = started();
        let release = state.release.as_mut().unwrap();
        release.rollout.spec.variants.clear();
        assert!(!Accepted::restore(&state).is_any());
    }

    #[test]
    fn a_rollout_without_a_release_has_the_plan_that_it_was_given() {
        let (plan, mut state) = started();
        state.release = None;
        let mut accepted = Accepted::Kept(Arc::new(plan));
        accepted.follow(&state);
        assert!(accepted.plan(&state).is_some());
    }
}
