//! What answers by itself instead of forwarding.

mod redirect;

pub use redirect::{Redirect, RedirectConfig};

use std::sync::Arc;

use pingora_http::RequestHeader;

use crate::ctx::Ctx;
use crate::problem::Problem;
use crate::types::Reply;

/// One handler, ready to answer.
#[derive(Debug)]
pub enum Handler {
    /// A fixed answer.
    Reply(Arc<Reply>),
    /// The way to another place.
    Redirect(Redirect),
}

impl Handler {
    /// Answers the request.
    ///
    /// # Errors
    /// The problem to answer with instead.
    pub fn answer(&self, req: &RequestHeader, cx: &Ctx) -> Result<Arc<Reply>, Problem> {
        match self {
            Handler::Reply(reply) => Ok(reply.clone()),
            Handler::Redirect(redirect) => redirect.answer(req, cx).map(Arc::new),
        }
    }

    /// Its name in the config, in the log and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Handler::Reply(_) => "reply",
            Handler::Redirect(_) => "redirect",
        }
    }
}
