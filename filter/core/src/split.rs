//! Who gets which variant: hash buckets, and the table of runs that says who owns them.
//!
//! With three or more arms whose weights sum to the whole, no pure function of bucket and weights moves the fewest
//! users when a weight changes. So the table itself is the assignment, and [`rebalance`] derives the next one.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hash::xxh3;

/// Number of buckets; one bucket is 0.01 % of the users.
pub const BUCKETS: u16 = 10_000;
/// Number of groups, over which the spread between users is estimated.
pub const GROUPS: u8 = 16;

/// The seeds that a salt gives, so that a request hashes only its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    bucket: u64,
    group: u64,
}

impl Seeds {
    /// The seeds of a salt: `XXH3_64(salt)` and `XXH3_64("serin group " ++ salt)`.
    pub fn new(salt: &str) -> Self {
        Self {
            bucket: xxh3(salt.as_bytes(), 0),
            group: xxh3(["serin group ", salt].concat().as_bytes(), 0),
        }
    }

    /// Bucket of a key, below [`BUCKETS`].
    pub fn bucket(&self, key: &[u8]) -> u16 {
        bucket_of_draw(xxh3(key, self.bucket))
    }

    /// Group of a key, below [`GROUPS`]; independent of its bucket.
    pub fn group(&self, key: &[u8]) -> u8 {
        const N: u64 = GROUPS as u64;
        (xxh3(key, self.group) % N) as u8
    }
}

/// Bucket of a key, below [`BUCKETS`]: `XXH3_64(key, seed = XXH3_64(salt)) mod 10000`.
pub fn bucket(salt: &str, key: &[u8]) -> u16 {
    Seeds::new(salt).bucket(key)
}

/// Group of a key, below [`GROUPS`]: `XXH3_64(key, seed = XXH3_64("serin group " ++ salt)) mod 16`.
pub fn group(salt: &str, key: &[u8]) -> u8 {
    Seeds::new(salt).group(key)
}

/// Bucket of 64 uniform bits. The modulo favours low buckets by less than 1 part in 10^15.
pub fn bucket_of_draw(draw: u64) -> u16 {
    const N: u64 = BUCKETS as u64;
    (draw % N) as u16
}

/// Why bucket runs or weights cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SplitError {
    /// The runs do not rise: this one ends at `upto`, where the one before it had already reached `reached`.
    #[error(
        "run {run} ends at bucket {upto}, but bucket {reached} was reached before it: runs must rise"
    )]
    NotRising {
        /// Position of the run.
        run: usize,
        /// Its end, exclusive.
        upto: u16,
        /// Where the run before it ended.
        reached: u16,
    },
    /// The last run does not end at [`BUCKETS`].
    #[error("the runs end at bucket {0}, they must end at {BUCKETS}")]
    WrongEnd(u16),
    /// A run belongs to a variant that does not exist.
    #[error(
        "variant {variant} owns buckets, but there are only {variants} variants (counted from 0)"
    )]
    NoSuchVariant {
        /// The variant that owns buckets.
        variant: u8,
        /// How many there are.
        variants: usize,
    },
    /// More weights than a table can name.
    #[error("{0} weights were given, at most 256 are possible")]
    TooManyWeights(usize),
    /// The weights are not shares of one whole.
    #[error("the weights sum to {0}, they must sum to {BUCKETS} (one is 0.01 %)")]
    WrongSum(u64),
}

/// Who owns which buckets: runs `(upto, variant)`, where `upto` is exclusive and a run begins where the one before it
/// ends. Always valid: runs rise strictly, the last ends at [`BUCKETS`], and neighbours have different owners.
///
/// In JSON it is `[[upto, variant], ...]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u16, u8)>", into = "Vec<(u16, u8)>")]
pub struct BucketTable(Vec<(u16, u8)>);

impl BucketTable {
    /// A table of these runs; neighbouring runs of one variant are joined.
    ///
    /// # Errors
    /// The runs do not rise strictly, or do not end at [`BUCKETS`].
    pub fn new(runs: Vec<(u16, u8)>) -> Result<Self, SplitError> {
        let mut joined: Vec<(u16, u8)> = Vec::with_capacity(runs.len());
        let mut reached = 0;
        for (run, (upto, variant)) in runs.into_iter().enumerate() {
            if upto <= reached {
                return Err(SplitError::NotRising { run, upto, reached });
            }
            reached = upto;
            match joined.last_mut() {
                Some(last) if last.1 == variant => last.0 = upto,
                _ => joined.push((upto, variant)),
            }
        }
        // A new split is made of a run for each bucket, of which two or three are left.
        joined.shrink_to_fit();
        if reached == BUCKETS {
            Ok(Self(joined))
        } else {
            Err(SplitError::WrongEnd(reached))
        }
    }

    /// The table in which one variant owns everything.
    pub fn whole(variant: u8) -> Self {
        Self(vec![(BUCKETS, variant)])
    }

    /// The runs `(upto, variant)`.
    pub fn runs(&self) -> &[(u16, u8)] {
        &self.0
    }

    /// The variant that owns a bucket; buckets beyond the last belong to the owner of the last.
    pub fn owner(&self, bucket: u16) -> u8 {
        let run = self.0.partition_point(|&(upto, _)| upto <= bucket);
        self.0
            .get(run)
            .or(self.0.last())
            .map_or(0, |&(_, variant)| variant)
    }

    /// How many buckets a variant owns: its weight in 1/10000.
    pub fn share(&self, variant: u8) -> u16 {
        self.lengths()
            .filter(|&(_, owner)| owner == variant)
            .map(|(length, _)| length)
            .sum()
    }

    /// Checks that every owner is one of `variants` variants.
    ///
    /// # Errors
    /// A run belongs to a variant beyond them.
    pub fn validate(&self, variants: usize) -> Result<(), SplitError> {
        match self
            .0
            .iter()
            .find(|&&(_, variant)| usize::from(variant) >= variants)
        {
            Some(&(_, variant)) => Err(SplitError::NoSuchVariant { variant, variants }),
            None => Ok(()),
        }
    }

    /// The runs as `(length, variant)`.
    fn lengths(&self) -> impl Iterator<Item = (u16, u8)> + '_ {
        self.0.iter().scan(0, |start, &(upto, variant)| {
            // Runs rise, so that nothing is lost here.
            let length = upto.saturating_sub(*start);
            *start = upto;
            Some((length, variant))
        })
    }
}

impl TryFrom<Vec<(u16, u8)>> for BucketTable {
    type Error = SplitError;

    fn try_from(runs: Vec<(u16, u8)>) -> Result<Self, SplitError> {
        Self::new(runs)
    }
}

impl From<BucketTable> for Vec<(u16, u8)> {
    fn from(table: BucketTable) -> Self {
        table.0
    }
}

/// The next table, in which each variant owns its weight in 1/10000, and as few buckets as possible have moved.
///
/// An arm that shrinks gives away its surplus and no more, an arm that grows only receives, and an arm whose weight
/// stays keeps exactly its buckets. Variant 0 gives its highest buckets and receives the lowest that are free, every
/// other arm gives its lowest: so two arms always stay in two runs, with arm 1 at the top of the range.
///
/// # Errors
/// The weights do not sum to [`BUCKETS`], or the previous table names a variant without a weight.
pub fn rebalance(previous: &BucketTable, weights: &[u16]) -> Result<BucketTable, SplitError> {
    if weights.len() > 256 {
        return Err(SplitError::TooManyWeights(weights.len()));
    }
    let sum = weights.iter().map(|&weight| u64::from(weight)).sum();
    if sum != u64::from(BUCKETS) {
        return Err(SplitError::WrongSum(sum));
    }
    previous.validate(weights.len())?;

    // Ten thousand cells are cheap, and plain: the table changes a few times a day.
    let mut owners: Vec<Option<u8>> = previous
        .lengths()
        .flat_map(|(length, owner)| std::iter::repeat_n(Some(owner), length.into()))
        .collect();
    for (variant, &weight) in (0..=u8::MAX).zip(weights) {
        let surplus = previous.share(variant).saturating_sub(weight).into();
        let owned = owners.iter_mut().filter(|owner| **owner == Some(variant));
        if variant == 0 {
            owned.rev().take(surplus).for_each(|owner| *owner = None);
        } else {
            owned.take(surplus).for_each(|owner| *owner = None);
        }
    }
    let receivers = (0..=u8::MAX).zip(weights).flat_map(|(variant, &weight)| {
        std::iter::repeat_n(
            variant,
            weight.saturating_sub(previous.share(variant)).into(),
        )
    });
    let free = owners.iter_mut().filter(|owner| owner.is_none());
    free.zip(receivers)
        .for_each(|(owner, receiver)| *owner = Some(receiver));

    let runs = (1..=BUCKETS)
        .zip(owners)
        .filter_map(|(upto, owner)| owner.map(|owner| (upto, owner)));
    BucketTable::new(runs.collect())
}

#[cfg(test)]
mod tests;
