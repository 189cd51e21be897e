//! What rollout files say of each other: two of one rollout, and two rollouts that want the same requests. Pure.

use std::collections::HashMap;

use crate::paths::Specificity;
use crate::validate::{Plan, Problem, RolloutName};

/// Which file has a rollout or its requests already.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    names: HashMap<RolloutName, String>,
    requests: HashMap<(String, Specificity), (RolloutName, String)>,
}

impl Claims {
    /// Takes in what a file claims, or says which one before it, who is in the right, has it.
    ///
    /// # Errors
    /// The field of `file` that is in the way, and what to do; nothing is taken in then.
    pub(crate) fn claim(&mut self, file: &str, plan: &Plan) -> Result<(), Problem> {
        if let Some(first) = self.names.get(&plan.name) {
            return Err(Problem {
                path: "metadata.name".to_owned(),
                reason: format!(
                    "rollout '{}' is already in '{first}': remove one of the files, or give it another name",
                    plan.name
                ),
            });
        }
        let wanted = |host: &String| (host.clone(), plan.paths.specificity());
        let mut hosts = plan.hosts.iter();
        let taken = hosts.find_map(|host| Some((host, self.requests.get(&wanted(host))?)));
        if let Some((host, (other, first))) = taken {
            return Err(Problem {
                path: "spec.match".to_owned(),
                reason: format!(
                    "'{host}{}' already belongs to rollout '{other}' in '{first}': give this one another host or path",
                    plan.paths
                ),
            });
        }
        let owner = (plan.name.clone(), file.to_owned());
        let claimed = plan.hosts.iter().map(|host| (wanted(host), owner.clone()));
        self.requests.extend(claimed);
        self.names.insert(owner.0, owner.1);
        Ok(())
    }
}
