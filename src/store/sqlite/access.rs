//! Explanations of why the process can't access a database file.
//!
//! SQLite itself reports only "unable to open database file", which names neither the user nor a fix.

use std::{
    ffi::OsString,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::{
    fs::{Access, access},
    io::Errno,
    process::geteuid,
};

/// Returns the first obstacle to opening the database at `path`, or `None`.
pub(super) fn obstacle(path: &Path) -> Option<String> {
    if path.is_dir() {
        return Some(format!("{} is a directory, not a file", path.display()));
    }
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut ancestors: Vec<_> = directory.ancestors().filter(|path| *path != Path::new("")).collect();
    ancestors.reverse();
    // SQLite keeps the WAL and its index next to the database file.
    let files = ["", "-wal", "-shm"].map(|suffix| {
        let mut name = OsString::from(path);
        name.push(suffix);
        name
    });
    ancestors
        .into_iter()
        .find_map(|ancestor| closed_directory(ancestor, Access::EXEC_OK))
        .or_else(|| closed_directory(directory, Access::WRITE_OK | Access::EXEC_OK))
        .or_else(|| files.iter().find_map(|file| closed_file(Path::new(file))))
}

fn closed_directory(path: &Path, wanted: Access) -> Option<String> {
    let verb = if wanted.contains(Access::WRITE_OK) { "write to" } else { "enter" };
    match access(path, wanted) {
        Err(Errno::NOENT) => Some(format!("the directory {} does not exist", path.display())),
        result => denied(verb, "the directory", "rwx", path, result),
    }
}

fn closed_file(path: &Path) -> Option<String> {
    denied("write to", "the file", "rw", path, access(path, Access::READ_OK | Access::WRITE_OK))
}

fn denied(verb: &str, kind: &str, mode: &str, path: &Path, result: Result<(), Errno>) -> Option<String> {
    let (uid, shown) = (geteuid().as_raw(), path.display());
    match result {
        Err(Errno::ROFS) => Some(format!(
            "{kind} {shown} is on a read-only file system; keep the links on a volume that can be written"
        )),
        Err(Errno::ACCESS) => {
            let owner = fs::metadata(path).ok().as_ref().map(Metadata::uid);
            let remedy = match owner {
                Some(owner) if owner == uid => format!("; run `chmod u+{mode}` on it"),
                _ => {
                    let owner =
                        owner.map_or_else(String::new, |owner| format!(", which belongs to uid {owner}"));
                    format!(
                        "{owner}; run `chown {uid}` on it (the host's directory if it is mounted from there), \
                         or use a named volume"
                    )
                }
            };
            Some(format!("uid {uid} can't {verb} {kind} {shown}{remedy}"))
        }
        _ => None,
    }
}
