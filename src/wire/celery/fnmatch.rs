//! Names against patterns, as Python's `fnmatch` compares them: `*`, `?`, `[abc]`, `[a-z]`, `[!abc]`.

/// Whether the whole name is as the pattern says. Takes at most pattern times name steps.
pub(super) fn fnmatch(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // The last star, and how much of the name it takes.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        let step = match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, seen));
                at += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => set(&pattern[at + 1..], name[seen]),
            Some(letter) => (*letter == name[seen]).then_some(1),
            None => None,
        };
        match (step, &mut star) {
            (Some(step), _) => (at, seen) = (at + step, seen + 1),
            (None, Some((after, taken))) => {
                *taken += 1;
                (at, seen) = (*after, *taken);
            }
            (None, None) => return false,
        }
    }
    pattern[at.min(pattern.len())..].iter().all(|letter| *letter == '*')
}

/// The length of a set in the pattern, with its brackets, if the letter is in it. One that is not closed is a plain `[`.
fn set(rest: &[char], letter: char) -> Option<usize> {
    let negated = rest.first() == Some(&'!');
    let first = usize::from(negated);
    // A bracket in the first place is a member.
    let Some(end) = rest.iter().skip(first + 1).position(|found| *found == ']').map(|found| found + first + 1) else {
        return (letter == '[').then_some(1);
    };
    let (members, mut at, mut found) = (&rest[first..end], 0, false);
    while at < members.len() {
        match members[at..] {
            [from, '-', to, ..] => {
                found |= (from..=to).contains(&letter);
                at += 3;
            }
            _ => {
                found |= members[at] == letter;
                at += 1;
            }
        }
    }
    (found != negated).then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_mean_what_they_mean_in_python() {
        let cases = [
            ("ctl@*", "ctl@lab", true),
            ("ctl@*", "tl@lab", false),
            ("*@lab", "ctl@lab", true),
            ("*a*b", "xaabab", true),
            ("*a*b", "xaaba", false),
            ("c?l@lab", "ctl@lab", true),
            ("c?l", "cl", false),
            ("[a-c]tl[!0-9]lab", "ctl@lab", true),
            ("[a-c]tl[!0-9]lab", "ctl1lab", false),
            ("[]x]", "]", true),
            ("[!]x]", "]", false),
            ("[ab", "[ab", true),
            ("[]", "[]", true),
            ("a[-z]", "a-", true),
            ("CTL@*", "ctl@lab", false),
            ("", "", true),
            ("**", "", true),
            ("?", "", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fnmatch(pattern, name), expected, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_ends_and_a_star_around_a_part_finds_it(pattern in ".{0,40}", name in "[a-z@]{3,40}") {
            fnmatch(&pattern, &name);
            let (start, end) = (&name[1..2], &name[name.len() - 1..]);
            let (pattern, text) = (format!("?{start}*{end}"), format!("{name}{end}"));
            prop_assert!(fnmatch(&pattern, &text));
        }
    }
}
