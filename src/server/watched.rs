//! Files that are read again when they change: passwords, rules, certificates.
//!
//! Whoever needs the content asks for it each time it is needed, and a look at the files' metadata, about a
//! microsecond, says whether it is still the same. No thread watches, and a link that now points elsewhere, as
//! Kubernetes renews what it mounts, counts as well.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::stamp::Stamp;

/// The largest file that is read, in bytes.
const MAX_SIZE: u64 = 4 * 1024 * 1024;
/// How long after its last change a file may change again with no trace in its metadata.
const GRANULE: Duration = Duration::from_millis(100);

/// Why a file of the server's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {why}", .path.display(), .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct FileError {
    path: PathBuf,
    line: Option<usize>,
    why: String,
    hint: Option<String>,
}

impl FileError {
    pub(super) fn new(path: &Path, why: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), line: None, why: why.to_string(), hint: None }
    }

    pub(super) fn line(path: &Path, error: LineError) -> Self {
        Self { path: path.to_owned(), line: Some(error.line), why: error.why, hint: error.hint }
    }

    pub(super) fn with_hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }

    /// What can be done about it, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// Why a line of a text is not understood. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct LineError {
    /// Which line.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

/// Reads a whole file, if it is not too large.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut content = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_SIZE + 1).read_to_end(&mut content));
    match read {
        Ok(size) if size as u64 > MAX_SIZE => Err(FileError::new(path, format!("has more than {MAX_SIZE} bytes"))),
        Ok(_) => Ok(content),
        Err(error) => Err(FileError::new(path, error)),
    }
}

/// The same, of a file that is text.
pub(super) fn read_text(path: &Path) -> Result<String, FileError> {
    String::from_utf8(read(path)?).map_err(|_| FileError::new(path, "is not text in UTF-8"))
}

/// What was last read from some files and could be used.
pub(super) struct Watched<T> {
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T, FileError> + Send + Sync>,
    state: Mutex<State<T>>,
}

struct State<T> {
    content: Arc<T>,
    /// What the files looked like before they were last read; nothing, if that does not say enough.
    stamps: Option<Vec<Stamp>>,
    /// What is wrong with the files since then, as it was logged.
    complaint: Option<String>,
}

impl<T> Watched<T> {
    /// What never changes.
    pub(super) fn fixed(content: T) -> Self {
        let state = State { content: Arc::new(content), stamps: Some(Vec::new()), complaint: None };
        let read = || Err(FileError::new(Path::new(""), "there is no file"));
        Self { files: Vec::new(), read: Box::new(read), state: Mutex::new(state) }
    }

    /// What `read` makes of `files`.
    ///
    /// # Errors
    /// When they cannot be used now. Later, what could be used last stays, and the log says so once.
    pub(super) fn new(
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let stamps = stamps(&files);
        let state = State { content: Arc::new(read()?), stamps, complaint: None };
        Ok(Self { files, read: Box::new(read), state: Mutex::new(state) })
    }

    /// The content now.
    pub(super) fn current(&self) -> Arc<T> {
        // A panic of `read` leaves the state as it was.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps.is_none() || stamps != state.stamps {
            match (self.read)() {
                Ok(content) => {
                    state.content = Arc::new(content);
                    state.complaint = None;
                }
                Err(error) => state.complain(error.to_string()),
            }
            state.stamps = stamps;
        }
        Arc::clone(&state.content)
    }
}

impl<T> State<T> {
    fn complain(&mut self, error: String) {
        if self.complaint.as_ref() != Some(&error) {
            tracing::error!(target: "bndlr::server", error, "a file has changed and cannot be used: what it said stays");
            self.complaint = Some(error);
        }
    }
}

/// What the files look like, if a later change cannot look the same.
fn stamps(files: &[PathBuf]) -> Option<Vec<Stamp>> {
    let now = SystemTime::now();
    files.iter().map(|file| stamp(file, now).ok().flatten()).collect()
}

fn stamp(file: &Path, now: SystemTime) -> io::Result<Option<Stamp>> {
    let metadata = std::fs::metadata(file)?;
    let is_settled = now.duration_since(metadata.modified()?).is_ok_and(|age| age > GRANULE);
    Ok(is_settled.then(|| Stamp::of(&metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn number(path: &Path) -> Result<u32, FileError> {
        read_text(path)?.trim().parse().map_err(|error| FileError::new(path, error))
    }

    fn watched(path: &Path) -> Watched<u32> {
        let file = path.to_owned();
        Watched::new(vec![path.to_owned()], move || number(&file)).unwrap()
    }

    #[test]
    fn a_change_counts_at_once_and_a_broken_one_never() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("number");
        fs::write(&path, "1").unwrap();
        let watched = watched(&path);
        for (content, expected) in [("2", 2), ("3", 3), ("x", 3), ("", 3), ("4", 4)] {
            fs::write(&path, content).unwrap();
            assert_eq!(*watched.current(), expected, "{content:?}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(*watched.current(), 4);
        fs::write(&path, "5").unwrap();
        assert_eq!(*watched.current(), 5);
    }

    #[test]
    fn old_files_behind_another_link_count() {
        let home = tempfile::tempdir().unwrap();
        let (link, old) = (home.path().join("link"), SystemTime::UNIX_EPOCH);
        for content in ["1", "2"] {
            let path = home.path().join(content);
            fs::write(&path, content).unwrap();
            fs::File::open(&path).unwrap().set_modified(old).unwrap();
        }
        symlink("1", &link).unwrap();
        let watched = watched(&link);
        assert_eq!(*watched.current(), 1);
        fs::remove_file(&link).unwrap();
        symlink("2", &link).unwrap();
        assert_eq!(*watched.current(), 2);
    }

    #[test]
    fn what_has_not_changed_is_not_read_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, "x").unwrap();
        fs::File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let reads = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = Arc::clone(&reads);
        let read = move || Ok(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let watched = Watched::new(vec![path], read).unwrap();
        assert_eq!((*watched.current(), *watched.current()), (0, 0));
        assert_eq!(reads.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("large");
        fs::File::create(&path).unwrap().set_len(MAX_SIZE + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("more than"));
    }
}
