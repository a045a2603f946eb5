use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Uri;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::config::RedisConfig;
use crate::building::{BuildError, read_file};
use crate::tls::{certificates, roots};

/// Where a Redis is, and how it is spoken to.
pub(super) struct Place {
    at: At,
    /// The number of the database.
    pub database: i64,
}

enum At {
    Tcp { host: String, port: u16, tls: Option<(ServerName<'static>, TlsConnector)> },
    Unix(PathBuf),
}

/// A connection to it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Place {
    /// Reads the address, and the file that vouches for it.
    ///
    /// # Errors
    /// What is wrong, at its place below `redis`.
    pub fn build(config: &RedisConfig, folder: &Path) -> Result<Self, BuildError> {
        let fix = "write one like `redis://10.0.0.5:6379`, `rediss://redis.internal` or `unix:///run/redis.sock`";
        let wrong = || BuildError::new("this is no address of a Redis", fix).at("url");
        if let Some(path) = config.url.strip_prefix("unix://") {
            return match config.ca {
                Some(_) => Err(BuildError::new("there is no TLS on a socket of the same machine", "remove it").at("ca")),
                None if path.starts_with('/') => Ok(Self { at: At::Unix(path.into()), database: 0 }),
                None => Err(wrong()),
            };
        }
        if config.url.contains('@') {
            let reason = "an address is shown in logs, and this one has a user or a password in it";
            return Err(BuildError::new(reason, "write `username` and `password` beside it").at("url"));
        }
        let uri: Uri = config.url.parse().map_err(|_| wrong())?;
        let (host, path) = (uri.host().ok_or_else(wrong)?, uri.path().trim_matches('/'));
        let database = if path.is_empty() { 0 } else { path.parse::<u16>().map_err(|_| wrong())? };
        if uri.query().is_some() || host.is_empty() {
            return Err(wrong());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match (uri.scheme_str(), &config.ca) {
            (Some("redis"), None) => None,
            (Some("redis"), Some(_)) => return Err(BuildError::new("there is no TLS to `redis://`", "write `rediss://`").at("ca")),
            (Some("rediss"), ca) => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
                Some((name, connector(ca.as_deref(), folder).map_err(|error| error.at("ca"))?))
            }
            _ => return Err(wrong()),
        };
        Ok(Self { at: At::Tcp { host, port: uri.port_u16().unwrap_or(6379), tls }, database: database.into() })
    }

    /// Connects, and shakes hands where it is spoken to over TLS.
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match &self.at {
            At::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            At::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                match tls {
                    Some((name, connector)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
                    None => Ok(Box::new(stream)),
                }
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            At::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            At::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

fn connector(ca: Option<&str>, folder: &Path) -> Result<TlsConnector, BuildError> {
    let roots = match ca {
        Some(name) => roots(&certificates(&read_file(folder, name)?, name)?, name)?,
        None => system()?,
    };
    Ok(TlsConnector::from(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())))
}

/// Those whom the system believes.
fn system() -> Result<RootCertStore, BuildError> {
    let wrong = |why: String| BuildError::new(format!("the system's certificates cannot be read: {why}"), "name a file with some");
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().map_err(|error| wrong(error.to_string()))?);
    if added == 0 { Err(wrong("there are none".to_owned())) } else { Ok(store) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<String, String> {
        let config = serde_json::from_value(serde_json::json!({ "url": url })).unwrap();
        let place = Place::build(&config, Path::new("")).map_err(|error| error.path.to_string())?;
        Ok(format!("{place} {}", place.database))
    }

    #[test]
    fn an_address_says_where_it_is() {
        for (url, expected) in [
            ("redis://10.0.0.5", "10.0.0.5:6379 0"),
            ("redis://redis.internal:7000/3", "redis.internal:7000 3"),
            ("redis://[::1]:7000/", "[::1]:7000 0"),
            ("unix:///run/redis.sock", "/run/redis.sock 0"),
        ] {
            assert_eq!(place(url).as_deref(), Ok(expected));
        }
        for url in
            ["10.0.0.5:6379", "http://a", "redis://", "redis://a/b", "redis://a/?x", "redis://user:secret@a", "unix://run", "rediss://a b"]
        {
            assert_eq!(place(url).unwrap_err(), "url", "{url}");
        }
    }
}
