//! Who the users are, and on which variant each of them stays.

use rand::{Rng, RngExt};

use super::engine::USER_GROUPS;

/// Users who stay with their version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Users {
    /// How many, at least 1.
    pub count: u32,
    /// Share of the users who fail more often than the others, 0 to 1.
    pub failing: f64,
    /// How often their requests fail, 0 to 1.
    pub failing_rate: f64,
    /// Activity falls with the user's rank to this power (Zipf); 0 where all send as many requests.
    pub zipf: f64,
}

/// Users who differ only by chance, in one cohort and one group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Portion {
    /// Share of all requests.
    pub(super) requests: f64,
    /// Number of users; 0 where nobody has counted them.
    pub(super) users: f64,
}

/// The kinds of users: those who fail often, and the others.
pub(super) const KINDS: usize = 2;
/// Index of those who fail often.
pub(super) const FAILING: usize = 1;

/// Users who come to the canary at the same step.
#[derive(Clone, Debug)]
pub(super) struct Cohort {
    /// The canary's share from which on they are on it.
    pub(super) joins_at: f64,
    /// By kind and hash group.
    pub(super) portions: [[Portion; USER_GROUPS]; KINDS],
}

/// Draws the users. The bucket of a user is fixed, so the weights nest: who is on the canary at 5 % is at 25 %, too.
///
/// `weights` are the shares of the steps, rising; the last cohort joins at 100 %. Without `users` there are so many
/// that nobody's luck matters.
pub(super) fn draw<R: Rng>(users: Option<Users>, weights: &[f64], rng: &mut R) -> Vec<Cohort> {
    let bounds = weights.iter().copied().chain([1.0]);
    let mut cohorts: Vec<Cohort> = bounds
        .map(|joins_at| Cohort {
            joins_at,
            portions: Default::default(),
        })
        .collect();
    match users {
        None => spread(&mut cohorts),
        Some(users) => place(&mut cohorts, users, rng),
    }
    cohorts
}

fn spread(cohorts: &mut [Cohort]) {
    let mut before = 0.0;
    for cohort in cohorts {
        let share = (cohort.joins_at - before) / USER_GROUPS as f64;
        before = cohort.joins_at;
        if let Some(alike) = cohort.portions.first_mut() {
            alike
                .iter_mut()
                .for_each(|portion| portion.requests = share);
        }
    }
}

fn place<R: Rng>(cohorts: &mut [Cohort], users: Users, rng: &mut R) {
    let activity = |user: u32| f64::from(user + 1).powf(-users.zipf);
    let whole: f64 = (0..users.count).map(activity).sum();
    for user in 0..users.count {
        let kind = usize::from(rng.random::<f64>() < users.failing);
        let bucket = rng.random::<f64>();
        let group = rng.random_range(0..USER_GROUPS);
        let cohort = cohorts.partition_point(|cohort| cohort.joins_at <= bucket);
        let portion = cohorts
            .get_mut(cohort)
            .and_then(|cohort| cohort.portions.get_mut(kind))
            .and_then(|groups| groups.get_mut(group));
        if let Some(portion) = portion {
            portion.requests += activity(user) / whole;
            portion.users += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    fn all(cohorts: &[Cohort]) -> impl Iterator<Item = &Portion> {
        cohorts
            .iter()
            .flat_map(|cohort| cohort.portions.iter().flatten())
    }

    #[test]
    fn every_user_and_every_request_has_its_place() {
        let users = Users {
            count: 5000,
            failing: 0.1,
            failing_rate: 0.5,
            zipf: 1.0,
        };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        for users in [None, Some(users)] {
            let cohorts = draw(users, &[0.01, 0.25], &mut rng);
            let requests: f64 = all(&cohorts).map(|portion| portion.requests).sum();
            assert!((requests - 1.0).abs() < 1e-9, "{requests}");
            let counted: f64 = all(&cohorts).map(|portion| portion.users).sum();
            assert_eq!(counted, users.map_or(0.0, |users| f64::from(users.count)));
        }
    }

    #[test]
    fn a_step_gets_its_share_of_the_users_and_of_those_who_fail() {
        let users = Users {
            count: 100_000,
            failing: 0.1,
            failing_rate: 0.5,
            zipf: 0.0,
        };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
        let cohorts = draw(Some(users), &[0.2], &mut rng);
        let count = |kind: usize| -> f64 {
            let portions = cohorts[0].portions[kind].iter();
            portions.map(|portion| portion.users).sum()
        };
        // Five standard deviations of a binomial number.
        assert!((count(FAILING) - 2000.0).abs() < 5.0 * 2000f64.sqrt());
        assert!((count(0) - 18_000.0).abs() < 5.0 * 18_000f64.sqrt());
    }
}
