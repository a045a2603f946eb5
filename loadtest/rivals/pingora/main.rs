//! Pingora with as little as a proxy can do, to tell what is its cost and what is ours: `pingora CONFIG LISTEN SERVICE`.
#![allow(missing_docs, reason = "a program for load tests")]

use std::error::Error;

use async_trait::async_trait;
use pingora_core::prelude::{HttpPeer, Opt, Result};
use pingora_core::server::Server;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// Of the same allocator: its share is not small.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The address of the service.
struct Bare(String);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0.as_str(), false, String::new())))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let [config, listen, service] =
        <[String; 3]>::try_from(std::env::args().skip(1).collect::<Vec<_>>()).map_err(|_| "wants CONFIG LISTEN SERVICE")?;
    let mut server = Server::new(Some(Opt { conf: Some(config), ..Opt::default() }))?;
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Bare(service));
    proxy.add_tcp(&listen);
    server.add_service(proxy);
    server.run_forever()
}
