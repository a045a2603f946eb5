use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Control, Incoming, Upgrades};
use crate::server::systemd::Notify;

/// What stands between a process that could serve and one that does.
#[derive(Debug)]
pub struct Door {
    /// The process to take over from.
    pub incoming: Option<Incoming>,
    /// Where this one will take commands.
    pub control: Option<Control>,
    /// How it hands over one day.
    pub upgrades: Arc<Upgrades>,
    /// What systemd is told.
    pub notify: Arc<Notify>,
}

impl Door {
    /// Waits until this process shall serve: at once where there is none to take over from.
    ///
    /// # Errors
    /// It shall not.
    pub async fn wait(&mut self) -> io::Result<()> {
        let Some(mut incoming) = self.incoming.take() else { return Ok(()) };
        let task = tokio::task::spawn_blocking(move || incoming.ready().map(|()| incoming));
        self.incoming = Some(task.await.map_err(io::Error::other)??);
        Ok(())
    }

    /// Makes known that this process serves, and takes commands from now on, for as long as the answer lives.
    ///
    /// # Errors
    /// The system's.
    pub fn open(self) -> io::Result<Opened> {
        let Self { incoming, control, upgrades, notify } = self;
        let mut path = None;
        let mut task = None;
        if let Some(mut control) = control {
            control.publish()?;
            let (published, listener) = control.into_parts()?;
            path = Some(published);
            task = Some(tokio::spawn(commands(listener, upgrades)));
        }
        let serving = format!("READY=1\nSTATUS=serving, version {}", env!("CARGO_PKG_VERSION"));
        match incoming {
            Some(incoming) => {
                // In one message: between the two, systemd would take the old one's end for the service's.
                notify.say(&format!("MAINPID={}\n{serving}", std::process::id()));
                incoming.serving();
            }
            None => notify.say(&serving),
        }
        Ok(Opened { path, task })
    }
}

/// A process that takes commands.
#[derive(Debug)]
pub struct Opened {
    path: Option<std::path::PathBuf>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Opened {
    /// Takes none any more. The path is left to whoever serves now.
    pub fn close(&mut self, handed_over: bool) {
        if let Some(path) = self.path.take().filter(|_| !handed_over) {
            let _ = std::fs::remove_file(path);
        }
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn commands(listener: tokio::net::UnixListener, upgrades: Arc<Upgrades>) {
    loop {
        match Control::accept(&listener).await {
            Ok(stream) => {
                let upgrades = upgrades.clone();
                // A thread of its own: an upgrade takes as long as the new process does, and nobody waits for this thread at the end.
                if let Err(error) = std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || upgrades.answer(stream)) {
                    log::error!("a command could not be heard: {error}");
                }
            }
            Err(error) => {
                log::error!("a command could not be heard: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
