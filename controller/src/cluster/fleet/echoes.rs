//! Versions of a thing that we have written over, and that the watch may still tell of.
//!
//! On a busy API server the watch runs seconds behind. Whoever takes what it then tells of an own write for the present
//! state, after another write has followed, finds it wrong, writes it again with a version that is long gone, and is
//! refused until the watch has caught up.

use std::collections::VecDeque;

/// More writes than that to one thing, before the watch tells of any, are not remembered: it is taken at its word then.
const REMEMBERED: usize = 8;

/// Versions of one thing.
#[derive(Clone, Debug, Default)]
pub(super) struct Echoes(VecDeque<String>);

impl Echoes {
    /// We have written over this version, which was computed from all that is known of it.
    pub(super) fn written_over(&mut self, version: String) {
        self.0.push_back(version);
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    /// Whether what the watch tells of is an old version of ours. Any other ends them: the watch goes forward.
    pub(super) fn hears(&mut self, version: &str) -> bool {
        let old = self.0.iter().any(|it| it == version);
        if !old {
            self.0.clear();
        }
        old
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_written_over_are_old_until_the_watch_tells_of_another() {
        let mut echoes = Echoes::default();
        echoes.written_over("1".to_owned());
        echoes.written_over("2".to_owned());
        assert!(echoes.hears("1") && echoes.hears("2"));
        assert!(!echoes.hears("3"));
        assert!(echoes.is_empty() && !echoes.hears("1"));
    }

    #[test]
    fn only_the_last_ones_are_remembered() {
        let mut echoes = Echoes::default();
        for version in 0..=REMEMBERED {
            echoes.written_over(version.to_string());
        }
        assert!(echoes.hears("1"));
        assert!(!echoes.hears("0"));
    }
}
