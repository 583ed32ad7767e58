//! The scripts that Redis runs for us, each in one step that nobody comes between.

use super::link::Connection;
use redis::{Cmd, FromRedisValue, RedisResult, Script, ScriptInvocation};
use std::future::Future;

/// The scripts, sent in whole only to a Redis that does not know them yet.
pub(super) struct Scripts {
    pub(super) store: Script,
    pub(super) begin: Script,
    pub(super) part: Script,
    pub(super) hold: Script,
    pub(super) finish: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            store: Script::new(include_str!("lua/store.lua")),
            begin: Script::new(include_str!("lua/begin.lua")),
            part: Script::new(include_str!("lua/part.lua")),
            hold: Script::new(include_str!("lua/hold.lua")),
            finish: Script::new(include_str!("lua/finish.lua")),
        }
    }
}

/// What is sent to Redis and may be sent again, since it has the same effect twice as once.
pub(super) trait Call {
    /// Sends it and waits for the answer.
    fn send<T: FromRedisValue + Send>(&self, to: &mut Connection) -> impl Future<Output = RedisResult<T>> + Send;
}

impl Call for Cmd {
    async fn send<T: FromRedisValue + Send>(&self, to: &mut Connection) -> RedisResult<T> {
        self.query_async(to).await
    }
}

impl Call for ScriptInvocation<'_> {
    async fn send<T: FromRedisValue + Send>(&self, to: &mut Connection) -> RedisResult<T> {
        self.invoke_async(to).await
    }
}
