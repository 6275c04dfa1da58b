use super::*;

fn parse_one(key: &str, value: &str) -> Result<Trigger, String> {
    let annotations = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    parse(&annotations).remove(0).map_err(|error| error.to_string())
}

fn trigger(name: &str, load: Load, streams: &[&str], token: &str) -> Trigger {
    let streams = streams.iter().map(ToString::to_string).collect();
    Trigger {
        name: name.to_owned(),
        load,
        streams,
        token: token.to_owned(),
        allow_deletes: false,
    }
}

#[test]
fn names_and_values_say_what_to_load() {
    assert_eq!(
        parse_one("millrace.dev/full_load", "1"),
        Ok(trigger("full_load", Load::Full, &[], "1"))
    );
    assert_eq!(
        parse_one("millrace.dev/delta_load_public.users", "2026-01-01T00:00:00Z"),
        Ok(trigger(
            "delta_load_public.users",
            Load::Delta,
            &["public.users"],
            "2026-01-01T00:00:00Z"
        ))
    );
    assert_eq!(
        parse_one(
            "millrace.dev/full_load",
            "7;tables=public.users, public.orders,public.users;allow-deletes"
        ),
        Ok(Trigger {
            allow_deletes: true,
            ..trigger("full_load", Load::Full, &["public.users", "public.orders"], "7")
        })
    );
}

#[test]
fn annotations_of_others_are_passed_over() {
    let keys = [
        "kubectl.kubernetes.io/last-applied-configuration",
        ADOPT_STATE,
        "full_load",
    ];
    assert_eq!(
        parse(&keys.map(|key| (key.to_owned(), "x".to_owned())).into()),
        []
    );
}

#[test]
fn what_is_wrong_is_told() {
    let long = "x".repeat(1025);
    for (name, value, error) in [
        (
            "fullload",
            "1",
            "means nothing to Millrace; did you mean full_load?",
        ),
        (
            "reload",
            "1",
            "means nothing to Millrace; known are full_load, delta_load, full_load_TABLE, delta_load_TABLE and adopt-state",
        ),
        (
            "full_load_",
            "1",
            "means nothing to Millrace; did you mean full_load?",
        ),
        (
            "full_load",
            "",
            "the token is empty; write any new text, for example the time",
        ),
        (
            "full_load",
            " ;tables=a",
            "the token is empty; write any new text, for example the time",
        ),
        (
            "full_load",
            &long,
            "the value is 1025 bytes long; write at most 1024",
        ),
        (
            "full_load",
            "1\n2",
            "the value holds a line break or another control character; write plain text",
        ),
        (
            "full_load",
            "1;table=a",
            "\"table=a\" is not an option; write tables=NAME,NAME or allow-deletes",
        ),
        (
            "full_load",
            "1;tables=,",
            "tables= names no table; leave it out to load all",
        ),
        (
            "full_load_a",
            "1;tables=b",
            "the table is named twice; leave out tables=, or write full_load or delta_load with tables=",
        ),
        (
            "delta_load",
            "1;allow-deletes",
            "allow-deletes is for full loads; write full_load, or leave it out",
        ),
    ] {
        let expected = format!("annotation millrace.dev/{name}: {error}");
        assert_eq!(parse_one(&format!("millrace.dev/{name}"), value), Err(expected));
    }
}
