//! What the tests of several files here start from.

use crate::wire::celery::{Embed, Head, Task};

/// A task of which nothing is set but its name.
pub(super) fn task() -> Task {
    Task {
        head: Head { id: "id".into(), name: "demo.add".into(), ..Head::default() },
        shadow: None,
        args: Vec::new(),
        kwargs: Vec::new(),
        embed: Embed::default(),
        eta: None,
        expires: None,
        retries: 0,
        soft_limit: None,
        hard_limit: None,
        args_repr: "(1,)".to_owned(),
        kwargs_repr: "{}".to_owned(),
        stamps: Vec::new(),
        extra: crate::envelope::Headers::default(),
    }
}
