//! Who the gateway is to the service that a request goes to: made ready before a target is chosen, shown on the header that goes out.

use std::sync::Arc;

use http::{HeaderValue, header};
use pingora_error::{Error, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::exchange::Step;
use super::{Exchange, Gateway, fallback, upstream};
use crate::problem::{Kind, Problem};
use crate::upstream::{Credentials, Failure, Lacking, within};

/// Waits until there are credentials to show to the service, where it gets any.
///
/// # Errors
/// There are none: the problem waits in the exchange, or another service stands in.
pub(super) async fn ready(gateway: &Gateway, session: &Session, exchange: &mut Exchange) -> Result<()> {
    exchange.ready = None;
    let Some(credentials) = exchange.targets().and_then(|targets| targets.credentials.clone()) else { return Ok(()) };
    // Its future is large: no request that needs none shall carry it about.
    Box::pin(make(gateway, session, exchange, credentials)).await
}

async fn make(gateway: &Gateway, session: &Session, exchange: &mut Exchange, credentials: Arc<Credentials>) -> Result<()> {
    exchange.step = Step::Authenticating;
    let about = credentials.about(session.req_header(), &exchange.cx);
    let made = match exchange.total {
        None => Some(credentials.ready(&about).await),
        Some(total) => within(total.saturating_sub(exchange.started.elapsed()), credentials.ready(&about)).await,
    };
    match made {
        Some(Ok(ready)) => {
            exchange.ready = Some(ready);
            Ok(())
        }
        Some(Err(lacking)) => Err(lack(gateway, exchange, lacking)),
        None => Err(upstream::raise(exchange, upstream::late(Step::Authenticating))),
    }
}

fn lack(gateway: &Gateway, exchange: &mut Exchange, lacking: Lacking) -> Box<Error> {
    if let Some(service) = exchange.service() {
        gateway.0.shard.credentials_missing.with_label_values(&[&*service.name]).inc();
    }
    // Before the first attempt nobody has seen the request, so another service may get it.
    let is_unseen = exchange.attempts == exchange.spent;
    if fallback::fall(gateway, exchange, Failure::Connect, is_unseen) {
        let mut error = upstream::pending();
        error.set_retry(true);
        return error;
    }
    let Lacking { cause, after } = lacking;
    let problem = Problem::new(Kind::Unavailable, "the gateway has no credentials to show to the service").cause(cause);
    let after = (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1);
    let problem = problem.member("step", Step::Authenticating.name()).header(header::RETRY_AFTER, HeaderValue::from(after));
    upstream::raise(exchange, problem)
}

/// Shows them on the header that goes out: last of all, so that nothing of the client or of a policy stands in their place.
///
/// # Errors
/// The service gets some, and none are ready.
pub(super) fn show(exchange: &Exchange, req: &mut RequestHeader) -> Result<(), Problem> {
    if exchange.targets().is_none_or(|targets| targets.credentials.is_none()) {
        return Ok(());
    }
    let ready = exchange.ready.as_ref().ok_or_else(|| Problem::new(Kind::Internal, "the request goes out without credentials"))?;
    ready.show(req);
    Ok(())
}
