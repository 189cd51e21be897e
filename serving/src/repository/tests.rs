use super::*;

const YAML: &str = "inputs: [{name: x, datatype: FP32, shape: [-1, 2]}]\noutputs: [{name: y, datatype: FP32, shape: [-1]}]\n";

fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

#[track_caller]
fn refused(files: &[(&str, &str)], problems: &[&str]) {
    let dir = repository(files);
    let found = read(dir.path()).unwrap_err().0;
    let prefix = format!("{}/", dir.path().display());
    let found: Vec<String> = found
        .iter()
        .map(|problem| problem.to_string().replace(&prefix, ""))
        .collect();
    assert_eq!(found.len(), problems.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(problems) {
        assert!(found.starts_with(wanted), "{found}\nwanted: {wanted}");
        assert!(found.contains("; "), "{found} must say what to do");
    }
}

#[test]
fn models_and_versions_are_found_in_numeric_order() {
    let dir = repository(&[
        ("fraud/model.yaml", YAML),
        ("fraud/10/model.pt", "x"),
        ("fraud/9/model.pt", "x"),
        ("a.b-c_D/model.yaml", YAML),
        ("a.b-c_D/1/model.pt", "x"),
        ("README.md", "notes beside the models are fine"),
        ("..data/x", "so are the links of Kubernetes volumes"),
    ]);
    let found = read(dir.path()).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|entry| (entry.model.as_str(), entry.version))
        .collect();
    assert_eq!(found, [("a.b-c_D", 1), ("fraud", 9), ("fraud", 10)]);
}

#[test]
fn all_problems_are_told_at_once() {
    refused(
        &[
            ("a b/model.yaml", YAML),
            ("empty/model.yaml", YAML),
            ("fraud/model.yaml", "inputs: []\noutputs: []\n"),
            ("fraud/v1/model.pt", "x"),
            ("fraud/01/model.pt", "x"),
            ("fraud/2/other.pt", "x"),
            ("fraud/3/model.pt", ""),
            ("fraud/4/model.pt/x", ""),
            ("plain/1/model.pt", "x"),
        ],
        &[
            "a b: model name 'a b' is not allowed",
            "empty: no versions",
            "fraud/model.yaml:1: 0 inputs",
            "fraud/model.yaml:2: 0 outputs",
            "fraud/01: '01' is not a version",
            "fraud/v1: 'v1' is not a version",
            "fraud/2/model.pt: cannot be read: it does not exist",
            "fraud/3/model.pt: the file is empty",
            "fraud/4/model.pt: not a file",
            "plain/model.yaml: cannot be read: it does not exist",
        ],
    );
}

#[test]
fn a_folder_that_is_no_repository_is_refused() {
    let missing = read(Path::new("nowhere/at/all")).unwrap_err().to_string();
    assert!(
        missing.contains("nowhere/at/all: cannot be listed: it does not exist; check"),
        "{missing}"
    );
    refused(&[("model.yaml", YAML), ("1/model.pt", "x")], &[""]);
    refused(&[("notes.txt", "")], &[""]);
}

#[test]
fn versions_are_written_in_one_way_only() {
    assert_eq!(parse_version("7"), Some(7));
    for text in [
        "",
        "0",
        "07",
        "+7",
        "-7",
        "7.0",
        "v7",
        "18446744073709551616",
        "../7",
        "7 ",
    ] {
        assert_eq!(parse_version(text), None, "{text:?}");
    }
}

#[test]
fn the_policy_chooses_among_the_versions_and_the_others_are_not_looked_at() {
    let found = |policy: &str| {
        let yaml = format!("{YAML}versions: {policy}\n");
        let dir = repository(&[
            ("fraud/model.yaml", &yaml),
            ("fraud/3/model.pt", "x"),
            ("fraud/9/model.pt", ""),
            ("fraud/10/model.pt", "x"),
            ("fraud/11/model.pt", "x"),
        ]);
        let found = read(dir.path());
        found.map(|entries| {
            entries
                .iter()
                .map(|entry| entry.version)
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(found("{latest: 1}").unwrap(), [11]);
    assert_eq!(found("{latest: 2}").unwrap(), [10, 11]);
    assert_eq!(found("{specific: [3, 10]}").unwrap(), [3, 10]);
    for policy in ["all", "{latest: 3}", "{specific: [9]}"] {
        let problem = found(policy).unwrap_err().to_string();
        assert!(
            problem.contains("fraud/9/model.pt: the file is empty"),
            "{problem}"
        );
    }
    let problem = found("{specific: [3, 12]}").unwrap_err().to_string();
    assert!(
        problem.contains("fraud/12: cannot be read: model.yaml or config.pbtxt serves version 12, which does not exist; put it there"),
        "{problem}"
    );
}
