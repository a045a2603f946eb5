use futures_util::FutureExt;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;

/// A session that a call has taken. One that is not at the end of an answer is closed; one of HTTP/2 shares its connection with others, and none may forget
/// that it is over, not even where the call is broken off.
pub struct Lent<'a> {
    connector: &'a Connector<()>,
    peer: &'a HttpPeer,
    session: Option<HttpSession>,
}

impl<'a> Lent<'a> {
    /// Connects, or takes a connection that was kept, and says which.
    ///
    /// # Errors
    /// No connection came about.
    pub async fn take(connector: &'a Connector<()>, peer: &'a HttpPeer) -> Result<(Self, bool)> {
        let (session, reused) = connector.get_http_session(peer).await?;
        Ok((Self { connector, peer, session: Some(session) }, reused))
    }

    /// The session, until it is given back.
    pub fn session(&mut self) -> Option<&mut HttpSession> {
        self.session.as_mut()
    }

    /// Gives it back, for the next call where it can take one.
    pub async fn give_back(mut self) {
        if let Some(session) = self.session.take() {
            self.connector.release_http_session(session, self.peer, self.peer.options.idle_timeout).await;
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(session @ HttpSession::H2(_)) = self.session.take() {
            // Nothing is waited for there.
            self.connector.release_http_session(session, self.peer, self.peer.options.idle_timeout).now_or_never();
        }
    }
}
