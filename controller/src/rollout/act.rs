//! What people ask for: idempotent, consumed once by id, recorded with who and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serin_filter_core::split::BUCKETS;

use super::accept::{begin_again, set_step_weights, set_weight};
use super::advance::{SWITCHED_OFF, move_on};
use super::fail::roll_back;
use super::state::{Answer, CANARY, Hold, HoldReason, Outcome, Release, RolloutState, Stage};
use super::{Input, Writes};
use crate::evidence::ArmEvidence;
use crate::validate::{Course, Plan, buckets};

/// A request of a person (annotation `serin.dev/action`, standalone: a file).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Per cent, for [`Do::SetWeight`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Do {
    /// Approve a waiting step, else go one step on without the gate's evidence.
    Promote,
    /// Everybody to the new version at once, without evidence; the soak and the handover follow.
    PromoteFull,
    /// No more waiting in the present stage: pauses, approval and soak end, the evidence is still wanted.
    Skip,
    /// Another weight; the release stands still until it is resumed, except where people set all weights.
    SetWeight,
    /// A release that was rolled back begins again, with evidence of its own.
    Retry,
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
            let before = last_record(state).map(|(number, _)| number);
            writes = writes
                .max(Writes::State)
                .max(apply(plan, state, action, input));
            state.last_action = Some(Answer {
                id: action.id.clone(),
                what: action.what,
                by: action.by.clone(),
                at: input.now,
                answer: match last_record(state) {
                    Some((number, message)) if Some(number) != before => message.to_owned(),
                    _ => nothing_done(state),
                },
            });
        }
    }
    writes
}

/// The last line of the story, which tells what an action did.
fn last_record(state: &RolloutState) -> Option<(u64, &str)> {
    let record = state.release.as_ref()?.records.last()?;
    Some((record.number, record.message.as_str()))
}

fn nothing_done(state: &RolloutState) -> String {
    match &state.release {
        Some(release) => format!("nothing to do: the release is {:?}", release.phase()),
        None => "nothing to do: there is no release".to_owned(),
    }
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
        let rolled_back = |release: &Release| release.outcome == Some(Outcome::RolledBack);
        let again = action.what == Do::Retry && state.release.as_ref().is_some_and(rolled_back);
        if again && plan.is_some_and(|plan| begin_again(plan, state, input)) {
            if let Some(release) = state.in_progress_mut() {
                release.record(now, format!("tried again {}", action.said()));
            }
            return Writes::Up;
        }
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
    let failed = plan.is_some_and(|plan| release.evidence.arms().any(|arm| arm.failed(plan)));
    let going_on = matches!(action.what, Do::Resume | Do::Promote | Do::PromoteFull);
    if hold == Some(HoldReason::Failure) && going_on && release.switched_on() {
        release
            .evidence
            .arms_mut()
            .for_each(ArmEvidence::forget_trips);
    }
    match action.what {
        Do::Abort | Do::Retry => {}
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
            if let (true, Some(plan), Stage::Step(index)) = (release.by_hand, plan, release.stage) {
                match plan.course {
                    // The weight that people set is the step's own.
                    Course::Hand => {}
                    // The endpoints and the gate say in this very tick what is too much.
                    Course::Capacity => release.by_hand = false,
                    _ => return back_to_the_step(plan, release, index, now),
                }
            }
        }
        Do::Skip if plan.is_some_and(|plan| matches!(plan.course, Course::Contest(_))) => {
            let said = action.said();
            let message =
                format!("skip asked {said}, but a test ends by its evidence or its date alone");
            release.record(now, message);
        }
        Do::Skip => {
            release.skipped = true;
            release.hold = release
                .hold
                .take()
                .filter(|hold| hold.reason != HoldReason::Approval);
            let message = format!("no more waiting in this stage, {}", action.said());
            release.record(now, message);
        }
        Do::SetWeight => return set_by_hand(plan, release, action, now),
        Do::Promote | Do::PromoteFull if action.seen.is_some_and(|seen| seen != release.stage) => {
            release.record(
                now,
                format!(
                    "promote asked {}, but the stage has passed already",
                    action.said()
                ),
            );
        }
        Do::Promote | Do::PromoteFull if !release.switched_on() => {
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
        Do::Promote | Do::PromoteFull => {
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
            if matches!(plan.course, Course::Contest(_) | Course::Copies) {
                let message = format!(
                    "promote asked {}, but this strategy promotes nobody: release the version with another one",
                    action.said()
                );
                release.record(now, message);
                return Writes::State;
            }
            release.comparison_waived |= hold == Some(HoldReason::Failure) && failed;
            release.hold = None;
            if let (Do::PromoteFull, Stage::Step(_)) = (action.what, release.stage) {
                release.stage = Stage::Step(plan.steps.len().saturating_sub(1));
            }
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

/// After a weight that somebody had set: the step's own again.
fn back_to_the_step(plan: &Plan, release: &mut Release, index: usize, now: Timestamp) -> Writes {
    let before = release.table.share(CANARY);
    release.by_hand = false;
    set_step_weights(plan, release, index);
    release.enter(Stage::Step(index), now);
    if release.table.share(CANARY) < before {
        Writes::Down
    } else {
        Writes::Up
    }
}

fn set_by_hand(
    plan: Option<&Plan>,
    release: &mut Release,
    action: &Action,
    now: Timestamp,
) -> Writes {
    let course = plan.map(|plan| &plan.course);
    let fixed = matches!(course, Some(Course::Contest(_) | Course::Copies));
    let stage = release.stage;
    let refused = match action.weight {
        _ if fixed => Some("this strategy's weights are fixed".to_owned()),
        _ if !matches!(stage, Stage::Step(_)) => {
            Some("the new version has everybody already: abort takes it back".to_owned())
        }
        // 99.999 % would be rounded to everybody.
        Some(weight) if (0.0..100.0).contains(&weight) && buckets(weight) < BUCKETS => None,
        _ => Some(
            "a weight is 0 to less than 100 per cent (promote --full gives it everybody)"
                .to_owned(),
        ),
    };
    if let Some(reason) = refused {
        release.record(
            now,
            format!("set-weight asked {}, but {reason}", action.said()),
        );
        return Writes::State;
    }
    let before = release.table.share(CANARY);
    set_weight(release, buckets(action.weight.unwrap_or(0.0)));
    release.enter(stage, now);
    release.by_hand = true;
    let message = format!("weight set to {} % {}", release.weight(), action.said());
    if course != Some(&Course::Hand) {
        release.hold = Some(Hold {
            reason: HoldReason::Paused,
            message: format!("{message}; resume goes back to the step's weight"),
            since: now,
        });
    }
    release.record(now, message);
    if release.table.share(CANARY) < before {
        Writes::Down
    } else {
        Writes::Up
    }
}
