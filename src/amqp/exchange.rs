//! Exchanges that several programs declare alike: whoever comes second with other flags is refused, so they are fixed.

use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use std::time::Duration;
use tracing::warn;

use super::binding::kind;
use super::connection::Link;
use super::topology::refusal;
use super::{Error, properties};

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routes {
    /// To every queue that is bound to it.
    Fanout,
    /// By the very routing key.
    Direct,
    /// By patterns of routing keys.
    Topic,
}

/// An exchange that is declared before it is used; never auto-deleted, without arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedExchange {
    /// Its name.
    pub name: &'static str,
    /// How it routes.
    pub routes: Routes,
    /// Whether it outlives the broker's restart.
    pub durable: bool,
}

impl SharedExchange {
    /// Declares it on that channel, each time on one of its own: a refusal closes it. One that exists with other flags is used
    /// as it is, since somebody else lives with it; the log says how it differs.
    pub(super) async fn declare(self, link: &Link, deadline: Duration) -> Result<(), Error> {
        let channel = link.channel(deadline).await?;
        let name = properties::short("exchange", self.name.to_owned()).map_err(|e| Error::Channel(e.to_string()))?;
        let kind = kind(self.routes);
        let options = ExchangeDeclareOptions { durable: self.durable, ..ExchangeDeclareOptions::default() };
        let mut refused = None;
        let declaring = async {
            let declared = channel.exchange_declare(name, kind, options, FieldTable::default()).await;
            refused = declared.as_ref().err().and_then(refusal);
            declared
        };
        match link.answer("exchange.declare", deadline, declaring).await {
            Ok(()) => {
                // Dropped, it would be closed without waiting; that it is closed at all is all that matters.
                let _ = link.answer("channel.close", deadline, channel.close(200, "done".into())).await;
                Ok(())
            }
            Err(error) => match refused {
                Some((406, words)) => {
                    warn!(exchange = self.name, %words, "an exchange exists otherwise than Celery declares it; it is used as it is");
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }
}
