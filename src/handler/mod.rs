//! What answers by itself instead of forwarding.

mod conversation;
mod inside;
pub mod jwks;
mod redirect;
mod relay;

pub use conversation::{Conversation, Failed, Said, Switch};
pub use inside::{Answered, Came, Inner, Inside};
pub use jwks::JwksConfig;
pub use redirect::{Redirect, RedirectConfig};
pub use relay::{Closed, Counts, Ended, How, Relay, is_asked, relay};

use std::sync::Arc;

use crate::types::Reply;

/// One handler, ready to answer.
#[derive(Debug)]
pub enum Handler {
    /// A fixed answer.
    Reply(Arc<Reply>),
    /// The way to another place.
    Redirect(Redirect),
    /// The keys that the gateway signs with.
    Jwks(Arc<Reply>),
}

impl Handler {
    /// Answers the request.
    ///
    /// # Errors
    /// The problem to answer with instead, or a client that is gone.
    pub async fn answer(&self, talk: &mut impl Conversation) -> Result<(), Failed> {
        match self {
            Handler::Reply(reply) | Handler::Jwks(reply) => talk.reply(reply).await,
            Handler::Redirect(redirect) => {
                let reply = redirect.answer(talk.request(), talk.cx())?;
                talk.reply(&reply).await
            }
        }
    }

    /// Its name in the config, in the log and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Handler::Reply(_) => "reply",
            Handler::Redirect(_) => "redirect",
            Handler::Jwks(_) => "jwks",
        }
    }
}
