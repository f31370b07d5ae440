//! The database's file in the file system.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::store::StoreError;

/// The file that was opened: its path, and its identity in the file system.
#[derive(Clone, Debug)]
pub(super) struct DatabaseFile {
    path: Arc<PathBuf>,
    device: u64,
    inode: u64,
}

impl DatabaseFile {
    /// Makes a missing file, readable for its owner alone; SQLite gives its companions the same mode.
    ///
    /// Where that fails, SQLite is about to fail as well and says why.
    pub(super) fn make_private(path: &Path) {
        let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    }

    /// Remembers the file at `path`, which is open.
    pub(super) fn opened(path: &Path) -> Result<Self, StoreError> {
        let metadata = fs::metadata(path).map_err(StoreError::unavailable)?;
        Ok(Self { path: Arc::new(path.to_owned()), device: metadata.dev(), inode: metadata.ino() })
    }

    /// Checks that the open file is still the one at its path. Otherwise, links written to it would be gone with the
    /// process.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match fs::metadata(&*self.path) {
            Ok(now) if (now.dev(), now.ino()) == (self.device, self.inode) => Ok(()),
            Ok(_) => {
                Err(StoreError::unavailable("the database file was replaced; restart to use the new one"))
            }
            Err(error) => Err(StoreError::unavailable(format!("the database file is not there: {error}"))),
        }
    }
}
