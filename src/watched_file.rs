//! A value parsed from a file, reloaded when the file changes.
//!
//! Tokens and blocked hosts can come from such files.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use crate::observability::logging::Chain;

/// The interval between checks of a file for changes.
const INTERVAL: Duration = Duration::from_secs(2);

type Parse<T> = Box<dyn Fn(&str) -> Result<T, ParseError> + Send + Sync>;

/// A parse error. Its message must not quote the file, which may contain secrets.
pub(crate) type ParseError = Box<dyn std::error::Error + Send + Sync>;

/// A value parsed from a file, reloaded when the file changes.
///
/// If the file can't be read or parsed, the current value stays in effect.
pub(crate) struct WatchedFile<T> {
    path: PathBuf,
    parse: Parse<T>,
    value: RwLock<Arc<T>>,
    last: Mutex<Attempt>,
}

/// The error for a file that can't be used.
#[derive(Debug, Error)]
pub enum FileError {
    #[error("the file can't be read")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Parse(ParseError),
}

/// The error for an option that names an unusable file.
#[derive(Debug, Error)]
#[error("{variable}")]
pub struct InvalidFile {
    pub variable: &'static str,
    pub source: FileError,
}

/// The last attempt to load the file.
struct Attempt {
    version: Option<Version>,
    error: Option<String>,
}

/// The identity and version of a file.
///
/// The inode changes when an editor replaces the file, or when Kubernetes swaps the symbolic link to a secret. The
/// change time (ctime) also reveals a new file mode, and an edit that resets the modification time.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl<T> WatchedFile<T> {
    /// Loads the file.
    ///
    /// # Errors
    /// [`FileError`] if the file can't be read or parsed.
    pub(crate) fn load(
        path: PathBuf,
        parse: impl Fn(&str) -> Result<T, ParseError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let (version, text) = read(&path)?;
        let value = parse(&text).map_err(FileError::Parse)?;
        Ok(Self {
            path,
            parse: Box::new(parse),
            value: RwLock::new(Arc::new(value)),
            last: Mutex::new(Attempt { version: Some(version), error: None }),
        })
    }

    pub(crate) fn get(&self) -> Arc<T> {
        self.value.read().clone()
    }

    /// Reloads the value whenever the file changes. Never returns.
    ///
    /// Each result is passed to `report`.
    pub(crate) async fn follow(&self, report: impl Fn(Result<&T, &FileError>)) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            self.reload_if_changed(&report);
        }
    }

    /// Reloads the value if the file has changed.
    ///
    /// The result is passed to `report`. An error is not reported again until the file or the error changes. This
    /// method blocks the thread, but reading a small local file takes less time than handing the work to another
    /// thread.
    pub(crate) fn reload_if_changed(&self, report: impl Fn(Result<&T, &FileError>)) {
        let mut last = self.last.lock();
        let is_same = |version: &Version| last.version.as_ref() == Some(version);
        // After an error, read the file again even if it looks unchanged.
        if last.error.is_none() && version_of(&self.path).as_ref().is_ok_and(is_same) {
            return;
        }
        let (version, loaded) = match read(&self.path) {
            Ok((version, text)) => (Some(version), (self.parse)(&text).map_err(FileError::Parse)),
            Err(error) => (version_of(&self.path).ok(), Err(error.into())),
        };
        match loaded {
            Ok(value) => {
                let value = Arc::new(value);
                *self.value.write() = value.clone();
                *last = Attempt { version, error: None };
                report(Ok(&value));
            }
            Err(error) => {
                let attempt = Attempt { version, error: Some(Chain(&error).to_string()) };
                let is_known = attempt.version == last.version && attempt.error == last.error;
                *last = attempt;
                if !is_known {
                    report(Err(&error));
                }
            }
        }
    }
}

/// Reads a file, and returns its version and its text.
///
/// Both come from the same open file, even if another file takes its place in the meantime.
fn read(path: &Path) -> io::Result<(Version, String)> {
    let mut file = File::open(path)?;
    let version = Version::of(&file.metadata()?);
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((version, text))
}

fn version_of(path: &Path) -> io::Result<Version> {
    std::fs::metadata(path).map(|metadata| Version::of(&metadata))
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for WatchedFile<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WatchedFile").field("path", &self.path).field("value", &self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, fs, os::unix::fs::symlink};

    use super::*;

    /// A function that changes the text of the file.
    type Change<'a> = Box<dyn Fn(&str) + 'a>;

    fn watch(path: &Path) -> WatchedFile<u32> {
        WatchedFile::load(path.into(), |text| Ok(text.trim().parse()?)).unwrap()
    }

    /// Reloads `file`, and returns the reported results.
    fn reload(file: &WatchedFile<u32>) -> Vec<Result<u32, String>> {
        let reports = RefCell::new(Vec::new());
        file.reload_if_changed(|result| {
            reports.borrow_mut().push(result.copied().map_err(|error| Chain(error).to_string()));
        });
        reports.into_inner()
    }

    #[test]
    fn every_way_to_change_a_file_is_noticed_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("first"), "1").unwrap();
        symlink(at("first"), at("file")).unwrap();
        let file = watch(&at("file"));
        assert_eq!(reload(&file), [], "the file has not changed");
        let modified = fs::metadata(at("file")).unwrap().modified().unwrap();
        let mut expected = 1;
        let changes: [(&str, Change<'_>); 4] = [
            ("another size", Box::new(|text| fs::write(at("first"), format!("{text}\n")).unwrap())),
            (
                "a link to another file of the same size and time",
                Box::new(|text| {
                    fs::write(at("second"), format!("{text}\n")).unwrap();
                    File::options().write(true).open(at("second")).unwrap().set_modified(modified).unwrap();
                    symlink(at("second"), at("new")).unwrap();
                    fs::rename(at("new"), at("file")).unwrap();
                }),
            ),
            (
                "another file in its place",
                Box::new(|text| {
                    fs::write(at("third"), format!("{text}\n")).unwrap();
                    fs::rename(at("third"), at("file")).unwrap();
                }),
            ),
            (
                "the same size and a reset modification time",
                Box::new(|text| {
                    let modified = fs::metadata(at("file")).unwrap().modified().unwrap();
                    let changed =
                        || fs::metadata(at("file")).map(|file| (file.ctime(), file.ctime_nsec())).unwrap();
                    let before = changed();
                    // The kernel's clock for file timestamps may tick only every few milliseconds.
                    while changed() == before {
                        fs::write(at("file"), format!("{text}\n")).unwrap();
                        File::options().write(true).open(at("file")).unwrap().set_modified(modified).unwrap();
                    }
                }),
            ),
        ];
        for (what, change) in changes {
            expected += 1;
            change(&expected.to_string());
            assert_eq!(reload(&file), [Ok(expected)], "{what}");
            assert_eq!(reload(&file), [], "{what}: reported twice");
            assert_eq!(*file.get(), expected);
        }
    }

    #[test]
    fn an_unusable_file_is_reported_once_and_the_value_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "1").unwrap();
        let file = watch(&path);
        fs::write(&path, "two").unwrap();
        assert_eq!(reload(&file), [Err("invalid digit found in string".into())]);
        assert_eq!(reload(&file), []);
        fs::write(&path, "three").unwrap();
        assert_eq!(reload(&file).len(), 1, "another broken version");
        fs::remove_file(&path).unwrap();
        let reports = reload(&file);
        assert!(matches!(&reports[..], [Err(error)] if error.contains("No such file")), "{reports:?}");
        assert_eq!(reload(&file), []);
        assert_eq!(*file.get(), 1);
        fs::write(&path, "4").unwrap();
        assert_eq!(reload(&file), [Ok(4)]);
    }

    #[test]
    fn a_file_that_is_restored_unchanged_ends_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let (path, away) = (directory.path().join("file"), directory.path().join("away"));
        fs::write(&path, "1").unwrap();
        let file = watch(&path);
        fs::rename(&path, &away).unwrap();
        assert_eq!(reload(&file).len(), 1);
        fs::rename(&away, &path).unwrap();
        assert_eq!(reload(&file), [Ok(1)]);
        fs::rename(&path, &away).unwrap();
        assert_eq!(reload(&file).len(), 1, "a new failure is reported again");
    }
}
