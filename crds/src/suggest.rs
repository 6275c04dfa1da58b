//! Words for advice: the nearest known name, and lists that read well.

/// The known name that is nearest to `word`, if one is near enough to be a slip of the pen.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase();
    known
        .into_iter()
        .map(|name| (distance(&folded, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= word.chars().count().max(name.chars().count()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `did you mean NAME?` where one is near, else `LEAD a, b and c`; nothing where none are known.
#[must_use]
pub fn advice<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, lead: &str) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(name) => format!("did you mean {name}?"),
        None if known.is_empty() => String::new(),
        None => format!("{lead} {}", list(&known, "and")),
    }
}

/// `a`, `a or b`, `a, b or c`; long lists are cut.
#[must_use]
pub fn list(words: &[&str], last: &str) -> String {
    const MOST: usize = 24;
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        _ if words.len() > MOST => format!("{} and {} more", words[..MOST].join(", "), words.len() - MOST),
        [most @ .., end] => format!("{} {last} {end}", most.join(", ")),
    }
}

/// Edits between two words: insert, delete, replace, or swap two neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests;
