use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Inherited;
use super::egg::TOLD;
use super::wire::{Grant, PROTOCOL, Step, Wire};

/// The old process, as the new one sees it.
#[derive(Debug)]
pub struct Incoming(Wire);

/// For an answer of the old process, which has nothing else to do.
const ANSWER: Duration = Duration::from_secs(10);

impl Incoming {
    /// Asks the process that started this one for its sockets; none where it was no gateway.
    ///
    /// # Errors
    /// The sockets did not come.
    pub fn from_env() -> io::Result<Option<(Self, Inherited)>> {
        if std::env::var_os(TOLD).is_none() {
            return Ok(None);
        }
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        // Else the old process would not hear the end of this one from what this one may start some day.
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        let mut wire = Wire::new(UnixStream::from(input), ANSWER);
        wire.send(&Step::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() }, &[])?;
        let mut sockets = Vec::new();
        loop {
            let Some((grant, fds)) = wire.receive()? else { return Err(gone()) };
            let Grant::Sockets { names, more } = grant else { continue };
            let count = names.len();
            sockets.extend(names.into_iter().zip(fds));
            if sockets.len() < count {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the sockets did not all arrive: the limit of open files may be too low",
                ));
            }
            if !more {
                return Ok(Some((Self(wire), sockets.into_iter().collect::<Inherited>())));
            }
        }
    }

    /// Says that this process could serve, and waits until it shall.
    ///
    /// # Errors
    /// The old process does not say so: it has ended, or has given up waiting.
    pub fn ready(&mut self) -> io::Result<()> {
        self.0.extend(ANSWER);
        self.0.send(&Step::Ready, &[])?;
        loop {
            match self.0.receive()? {
                Some((Grant::Go, _)) => return Ok(()),
                Some(_) => {}
                None => return Err(gone()),
            }
        }
    }

    /// Says that this process serves.
    pub fn serving(mut self) {
        self.0.extend(ANSWER);
        if let Err(error) = self.0.send(&Step::Serving, &[]) {
            log::warn!("the old process did not wait for this one to serve: {error}");
        }
    }

    /// Says why this process gives up.
    pub fn failed(mut self, why: &str) {
        self.0.extend(ANSWER);
        let _ = self.0.send(&Step::Failed { why: why.to_owned() }, &[]);
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the old process has ended or given up")
}
