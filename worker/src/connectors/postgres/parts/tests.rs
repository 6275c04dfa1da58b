use super::{Leaf, Part};

#[test]
fn ranges_cover_every_page_once_and_the_last_is_open() {
    for pages in [0, 1, 2, 99, 100, 101, 8191, 123_457] {
        let parts = Leaf {
            from: "t".into(),
            pages,
        }
        .split(100);
        let mut next = 0;
        for (at, Part { pages: range, .. }) in parts.iter().enumerate() {
            let Some((from, to)) = range else {
                assert_eq!(parts.len(), 1);
                continue;
            };
            assert_eq!(*from, next);
            assert_eq!(to.is_none(), at + 1 == parts.len());
            next = to.unwrap_or(u64::MAX);
            assert!(to.is_none_or(|to| to > *from && to - from <= 100));
        }
    }
}

#[test]
fn a_part_reads_its_pages_and_its_condition() {
    let part = Part {
        from: "ONLY \"a\".\"b\"".into(),
        pages: Some((10, Some(20))),
    };
    assert_eq!(
        part.select(&["\"x\"", "\"y\"::text"], Some("z > 1")),
        "SELECT \"x\", \"y\"::text FROM ONLY \"a\".\"b\" WHERE (z > 1) AND ctid >= '(10,0)'::tid AND ctid < '(20,0)'::tid"
    );
}
