//! A real nginx, as Debian packages it.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::gateway::Folder;
use super::{eventually, port};

/// A running nginx. It is killed at the end of its test.
pub struct Nginx {
    pub address: SocketAddr,
    folder: Folder,
    child: Child,
}

impl Nginx {
    /// Starts it with these locations. `/www` below its folder is its root; `PUT` stores files there.
    pub fn start(locations: &str) -> Self {
        Self::speaking("", locations)
    }

    /// The same, in the protocol that these words behind `listen` say: `http2`, `ssl`, `ssl http2`.
    pub fn speaking(protocol: &str, locations: &str) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], port())), protocol, locations)
    }

    /// The same, at this address.
    pub fn start_at(address: SocketAddr, protocol: &str, locations: &str) -> Self {
        let binary = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"].iter().find(|path| PathBuf::from(path).exists());
        let binary = binary.expect("these tests need a real nginx: `make test` installs it, or `apt-get install nginx`");
        let folder = Folder::new();
        let dir = folder.path().display();
        std::fs::create_dir(folder.path().join("www")).unwrap();
        let config = format!(
            "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
            events {{ worker_connections 256; }}
            http {{
                access_log off; client_max_body_size 0; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
                fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
                server {{ listen {address} {protocol}; root {dir}/www; {locations} }}
            }}"
        );
        let path = folder.file("nginx.conf", config);
        let mut child = Command::new(binary).arg("-p").arg(folder.path()).arg("-c").arg(&path).stderr(Stdio::null()).spawn().unwrap();
        eventually("nginx listens", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("nginx ended with {status}: {}", std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default());
            }
            TcpStream::connect(address).ok()
        });
        Self { address, folder, child }
    }

    /// A file below its root.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("www").join(name)
    }

    /// Stops it where it is, so that its system takes connections and it never answers, or lets it go on.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Kills it, as a machine dies: its connections end where they are.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
