//! Results over a sliding window.

use super::clock::age;

/// Parts of the window: results are forgotten a part at a time.
const PARTS: u64 = 10;

/// Results, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) total: u32,
    pub(super) bad: u32,
}

impl Count {
    /// Whether the share of bad results is at least `ratio`; never without a bad one. A quotient, not a product: it is
    /// the float nearest to the true share, so 3 of 30 reaches 0.1, while 30 * 0.1 is a little more than 3.
    pub(super) fn ratio_reaches(self, ratio: f64) -> bool {
        self.bad > 0 && f64::from(self.bad) / f64::from(self.total) >= ratio
    }

    fn add(&mut self, bad: bool) {
        self.total = self.total.saturating_add(1);
        self.bad = self.bad.saturating_add(u32::from(bad));
    }

    fn take_away(&mut self, old: Self) {
        self.total = self.total.saturating_sub(old.total);
        self.bad = self.bad.saturating_sub(old.bad);
    }
}

/// A ring of counts, one per tenth of the window, and their sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Nanoseconds of a part.
    width: u64,
    /// When the newest part began.
    began: u64,
    /// The newest part first.
    parts: [Count; PARTS as usize],
    sum: Count,
}

impl Window {
    /// An empty window of a length in nanoseconds.
    pub(super) fn new(length: u64) -> Self {
        Self {
            width: length.div_ceil(PARTS).max(1),
            began: 0,
            parts: Default::default(),
            sum: Count::default(),
        }
    }

    /// Adds a result at a time that is not before the last one, and returns what is in the window.
    pub(super) fn record(&mut self, at: u64, bad: bool) -> Count {
        self.slide(at);
        let [newest, ..] = &mut self.parts;
        newest.add(bad);
        self.sum.add(bad);
        self.sum
    }

    pub(super) fn clear(&mut self) {
        self.parts = Default::default();
        self.sum = Count::default();
    }

    fn slide(&mut self, at: u64) {
        let passed = age(at, self.began);
        if passed < self.width {
            return;
        }
        let steps = passed.checked_div(self.width).unwrap_or(PARTS);
        if steps >= PARTS {
            self.clear();
            self.began = at;
            return;
        }
        for _ in 0..steps {
            self.parts.rotate_right(1);
            let [newest, ..] = &mut self.parts;
            self.sum.take_away(std::mem::take(newest));
        }
        self.began = self.began.wrapping_add(steps.wrapping_mul(self.width));
    }
}
