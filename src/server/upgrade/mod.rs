//! One process after the other, without a connection lost between them: the running one starts the new one, passes it the listening sockets, and serves on
//! until the new one does. All goes over Unix sockets of our own, in a small protocol that older and newer binaries speak alike.

// Each uses only those above it.
mod wire;
mod control;
mod egg;
mod give;
mod take;
mod door;

use std::os::fd::OwnedFd;

pub use control::Control;
pub use door::Door;
pub use egg::hatch;
pub use give::Upgrades;
pub use take::Incoming;
pub use wire::{Ask, Name, News, Role, Wire};

/// The name of the socket for commands, in the folder that systemd gives.
pub const SOCKET: &str = "upgrade.sock";

/// Sockets that were open before this process was.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(Name, OwnedFd)>);

impl Inherited {
    /// Takes the socket of this address, most likely that of the same role; with port 0 only that.
    pub fn claim(&mut self, role: Role, address: &str) -> Option<OwnedFd> {
        let same = |other: &Name| other.address == address;
        let place = self.0.iter().position(|(name, _)| name.role == role && same(name));
        let place = place.or_else(|| self.0.iter().position(|(name, _)| same(name) && !address.ends_with(":0")))?;
        Some(self.0.remove(place).1)
    }

    /// The addresses that nobody has claimed.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.address.as_str())
    }
}

impl FromIterator<(Name, OwnedFd)> for Inherited {
    fn from_iter<I: IntoIterator<Item = (Name, OwnedFd)>>(sockets: I) -> Self {
        Self(sockets.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_socket_goes_to_whom_it_served_and_to_nobody_twice() {
        let names = [(Role::Admin, "127.0.0.1:0"), (Role::Listener, "127.0.0.1:0"), (Role::Listener, "[::]:80")];
        let sockets: Vec<_> = names.iter().map(|_| OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap())).collect();
        let numbers: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let names = names.map(|(role, address)| Name { role, address: address.to_owned() });
        let mut inherited: Inherited = names.into_iter().zip(sockets).collect();
        assert_eq!(inherited.claim(Role::Listener, "127.0.0.1:0").unwrap().as_raw_fd(), numbers[1]);
        assert!(inherited.claim(Role::Listener, "127.0.0.1:0").is_none(), "a port of the admin's choice is no listener's");
        assert_eq!(inherited.claim(Role::Admin, "[::]:80").unwrap().as_raw_fd(), numbers[2], "an address may change hands");
        assert!(inherited.claim(Role::Admin, "[::]:80").is_none());
        assert_eq!(inherited.addresses().collect::<Vec<_>>(), ["127.0.0.1:0"]);
    }
}
