//! The three path fields.

use crate::config::RolloutConfig;
use crate::testing::{rollout_accepted, rollout_refused};

#[test]
fn paths_are_absolute_and_without_query() {
    let advice = "must begin with \"/\" and have no empty segment, query, fragment or space";
    for path in ["", "v2", "/a?b", "/a#b", "/a b", "//a", "/a//b", "/ä"] {
        rollout_refused(
            |it| it.path_prefix = Some(path.to_owned()),
            "pathPrefix",
            advice,
        );
        rollout_refused(|it| it.path = Some(path.to_owned()), "path", advice);
        rollout_refused(
            |it| it.path_template = Some(path.to_owned()),
            "pathTemplate",
            advice,
        );
    }
    for path in ["/", "/a", "/a/", "/a%20b", "/v2/models/fraud:predict"] {
        rollout_accepted(|it| it.path_prefix = Some(path.to_owned()));
        rollout_accepted(|it| it.path = Some(path.to_owned()));
        rollout_accepted(|it| it.path_template = Some(path.to_owned()));
    }
}

#[test]
fn a_rollout_has_one_of_the_path_fields() {
    let given = |it: &mut RolloutConfig| {
        it.path_prefix = Some("/a".to_owned());
        it.path = Some("/a".to_owned());
    };
    rollout_refused(
        given,
        "path",
        "pathPrefix is given as well: a rollout has one of them",
    );
    let given = |it: &mut RolloutConfig| {
        it.path = Some("/a".to_owned());
        it.path_template = Some("/{a}".to_owned());
    };
    rollout_refused(given, "pathTemplate", "path is given as well");
}

#[test]
fn only_a_template_has_names_and_stars() {
    let advice = "is taken literally: use pathTemplate";
    for path in ["/{name}", "/a/**", "/a*"] {
        rollout_refused(
            |it| it.path_prefix = Some(path.to_owned()),
            "pathPrefix",
            advice,
        );
        rollout_refused(|it| it.path = Some(path.to_owned()), "path", advice);
    }
    for template in ["/a{name}", "/{}", "/{name", "/*", "/**/a", "/a**", "/{a}b"] {
        rollout_refused(
            |it| it.path_template = Some(template.to_owned()),
            "pathTemplate",
            "has a segment that is neither text nor \"{name}\"",
        );
    }
    for template in ["/**", "/{a}/{b}/{c}/{d}", "/v2/{model}/**"] {
        rollout_accepted(|it| it.path_template = Some(template.to_owned()));
    }
}

#[test]
fn paths_are_short_enough_to_be_looked_up_fast() {
    rollout_accepted(|it| it.path = Some("/a".repeat(32)));
    rollout_refused(
        |it| it.path = Some("/a".repeat(33)),
        "path",
        "has more than 32 segments",
    );
    rollout_refused(
        |it| it.path_template = Some("/{a}".repeat(5)),
        "pathTemplate",
        "has more than 4 named segments",
    );
}
