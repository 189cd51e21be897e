//! From a strategy to weights, and the checks of both.

use jiff::Timestamp;
use serin_filter_core::split::BUCKETS;

use super::checker::Checker;
use super::plan::{Contest, Course, Ends, PlannedStep, VariantRef};
use crate::api::{
    AbTest, BlueGreen, Canary, Deadline, DeadlinePolicy, Linear, Manual, Margin, Pause, Rolling,
    ShadowTest, Spec, Strategy,
};
use crate::quantity::Span;

/// What a strategy comes to.
pub(super) struct Way {
    pub(super) course: Course,
    pub(super) steps: Vec<PlannedStep>,
    /// Gate of each step, for metrics without gates of their own.
    pub(super) gates: Vec<Option<Margin>>,
    /// Limit after the switch where no step has a gate.
    pub(super) limit: Option<Margin>,
    pub(super) soak: Span,
    pub(super) deadline: Option<Deadline>,
}

impl Way {
    fn promoting(course: Course, soak: Span, deadline: Option<&Deadline>) -> Self {
        Self {
            course,
            steps: Vec::new(),
            gates: Vec::new(),
            limit: None,
            soak,
            deadline: deadline.cloned(),
        }
    }

    fn step(mut self, weight: f64, gate: Option<Margin>, pause: Pause) -> Self {
        self.steps.push(PlannedStep {
            weights: vec![buckets(weight)],
            gated: gate.is_some(),
            pause,
        });
        self.gates.push(gate);
        self
    }
}

/// Checks the strategy and says what it comes to. `arms` are the versions beside the stable one.
pub(super) fn way(check: &mut Checker, spec: &Spec, arms: &[VariantRef]) -> Way {
    match &spec.strategy {
        Strategy::Canary(it) => canary(check, it),
        Strategy::Linear(it) => linear(check, it),
        Strategy::BlueGreen(it) => blue_green(check, it),
        Strategy::Rolling(it) => rolling(check, it),
        Strategy::AbTest(it) => ab_test(check, it, arms),
        Strategy::Shadow(it) => shadow(check, it, spec),
        Strategy::Manual(it) => manual(check, it),
    }
}

fn canary(check: &mut Checker, canary: &Canary) -> Way {
    let base = "spec.strategy.canary";
    if canary.steps.is_empty() {
        check.add(format!("{base}.steps"), "must hold at least one step");
    }
    let mut before = 0.0;
    for (i, step) in canary.steps.iter().enumerate() {
        let path = format!("{base}.steps[{i}].weight");
        if let Some(reason) = weight_problem(step.weight) {
            check.add(path, reason);
        } else if step.weight <= before {
            check.add(
                path,
                format!(
                    "must be larger than the step before ({before}), but is {}",
                    step.weight
                ),
            );
        } else {
            before = step.weight;
        }
        check.margin(&format!("{base}.steps[{i}].gate"), step.gate);
        check.pause(&format!("{base}.steps[{i}].pause"), step.pause.as_ref());
    }
    check.ending(base, canary.soak, canary.deadline.as_ref());
    let way = Way::promoting(Course::Steps, canary.soak, canary.deadline.as_ref());
    canary.steps.iter().fold(way, |way, step| {
        way.step(
            step.weight,
            Some(step.gate),
            step.pause.clone().unwrap_or_default(),
        )
    })
}

fn linear(check: &mut Checker, linear: &Linear) -> Way {
    let base = "spec.strategy.linear";
    for (field, weight) in [
        ("stepWeight", linear.step_weight),
        ("maxWeight", linear.max_weight),
    ] {
        if let Some(reason) = weight_problem(weight) {
            check.add(format!("{base}.{field}"), reason);
        }
    }
    if linear.step_weight > linear.max_weight {
        check.add(
            format!("{base}.stepWeight"),
            format!(
                "is more than maxWeight ({}): there would be no step",
                linear.max_weight
            ),
        );
    }
    // The finest weight would make 9 999 steps, each with evidence of its own.
    let (step, last) = (buckets(linear.step_weight), buckets(linear.max_weight));
    if linear.max_weight / linear.step_weight > 100.0 {
        check.add(
            format!("{base}.stepWeight"),
            "makes more than 100 steps up to maxWeight: take a larger one",
        );
    }
    check.margin(&format!("{base}.gate"), linear.gate);
    let pause = Pause {
        approval: false,
        duration: linear.every,
    };
    if let Some(every) = linear.every {
        check.span(&format!("{base}.every"), every);
    }
    check.ending(base, linear.soak, linear.deadline.as_ref());
    let mut way = Way::promoting(Course::Steps, linear.soak, linear.deadline.as_ref());
    // In whole buckets: a sum of 0.1 per cent each would fall short of 0.8 and make a step twice.
    let between = (1..=100_u16).map_while(|nth| step.checked_mul(nth));
    for buckets in between.take_while(|buckets| *buckets < last) {
        let weight = f64::from(buckets) / 100.0;
        way = way.step(weight, Some(linear.gate), pause.clone());
    }
    way.step(linear.max_weight, Some(linear.gate), pause)
}

fn blue_green(check: &mut Checker, blue_green: &BlueGreen) -> Way {
    let base = "spec.strategy.blueGreen";
    let preview = &blue_green.preview;
    check.pause(&format!("{base}.preview"), Some(preview));
    if !preview.approval && preview.duration.is_none() {
        check.add(
            format!("{base}.preview"),
            "ends at once: give it 'approval: true' or 'for: 10m'",
        );
    }
    check.margin(&format!("{base}.limit"), blue_green.limit);
    check.ending(base, blue_green.soak, blue_green.deadline.as_ref());
    let way = Way::promoting(Course::Steps, blue_green.soak, blue_green.deadline.as_ref());
    Way {
        limit: Some(blue_green.limit),
        ..way.step(0.0, None, preview.clone())
    }
}

fn rolling(check: &mut Checker, rolling: &Rolling) -> Way {
    let base = "spec.strategy.rolling";
    if let Some(reason) = weight_problem(rolling.max_weight) {
        check.add(format!("{base}.maxWeight"), reason);
    }
    check.margin(&format!("{base}.gate"), rolling.gate);
    check.ending(base, rolling.soak, rolling.deadline.as_ref());
    Way::promoting(Course::Capacity, rolling.soak, rolling.deadline.as_ref()).step(
        rolling.max_weight,
        Some(rolling.gate),
        Pause::default(),
    )
}

fn manual(check: &mut Checker, manual: &Manual) -> Way {
    let base = "spec.strategy.manual";
    if manual.weight != 0.0
        && let Some(reason) = weight_problem(manual.weight)
    {
        check.add(format!("{base}.weight"), reason);
    }
    check.ending(base, manual.soak, manual.deadline.as_ref());
    let pause = Pause {
        approval: true,
        duration: None,
    };
    Way::promoting(Course::Hand, manual.soak, manual.deadline.as_ref()).step(
        manual.weight,
        None,
        pause,
    )
}

fn ab_test(check: &mut Checker, test: &AbTest, arms: &[VariantRef]) -> Way {
    let base = "spec.strategy.abTest";
    for name in test.weights.keys() {
        if !arms.iter().any(|arm| arm.name == *name) {
            check.add(
                format!("{base}.weights"),
                format!(
                    "'{name}' is no variant beside the stable one, which has what the others leave"
                ),
            );
        }
    }
    let mut weights = Vec::new();
    for arm in arms {
        let weight = test.weights.get(&arm.name).copied();
        match weight {
            None => check.add(
                format!("{base}.weights"),
                format!("says nothing of variant '{}'", arm.name),
            ),
            Some(weight) => {
                if let Some(reason) = weight_problem(weight) {
                    check.add(format!("{base}.weights.{}", arm.name), reason);
                }
                weights.push(buckets(weight));
            }
        }
    }
    let sum: u32 = weights.iter().copied().map(u32::from).sum();
    if sum >= u32::from(BUCKETS) {
        check.add(
            format!("{base}.weights"),
            "leave nothing for the stable variant: they must sum to less than 100",
        );
    }
    if !(test.difference.0 > 0.0 && test.difference.0 < 1.0) {
        check.add(
            format!("{base}.difference"),
            format!(
                "must be more than 0 and less than 100pp, but is {}",
                test.difference
            ),
        );
    }
    if let Some(duration) = test.duration {
        check.span(&format!("{base}.for"), duration);
    }
    let ends = match (test.duration, test.until) {
        (Some(duration), None) => Ends::After(duration.0),
        (None, Some(at)) => Ends::At(at),
        _ => {
            check.add(
                base,
                "must say how long it lasts: either 'for: 14d' or 'until: 2027-01-31T00:00:00Z'",
            );
            Ends::At(Timestamp::UNIX_EPOCH)
        }
    };
    let course = Course::Contest(Contest {
        difference: test.difference.0,
        ends,
    });
    let way = Way::promoting(course, Span(std::time::Duration::ZERO), None);
    Way {
        steps: vec![PlannedStep {
            weights,
            gated: false,
            pause: Pause::default(),
        }],
        gates: vec![None],
        ..way
    }
}

fn shadow(check: &mut Checker, shadow: &ShadowTest, spec: &Spec) -> Way {
    let base = "spec.strategy.shadow";
    check.sample(&format!("{base}.sample"), shadow.sample);
    if spec.shadow.is_some() {
        check.add(
            "spec.shadow",
            "strategy shadow sends the copies to the new version itself: leave this out",
        );
    }
    for (i, metric) in spec.analysis.metrics.iter().enumerate() {
        if metric.latency.is_some() {
            check.add(
                format!("spec.analysis.metrics[{i}].latency"),
                "nobody waits for the answer to a copy, so the proxies do not know how long it took: leave this metric out",
            );
        }
    }
    check.margin(&format!("{base}.gate"), shadow.gate);
    if let Some(duration) = shadow.duration {
        check.span(&format!("{base}.for"), duration);
    }
    let none = Span(std::time::Duration::ZERO);
    check.ending(base, none, shadow.deadline.as_ref());
    let then = shadow.deadline.as_ref().map(|deadline| deadline.then);
    if then == Some(DeadlinePolicy::Promote) {
        check.add(
            format!("{base}.deadline.then"),
            "this strategy promotes nobody: take hold or rollback",
        );
    }
    let pause = Pause {
        approval: false,
        duration: shadow.duration,
    };
    Way::promoting(Course::Copies, none, shadow.deadline.as_ref()).step(
        0.0,
        Some(shadow.gate),
        pause,
    )
}

/// What is wrong with a weight in per cent that is neither nothing nor everything.
fn weight_problem(weight: f64) -> Option<String> {
    let hundredths = weight * 100.0;
    if !(weight > 0.0 && weight < 100.0) {
        Some(format!(
            "must be more than 0 and less than 100 per cent, but is {weight} (100 % comes after the last step)"
        ))
    } else if (hundredths - hundredths.round()).abs() > 1e-6 {
        Some(format!(
            "is {weight}, but the finest weight is 0.01 per cent"
        ))
    } else {
        None
    }
}

/// Per cent to 1/10 000; what is out of range is refused elsewhere.
pub(crate) fn buckets(weight: f64) -> u16 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0..=100 per cent is 0..=10 000, and other numbers saturate"
    )]
    let buckets = (weight * 100.0).round() as u16;
    buckets.min(BUCKETS)
}
