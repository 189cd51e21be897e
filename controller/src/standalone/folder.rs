//! What the rollout files say in this tick: pure, given their texts.

use std::collections::BTreeMap;

use super::store::RolloutText;
use crate::claims::Claims;
use crate::source::{Source, parse};
use crate::validate::{Problem, RolloutName};

/// The files of one tick.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Understood files by rollout.
    pub(super) rollouts: BTreeMap<RolloutName, File>,
    /// Mistakes by file.
    pub(super) mistakes: BTreeMap<String, Vec<String>>,
}

/// One understood file.
#[derive(Debug)]
pub(super) struct File {
    /// Its name in the folder.
    pub(super) name: String,
    /// Its text, for the places of later findings.
    pub(super) text: String,
    /// What it says.
    pub(super) source: Source,
}

/// Parses every file. Two files of one rollout, or two rollouts that want the same requests, are a mistake of the file
/// with the higher rank, and between equals of the later name: which one would win must not depend on luck, and a stray
/// copy must not take over what runs.
pub(super) fn read(texts: &[RolloutText], rank: impl Fn(&str) -> u8) -> Folder {
    let mut texts: Vec<&RolloutText> = texts.iter().collect();
    texts.sort_by_key(|(file, _)| rank(file));
    let mut folder = Folder::default();
    let mut claims = Claims::default();
    for (file, text) in texts {
        let parsed = match text {
            Ok(text) => parse(file, text)
                .map(|source| (text, source))
                .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect()),
            Err(reason) => Err(vec![format!("{file}: {reason}")]),
        };
        let (text, source) = match parsed {
            Ok(source) => source,
            Err(mistakes) => {
                folder.mistakes.insert(file.clone(), mistakes);
                continue;
            }
        };
        if source.plan.mesh.is_some() {
            let mistake = format!(
                "{file}: spec.variants: routes with 'subset' or 'host' are for the mesh: standalone wants 'cluster'"
            );
            folder.mistakes.insert(file.clone(), vec![mistake]);
            continue;
        }
        if let Err(Problem { path, reason }) = claims.claim(file, &source.plan) {
            let mistake = format!("{file}: {path}: {reason}");
            folder.mistakes.insert(file.clone(), vec![mistake]);
            continue;
        }
        folder.rollouts.insert(
            source.plan.name.clone(),
            File {
                name: file.clone(),
                text: text.clone(),
                source,
            },
        );
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::text;

    fn equal(_: &str) -> u8 {
        0
    }

    fn file(name: &str, text: &str) -> RolloutText {
        (name.to_owned(), Ok(text.to_owned()))
    }

    #[test]
    fn good_files_are_read_beside_bad_ones() {
        let other = text()
            .replace("name: fraud,", "name: other,")
            .replace("fraud.ml", "other.ml");
        let unreadable = (
            "c.yaml".to_owned(),
            Err("cannot be read: denied".to_owned()),
        );
        let files = [
            file("a.yaml", &text()),
            file("b.yaml", "kind: ["),
            unreadable,
            file("d.yaml", &other),
        ];
        let folder = read(&files, equal);
        assert_eq!(
            folder
                .rollouts
                .keys()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["ml/fraud", "ml/other"]
        );
        assert_eq!(
            folder.mistakes.keys().collect::<Vec<_>>(),
            ["b.yaml", "c.yaml"]
        );
    }

    #[test]
    fn a_rollout_in_two_files_is_a_mistake_of_the_later_one() {
        let folder = read(&[file("a.yaml", &text()), file("b.yaml", &text())], equal);
        assert_eq!(
            folder
                .rollouts
                .values()
                .map(|file| file.name.as_str())
                .collect::<Vec<_>>(),
            ["a.yaml"]
        );
        assert_eq!(
            folder.mistakes["b.yaml"],
            [
                "b.yaml: metadata.name: rollout 'ml/fraud' is already in 'a.yaml': remove one of the files, or give it another name"
            ]
        );
    }

    #[test]
    fn a_stray_file_that_comes_first_by_name_takes_nothing_from_one_in_use() {
        let rival = text().replace("name: fraud,", "name: rival,");
        for stray in [text(), rival] {
            let files = [file("a.yaml", &stray), file("b.yaml", &text())];
            let folder = read(&files, |file| u8::from(file != "b.yaml"));
            let read: Vec<&str> = folder
                .rollouts
                .values()
                .map(|it| it.name.as_str())
                .collect();
            assert_eq!(read, ["b.yaml"]);
            assert!(folder.mistakes["a.yaml"][0].starts_with("a.yaml: "));
        }
    }

    #[test]
    fn two_rollouts_do_not_share_their_requests() {
        let rival = text().replace("name: fraud,", "name: rival,");
        let folder = read(&[file("a.yaml", &text()), file("b.yaml", &rival)], equal);
        let expected = "b.yaml: spec.match: 'fraud.ml/v2/models/fraud' already belongs to rollout 'ml/fraud' in 'a.yaml': give this one another host or path";
        assert_eq!(folder.mistakes["b.yaml"], [expected]);
        let elsewhere = rival.replace("/v2/models/fraud", "/v2/models/rival");
        assert_eq!(
            read(
                &[file("a.yaml", &text()), file("b.yaml", &elsewhere)],
                equal
            )
            .rollouts
            .len(),
            2
        );
    }
}
