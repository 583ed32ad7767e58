//! Which queue a task goes to that names none, by its name.

use super::fnmatch::fnmatch;
use std::sync::Arc;

/// Patterns of tasks' names, each with its queue. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(Arc<[(String, String)]>);

impl Routes {
    /// Of pattern and queue. Patterns are those of Celery's `task_routes`: `*`, `?` and `[…]`.
    ///
    /// A pattern without any of these counts first, then a longer one before a shorter one.
    pub fn new(mut routes: Vec<(String, String)>) -> Self {
        routes.sort_by_key(|(pattern, _)| (pattern.contains(['*', '?', '[']), usize::MAX - pattern.len()));
        Self(routes.into())
    }

    /// The queue for a task of that name, if a pattern fits.
    pub fn queue(&self, task: &str) -> Option<&str> {
        self.0.iter().find(|(pattern, _)| fnmatch(pattern, task)).map(|(_, queue)| queue.as_str())
    }
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
