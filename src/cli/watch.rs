use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::mpsc::Sender;

use crate::config::Sources;

/// Wakes when a file of the config changes, or one comes or goes that a glob takes.
pub struct Watch {
    watcher: RecommendedWatcher,
    /// With those below them, or without.
    folders: Vec<(PathBuf, bool)>,
    sources: Arc<Mutex<Sources>>,
}

impl Watch {
    /// Watches these files until it is dropped.
    ///
    /// # Errors
    /// Not even the folder of the main file can be watched.
    pub fn start(sources: &Sources, wake: Sender<Duration>) -> notify::Result<Self> {
        let ours = Arc::new(Mutex::new(Sources::default()));
        let known = ours.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let sources = known.lock();
            if let Some(delay) = event.paths.iter().filter_map(|path| due(event.kind, path, &sources)).min() {
                let _ = wake.try_send(delay);
            }
        })?;
        let mut watch = Self { watcher, folders: Vec::new(), sources: ours };
        for error in watch.change(sources) {
            // Of a folder that holds keys one may be allowed to read the files and not to list them, which is what watching takes.
            if watch.folders.is_empty() {
                return Err(error);
            }
            log::warn!("changes will not be noticed, and SIGHUP is needed: {error}");
        }
        Ok(watch)
    }

    /// Goes on with these files. A folder that cannot be watched is left out: it may not be there yet, and SIGHUP works without it.
    pub fn follow(&mut self, sources: &Sources) {
        for error in self.change(sources) {
            log::warn!("changes will not be noticed: {error}");
        }
    }

    fn change(&mut self, sources: &Sources) -> Vec<notify::Error> {
        let sources = sources.absolute();
        let wanted = sources.folders();
        *self.sources.lock() = sources;
        let gone: Vec<_> = self.folders.extract_if(.., |folder| !wanted.contains(folder)).collect();
        for (folder, _) in gone {
            let _ = self.watcher.unwatch(&folder);
        }
        let mut failed = Vec::new();
        for (folder, below) in wanted {
            if self.folders.iter().any(|(known, _)| *known == folder) {
                continue;
            }
            // The folder, not the file: an editor or a deployment replaces the file by renaming another onto it.
            let mode = if below { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            match self.watcher.watch(&folder, mode) {
                Ok(()) => self.folders.push((folder, below)),
                Err(error) => failed.push(error),
            }
        }
        failed
    }
}

/// How long to wait before the config is read again, where that is due: a change of a file, or of the link that Kubernetes turns to a new version of a
/// whole folder.
fn due(kind: EventKind, path: &Path, sources: &Sources) -> Option<Duration> {
    let ours = path.file_name() == Some(OsStr::new("..data")) || sources.has(path);
    let gone = matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)));
    match (ours, is_whole(kind)) {
        (false, _) => None,
        (true, true) => Some(Duration::ZERO),
        // Without the main file there is nothing to read.
        (true, false) => (gone && sources.files.first().is_some_and(|main| main != path)).then_some(SETTLE),
    }
}

/// An editor may move a file away just before it writes the new one. For a moment a glob does not find it, and its routes would be gone.
const SETTLE: Duration = Duration::from_secs(1);

/// Whether a file is whole again. One that is still being written could be read as a shorter config, and a valid one. A rename is told once when
/// it arrives and once more as a whole: the second would only read the file again.
fn is_whole(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Name(RenameMode::To)))
}
