//! What the tests of several files here start from.

use crate::wire::celery::{Head, Task};

/// A task of which nothing is set but its name.
pub(super) fn task() -> Task {
    Task {
        head: Head { id: "id".into(), name: "demo.add".into(), ..Head::default() },
        args_repr: "(1,)".to_owned(),
        kwargs_repr: "{}".to_owned(),
        ..Task::default()
    }
}
