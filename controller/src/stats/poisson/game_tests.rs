//! Whether the e-process is what it claims: a fair game on the line, exactly, and a losing one inside.

use super::*;

fn counts(bad_canary: u32, total_canary: u32, bad_stable: u32, total_stable: u32) -> Counts {
    Counts {
        bad_canary: bad_canary.into(),
        total_canary: total_canary.into(),
        bad_stable: bad_stable.into(),
        total_stable: total_stable.into(),
    }
}

/// Poisson probability of `count` at this mean.
fn poisson(count: u32, mean: f64) -> f64 {
    let log = f64::from(count) * mean.ln()
        - mean
        - statrs::function::gamma::ln_gamma(f64::from(count) + 1.0);
    log.exp()
}

/// Expected evidence after one more interval, by summing over all that Poisson streams may show, relative to before.
fn expected_growth(process: &EProcess, line: Line, p_c: f64, p_s: f64) -> f64 {
    let (total_canary, total_stable) = (60_u32, 150_u32);
    let mut expected = 0.0;
    for bad_canary in 0..=total_canary {
        for bad_stable in 0..=40_u32 {
            let interval = counts(bad_canary, total_canary, bad_stable, total_stable);
            let mut next = process.clone();
            next.update(interval, line, 1.0).expect("usable");
            expected += poisson(bad_canary, f64::from(total_canary) * p_c)
                * poisson(bad_stable, f64::from(total_stable) * p_s)
                * (next.log_e() - process.log_e()).exp();
        }
    }
    expected
}

#[test]
fn on_the_line_evidence_is_a_fair_game_and_beyond_it_a_losing_one() {
    let p_s = 0.03;
    for direction in [Direction::Harm, Direction::Success] {
        for (theta, delta) in [(1.0, 0.0), (1.1, 0.005), (1.25, -0.015), (0.0, 0.04)] {
            let line = Line { theta, delta };
            // Not at the start, so that the share has moved wealth and stable's past is not the truth.
            let mut process = EProcess::start(direction);
            process
                .update(counts(3, 70, 5, 90), line, 1.0)
                .expect("usable");
            let fair = expected_growth(&process, line, line.at(p_s), p_s);
            // Without stable to bound the stake, a part of the game lies beyond 60 bad events of 60 requests.
            let cut_off = if theta == 0.0 { 1e-3 } else { 1e-6 };
            assert!(
                (fair - 1.0).abs() < cut_off,
                "{direction:?} {line:?}: {fair}"
            );
            let inside = if direction == Direction::Harm {
                0.8
            } else {
                1.2
            };
            let losing = expected_growth(&process, line, inside * line.at(p_s), p_s);
            assert!(losing < 1.0, "{direction:?} {line:?}: {losing}");
            let winning =
                expected_growth(&process, line, (2.0 - inside).powi(2) * line.at(p_s), p_s);
            assert!(winning > 1.0, "{direction:?} {line:?}: {winning}");
        }
    }
}
