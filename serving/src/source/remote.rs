//! What is in a bucket: its keys, checked and sorted into models and versions. Pure.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::s3::Location;
use crate::repository::{self, DESCRIPTIONS, Problem};

/// What a listing says of an object. Two that are equal hold the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    /// Bytes.
    pub(super) size: u64,
    /// What S3 calls this content of the object, if the listing says it.
    pub(super) etag: Option<String>,
    /// Last change, in milliseconds since the epoch.
    pub(super) modified: i64,
}

/// The files of a folder by their paths in it.
pub(super) type Files = BTreeMap<String, Object>;

/// One model in a bucket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    /// What describes it.
    pub(super) description: Files,
    /// What is in each version.
    pub(super) versions: BTreeMap<u64, Files>,
}

/// Sorts the objects of a complete listing, by key without the prefix of `at`, into models.
///
/// As in a folder, names that begin with a dot are passed over, and so are files beside those of the layout.
pub(super) fn tree(
    objects: Vec<(String, Object)>,
    at: &Location,
) -> Result<BTreeMap<String, Model>, Vec<Problem>> {
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    let mut problems = Vec::new();
    for (key, object) in objects {
        match sort(&key) {
            Ok(Some(Sorted {
                model,
                version,
                file,
            })) => {
                let model = models.entry(model.to_owned()).or_default();
                let files = match version {
                    Some(version) => model.versions.entry(version).or_default(),
                    None => &mut model.description,
                };
                files.insert(file.to_owned(), object);
            }
            Ok(None) => {}
            Err(Odd { what, why, fix }) => {
                problems.push(Problem::new(&at.at(Path::new(&key)), what, why, fix));
            }
        }
    }
    for (name, model) in &mut models {
        for (version, files) in &mut model.versions {
            if let Some(file) = file_and_folder(files) {
                let key = format!("{name}/{version}/{file}");
                problems.push(Problem::new(
                    &at.at(Path::new(&key)),
                    "is an object and a folder",
                    "a disk holds one or the other",
                    "remove one of them",
                ));
            }
        }
    }
    if models.is_empty() && problems.is_empty() {
        problems.push(Problem::new(
            &at.at(Path::new("")),
            "no models",
            "there is nothing to serve below this prefix",
            "check bucket and prefix, or put MODEL/model.yaml and MODEL/1/model.pt there",
        ));
    }
    // One line for each folder that has a wrong name, not one for each object in it.
    problems.dedup_by(|a, b| a.what == b.what && a.file.parent() == b.file.parent());
    if problems.is_empty() {
        Ok(models)
    } else {
        Err(problems)
    }
}

/// Where an object belongs.
#[derive(Debug, PartialEq, Eq)]
struct Sorted<'k> {
    model: &'k str,
    version: Option<u64>,
    file: &'k str,
}

/// Why it belongs nowhere.
#[derive(Debug, PartialEq, Eq)]
struct Odd {
    what: String,
    why: &'static str,
    fix: &'static str,
}

fn sort(key: &str) -> Result<Option<Sorted<'_>>, Odd> {
    let is_odd = |part: &str| {
        matches!(part, "" | "." | "..") || part.contains(|it: char| it.is_control() || it == '\\')
    };
    if key.split('/').any(is_odd) {
        return Err(Odd {
            what: format!("key {key:?} is refused"),
            why: "its parts name no file inside the cache",
            fix: "rename the object: keys are such as MODEL/1/model.pt",
        });
    }
    if key.split('/').any(|part| part.starts_with('.')) || key.starts_with("lost+found/") {
        return Ok(None);
    }
    let Some((model, rest)) = key.split_once('/') else {
        return Ok(None);
    };
    if !repository::is_model_name(model) {
        return Err(Odd {
            what: format!("model name '{model}' is not allowed"),
            why: "names go into URLs and headers",
            fix: "rename it with the characters A-Z a-z 0-9 _ . - only",
        });
    }
    let sorted = |version, file| {
        Ok(Some(Sorted {
            model,
            version,
            file,
        }))
    };
    match rest.split_once('/') {
        None if DESCRIPTIONS.contains(&rest) => sorted(None, rest),
        None => Ok(None),
        Some((version, file)) => match repository::parse_version(version) {
            Some(version) => sorted(Some(version), file),
            None => Err(Odd {
                what: format!("'{version}' is not a version"),
                why: "versions are whole numbers from 1, so that the highest is the default",
                fix: "rename it to such as '7'",
            }),
        },
    }
}

/// A key that others go on from as from a folder. Consoles make empty ones as marks of folders, which go.
fn file_and_folder(files: &mut Files) -> Option<String> {
    let folders: Vec<String> = files
        .keys()
        .filter(|file| {
            let inside = format!("{file}/");
            files.keys().any(|other| other.starts_with(&inside))
        })
        .cloned()
        .collect();
    folders.into_iter().find(|folder| {
        let is_mark = files.get(folder).is_some_and(|it| it.size == 0);
        if is_mark {
            files.remove(folder);
        }
        !is_mark
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(size: u64) -> Object {
        Object {
            size,
            etag: Some("\"e\"".to_owned()),
            modified: 0,
        }
    }

    fn read(keys: &[&str]) -> Result<BTreeMap<String, Model>, Vec<String>> {
        let at = Location::parse("s3://bucket/models").unwrap();
        let objects = keys.iter().map(|key| ((*key).to_owned(), object(1)));
        let found = tree(objects.collect(), &at);
        found.map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn keys_become_models_and_versions() {
        let found = read(&[
            "README",
            "fraud/model.yaml",
            "fraud/notes.txt",
            "fraud/1",
            "fraud/1/model.pt",
            "fraud/10/model.pt",
            "fraud/10/assets/words.txt",
            "fraud/.hidden/model.pt",
            ".git/config",
            "lost+found/x",
            "churn/1/model.pt",
        ]);
        let found = found.unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["churn", "fraud"]);
        let fraud = &found["fraud"];
        assert_eq!(fraud.description.keys().collect::<Vec<_>>(), ["model.yaml"]);
        assert_eq!(fraud.versions.keys().collect::<Vec<_>>(), [&1, &10]);
        let files: Vec<_> = fraud.versions[&10].keys().collect();
        assert_eq!(files, ["assets/words.txt", "model.pt"]);
    }

    #[test]
    fn keys_that_leave_the_cache_are_refused_by_name() {
        for key in [
            "fraud/../../etc/passwd",
            "/etc/passwd",
            "fraud//model.yaml",
            "fraud/1/./model.pt",
            "fraud/1/a\\..\\b",
            "fraud/1/a\nb",
            "",
        ] {
            let problems = read(&["good/model.yaml", key]).unwrap_err();
            assert_eq!(problems.len(), 1, "{key}");
            let named = format!("key {key:?} is refused: its parts name no file");
            assert!(problems[0].contains(&named), "{problems:?}");
        }
    }

    #[test]
    fn names_that_are_none_of_a_model_or_version_are_refused_once() {
        let problems = read(&[
            "fraud/new/model.pt",
            "fraud/new/words.txt",
            "my model/model.yaml",
        ]);
        let problems = problems.unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0]
                .starts_with("s3://bucket/models/fraud/new/model.pt: 'new' is not a version: ")
        );
        assert!(problems[1].contains("model name 'my model' is not allowed"));
    }

    #[test]
    fn an_empty_listing_is_a_problem_and_not_a_reason_to_remove_everything() {
        let problems = read(&[]).unwrap_err();
        assert!(
            problems[0].starts_with("s3://bucket/models: no models: "),
            "{problems:?}"
        );
    }

    #[test]
    fn marks_of_folders_are_no_files() {
        let at = Location::parse("s3://bucket").unwrap();
        let read = |mark: u64| {
            let objects = [("f/1/a", mark), ("f/1/a/b", 1)];
            let objects = objects.map(|(key, size)| (key.to_owned(), object(size)));
            tree(objects.to_vec(), &at)
        };
        assert_eq!(read(0).unwrap()["f"].versions[&1].len(), 1);
        let problems = read(1).unwrap_err();
        assert!(
            problems[0]
                .to_string()
                .starts_with("s3://bucket/f/1/a: is an object and a folder: ")
        );
    }
}
