use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where to listen: an IP address with a port, or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^unix:/.|:[0-9]{1,5}$"))]
pub enum Address {
    /// `127.0.0.1:8080` or `[::]:8080`.
    Tcp(SocketAddr),
    /// `unix:/run/tidegate.sock`.
    Unix(PathBuf),
}

/// What the system has room for in the name of a socket.
const LONGEST: usize = 107;

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                path if !path.starts_with('/') => {
                    Err(de::Error::custom(format!("`{text}` is not a whole path; write one like `unix:/run/tidegate.sock`")))
                }
                path if path.len() > LONGEST => {
                    Err(de::Error::custom(format!("the path of a Unix socket has at most {LONGEST} bytes; write a shorter one")))
                }
                path => Ok(Self::Unix(path.into())),
            };
        }
        let wrong = || {
            format!(
                "`{text}` is not an IP address with a port; write one like `127.0.0.1:8080`, or a socket like `unix:/run/tidegate.sock`"
            )
        };
        text.parse().map(Self::Tcp).map_err(|_| de::Error::custom(wrong()))
    }
}
