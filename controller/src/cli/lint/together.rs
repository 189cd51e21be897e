//! What files say of each other: two of one rollout, and two rollouts that want the same requests. Pure.

use crate::claims::Claims;
use crate::source::Source;
use crate::validate::Problem;

/// The mistakes of each file, in the order of the files, of which the first of two is always in the right. The
/// controller sees it the same way, but for what runs already, which it leaves in force.
pub(super) fn conflicts(files: &[(&str, &Source)]) -> Vec<Option<Problem>> {
    let mut claims = Claims::default();
    files
        .iter()
        .map(|(file, source)| claims.claim(file, &source.plan).err())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::conflicts;
    use crate::fixtures::{source, text};

    #[test]
    fn one_rollout_in_two_files_and_one_place_for_two_rollouts() {
        let other = text().replace("name: fraud,", "name: other,");
        let elsewhere = other
            .replace("name: other,", "name: third,")
            .replace("/fraud\n", "/third\n");
        let sources = [text(), text(), other, elsewhere].map(|text| source(&text));
        let files: Vec<_> = ["a", "b", "c", "d"].into_iter().zip(&sources).collect();
        let said: Vec<_> = conflicts(&files)
            .into_iter()
            .map(|found| found.map(|problem| format!("{}: {}", problem.path, problem.reason)))
            .collect();
        assert_eq!(said[0], None);
        assert!(
            said[1]
                .as_ref()
                .unwrap()
                .starts_with("metadata.name: rollout 'ml/fraud' is already in 'a'")
        );
        assert!(said[2].as_ref().unwrap().starts_with(
            "spec.match: 'fraud.ml/v2/models/fraud' already belongs to rollout 'ml/fraud' in 'a'"
        ));
        assert_eq!(said[3], None);
    }
}
