//! Which queue a task goes to that names none, by its name.

use std::sync::Arc;

/// Patterns of tasks' names, each with its queue. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(Arc<[(String, String)]>);

impl Routes {
    /// Of pattern and queue. In a pattern `*` stands for any letters and `?` for one, as in Celery's `task_routes`.
    ///
    /// A pattern without either counts first, then a longer one before a shorter one.
    pub fn new(mut routes: Vec<(String, String)>) -> Self {
        routes.sort_by_key(|(pattern, _)| (pattern.contains(['*', '?']), usize::MAX - pattern.len()));
        Self(routes.into())
    }

    /// The queue for a task of that name, if a pattern fits.
    pub fn queue(&self, task: &str) -> Option<&str> {
        self.0.iter().find(|(pattern, _)| fits(pattern, task)).map(|(_, queue)| queue.as_str())
    }
}

/// Whether a pattern fits all of a text. Goes back only to the last star, so the time is at most their product.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[t] => (p, t) = (p + 1, t + 1),
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_counts_before_a_pattern_and_a_longer_pattern_before_a_shorter_one() {
        let routes =
            [("*", "rest"), ("mail.*", "mail"), ("mail.urgent.?", "fast"), ("mail.send", "send"), ("a*b*c", "abc")];
        let routes = Routes::new(routes.map(|(pattern, queue)| (pattern.to_owned(), queue.to_owned())).into());
        for (task, queue) in [
            ("mail.send", "send"),
            ("mail.send.all", "mail"),
            ("mail.urgent.1", "fast"),
            ("mail.urgent.12", "mail"),
            ("mail", "rest"),
            ("aXbbYc", "abc"),
            ("ac", "rest"),
            ("", "rest"),
        ] {
            assert_eq!(routes.queue(task), Some(queue), "{task}");
        }
        assert_eq!(Routes::default().queue("x"), None);
        assert_eq!(Routes::new(vec![("a*".into(), "q".into())]).queue("ba"), None);
    }
}
