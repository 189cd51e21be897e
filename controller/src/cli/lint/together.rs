//! What files say of each other: two of one rollout, and two rollouts that want the same requests. Pure.

use std::collections::HashMap;

use crate::paths::Specificity;
use crate::source::Source;
use crate::validate::{Problem, RolloutName};

/// The mistakes of each file, in the order of the files, of which the first of two is always in the right. The
/// controller sees it the same way, but for what runs already, which it leaves in force.
pub(super) fn conflicts(files: &[(&str, &Source)]) -> Vec<Option<Problem>> {
    let mut names: HashMap<&RolloutName, &str> = HashMap::new();
    let mut claims: HashMap<(&str, Specificity), (&RolloutName, &str)> = HashMap::new();
    files
        .iter()
        .map(|(file, source)| {
            let plan = &source.plan;
            if let Some(first) = names.get(&plan.name) {
                return Some(Problem {
                    path: "metadata.name".to_owned(),
                    reason: format!(
                        "rollout '{}' is already in '{first}': remove one of the files, or give it another name",
                        plan.name
                    ),
                });
            }
            names.insert(&plan.name, file);
            let wanted = |host: &'_ String| -> Option<_> {
                let key = (host.as_str(), plan.paths.specificity());
                claims.get(&key).map(|(other, first)| (host.clone(), *other, *first))
            };
            if let Some((host, other, first)) = plan.hosts.iter().find_map(wanted) {
                return Some(Problem {
                    path: "spec.match".to_owned(),
                    reason: format!(
                        "'{host}{}' already belongs to rollout '{other}' in '{first}': give this one another host or \
                         path",
                        plan.paths
                    ),
                });
            }
            for host in &plan.hosts {
                claims.insert((host, plan.paths.specificity()), (&plan.name, file));
            }
            None
        })
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
