use super::*;

fn render(template: &str, stream: &str) -> Result<String, TemplateError> {
    let labels = BTreeMap::from([
        ("team".to_owned(), "a/b".to_owned()),
        ("empty".to_owned(), String::new()),
    ]);
    let date = Date::new(2026, 2, 3).unwrap();
    let values = Values {
        namespace: "acme",
        flow: "lake",
        stream,
        labels: &labels,
        date,
    };
    template.parse::<Template>()?.render(&values)
}

#[test]
fn every_variable_has_its_value() {
    let all = "s3://lake/{namespace}/{flow}/{stream}/{label:team}/{date}/{date:%Y}/{date:%m-%d}";
    assert_eq!(
        render(all, "public.users").unwrap(),
        "s3://lake/acme/lake/public.users/a%2Fb/2026-02-03/2026/02-03"
    );
}

#[test]
fn doubled_braces_are_text() {
    assert_eq!(render("a{{b}}c{{{stream}}}", "s").unwrap(), "a{b}c{s}");
    assert_eq!(render("plain", "s").unwrap(), "plain");
    assert_eq!(render("", "s").unwrap(), "");
}

#[test]
fn values_cannot_leave_their_place() {
    for (stream, safe) in [
        ("../../etc/passwd", ".%2E%2F.%2E%2Fetc%2Fpasswd"),
        ("..", ".%2E"),
        (".", "%2E"),
        ("a=b", "a%3Db"),
        ("a\0b", "a%00b"),
        ("100%", "100%25"),
        ("a%2Fb", "a%252Fb"),
        ("å b", "å b"),
    ] {
        assert_eq!(render("{stream}", stream).unwrap(), safe);
    }
}

#[test]
fn different_values_never_render_alike() {
    let names = [
        "a/b", "a%2Fb", "a%252Fb", "a..b", "a.b", "a.%2Eb", "..", ".", "%2E", "a\\b", "a=b", "A=b",
    ];
    let rendered: std::collections::BTreeSet<_> = names.iter().map(|name| safe(name)).collect();
    assert_eq!(rendered.len(), names.len());
}

#[test]
fn what_is_wrong_is_told() {
    for (template, error) in [
        (
            "{table}",
            "{table} is not a variable; known are {namespace}, {flow}, {stream}, {label:NAME}, {date} and {date:FORMAT}",
        ),
        (
            "{label:}",
            "{label:} is not a variable; known are {namespace}, {flow}, {stream}, {label:NAME}, {date} and {date:FORMAT}",
        ),
        (
            "{stream",
            "a brace stands alone; write {{ or }} for a brace that is text",
        ),
        (
            "stream}",
            "a brace stands alone; write {{ or }} for a brace that is text",
        ),
        (
            "{date:%Q!}",
            "{date:%Q!} has no valid date format; write one such as {date:%Y-%m-%d}",
        ),
        (
            "{date:%H}",
            "{date:%H} has no valid date format; write one such as {date:%Y-%m-%d}",
        ),
        (
            "{label:none}",
            "the Flow has no label none; add it under metadata.labels",
        ),
        (
            "{label:empty}",
            "the Flow has no label empty; add it under metadata.labels",
        ),
    ] {
        assert_eq!(render(template, "s").unwrap_err().to_string(), error);
    }
}

#[test]
fn a_template_knows_whether_it_tells_streams_apart() {
    assert!("a/{stream}".parse::<Template>().unwrap().is_per_stream());
    assert!(!"a/{flow}".parse::<Template>().unwrap().is_per_stream());
}
