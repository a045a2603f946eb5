use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The Unix socket on which a process takes commands: only its own user and root can connect.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Where it is until it is published.
    aside: Option<PathBuf>,
}

impl Control {
    /// Opens the socket beside its path, where nobody looks yet: in an upgrade the path is the old process's until the new one serves. Another gateway
    /// that takes commands there, and is not to be replaced, is an error.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn bind(path: &Path, replaces: bool) -> io::Result<Self> {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if !replaces && UnixStream::connect(path).is_ok() {
            return Err(failed(io::Error::new(io::ErrorKind::AddrInUse, "another gateway takes commands there")));
        }
        let aside = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
        // What a process of the same id left behind.
        let _ = std::fs::remove_file(&aside);
        let listener = UnixListener::bind(&aside).map_err(failed)?;
        let control = Self { listener, path: path.to_owned(), aside: Some(aside) };
        if let Some(aside) = &control.aside {
            std::fs::set_permissions(aside, Permissions::from_mode(0o600)).map_err(failed)?;
        }
        control.listener.set_nonblocking(true)?;
        Ok(control)
    }

    /// Puts it where commands look, in one step: whoever was there takes none from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn publish(&mut self) -> io::Result<()> {
        if let Some(aside) = &self.aside {
            std::fs::rename(aside, &self.path)?;
            self.aside = None;
        }
        Ok(())
    }

    /// The next command, from somebody who may give one.
    ///
    /// # Errors
    /// The system's.
    pub async fn accept(listener: &tokio::net::UnixListener) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = listener.accept().await?;
            // The mode of the file says the same; an administrator may have opened it.
            let peer = stream.peer_cred()?;
            if peer.uid() != 0 && peer.uid() != rustix::process::geteuid().as_raw() {
                log::warn!("user {} may not ask for an upgrade", peer.uid());
                continue;
            }
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            return Ok(stream);
        }
    }

    /// Where it is, and the socket, for the present runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn into_parts(mut self) -> io::Result<(PathBuf, tokio::net::UnixListener)> {
        let listener = self.listener.try_clone()?;
        self.aside = None;
        Ok((self.path.clone(), tokio::net::UnixListener::from_std(listener)?))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(aside) = &self.aside {
            let _ = std::fs::remove_file(aside);
        }
    }
}
