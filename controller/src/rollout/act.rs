//! What people ask for: idempotent, consumed once by id, recorded with who and why.

use serde::{Deserialize, Serialize};

use super::advance::{SWITCHED_OFF, move_on};
use super::fail::roll_back;
use super::state::{Hold, HoldReason, RolloutState, Stage};
use super::{Input, Writes};
use crate::validate::Plan;

/// A request of a person (annotation `serin.dev/action`, standalone: a file).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Action {
    /// Consumed once.
    pub id: String,
    /// What to do.
    #[serde(rename = "do")]
    pub what: Do,
    /// Who asks.
    pub by: String,
    /// Why; may be empty.
    #[serde(default)]
    pub why: String,
    /// The stage that the person saw. A promote of a stage that has passed asks for what has happened already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Stage>,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Do {
    /// Approve a waiting step, else go one step on without the gate's evidence.
    Promote,
    /// Everybody back to live.
    Abort,
    /// Hold the weight; evidence is still counted, and a failure still rolls back.
    Pause,
    /// Go on.
    Resume,
}

impl Action {
    fn said(&self) -> String {
        if self.why.is_empty() {
            format!("by {}", self.by)
        } else {
            format!("by {}: {}", self.by, self.why)
        }
    }
}

/// Answers every new action, in order. An abort ends the release for those after it.
pub(super) fn answer(plan: Option<&Plan>, state: &mut RolloutState, input: &Input<'_>) -> Writes {
    let mut writes = Writes::Nothing;
    for action in input.actions {
        if state.consume_action(&action.id) {
            writes = writes
                .max(Writes::State)
                .max(apply(plan, state, action, input));
        }
    }
    writes
}

fn apply(
    plan: Option<&Plan>,
    state: &mut RolloutState,
    action: &Action,
    input: &Input<'_>,
) -> Writes {
    let now = input.now;
    if state.in_progress().is_none() {
        // Not recorded: the last word on a release stays how it ended.
        return Writes::State;
    }
    if action.what == Do::Abort {
        return roll_back(state, now, format!("aborted {}", action.said()));
    }
    let Some(release) = state.in_progress_mut() else {
        return Writes::State;
    };
    let hold = release.hold.as_ref().map(|hold| hold.reason);
    // Whoever goes on waives what there is to be seen: after a guard that is not the comparison.
    let failed = plan.is_some_and(|plan| release.evidence.failed(plan));
    let going_on = matches!(action.what, Do::Resume | Do::Promote) && release.switched_on();
    if hold == Some(HoldReason::Failure) && going_on {
        release.evidence.forget_trips();
    }
    match action.what {
        Do::Abort => {}
        Do::Pause if hold == Some(HoldReason::Paused) => {}
        Do::Pause => {
            let message = format!("paused {}", action.said());
            release.hold = Some(Hold {
                reason: HoldReason::Paused,
                message: message.clone(),
                since: now,
            });
            release.record(now, message);
        }
        // An approval is given by promote alone; resuming does not skip it.
        Do::Resume if hold.is_none() || hold == Some(HoldReason::Approval) => {}
        Do::Resume => {
            release.comparison_waived |= hold == Some(HoldReason::Failure) && failed;
            release.hold = None;
            release.record(now, format!("resumed {}", action.said()));
        }
        Do::Promote if action.seen.is_some_and(|seen| seen != release.stage) => {
            release.record(
                now,
                format!(
                    "promote asked {}, but the stage has passed already",
                    action.said()
                ),
            );
        }
        Do::Promote if !release.switched_on() => {
            release.record(
                now,
                format!("promote asked {}, but {SWITCHED_OFF}", action.said()),
            );
        }
        Do::Promote if hold == Some(HoldReason::Approval) => {
            release.hold = None;
            release.approved = true;
            release.record(now, format!("approved {}", action.said()));
        }
        Do::Promote => {
            let Some(plan) = plan else {
                release.record(
                    now,
                    format!(
                        "promote asked {}, but the rollout file is not valid",
                        action.said()
                    ),
                );
                return Writes::State;
            };
            release.comparison_waived |= hold == Some(HoldReason::Failure) && failed;
            release.hold = None;
            return move_on(
                plan,
                release,
                now,
                &format!("promoted {}, without waiting for evidence", action.said()),
            );
        }
    }
    Writes::State
}
