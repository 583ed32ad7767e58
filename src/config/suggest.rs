//! The known name that somebody probably meant.

/// The candidate nearest to `given`: one that begins with it or the other way round, or differs by few letters.
pub(super) fn nearest<'c>(given: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let given = given.to_lowercase();
    // A third of the letters wrong is the most at which a suggestion still helps more than it puzzles.
    let most = (given.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|candidate| {
            let extends = given.len() > 1 && (candidate.starts_with(&given) || given.starts_with(candidate));
            let letters = distance(&given, candidate);
            (if extends { 1 } else { letters }, letters, candidate)
        })
        .filter(|(likely, _, _)| *likely <= most)
        .min()
        .map(|(_, _, candidate)| candidate)
}

/// The end of a sentence about a name that is none of these; `within` stands before the suggestion.
pub(super) fn meant(within: &str, given: &str, names: &[&str]) -> String {
    match nearest(given, names.iter().copied()) {
        Some(meant) => format!("did you mean {within}{meant}?"),
        None => format!("there are {}", names.join(", ")),
    }
}

/// The number of letters to insert, delete or replace, or of neighbours to swap, to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replace.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_nonsense_is_not() {
        let names = ["url", "queue", "queue_type", "prefetch", "password_file", "concurrency"];
        for (given, meant) in [
            ("quue", Some("queue")),
            ("qeueu", None),
            ("qeue", Some("queue")),
            ("perfetch", Some("prefetch")),
            ("Concurency", Some("concurrency")),
            ("password", Some("password_file")),
            ("queue_typ", Some("queue_type")),
            ("ulr", Some("url")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(given, names.into_iter()), meant, "{given}");
        }
    }
}
