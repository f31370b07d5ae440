//! The schema version of a store, and its compatibility check.

use super::StoreError;

/// The schema version of a file or database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schema {
    /// The number of applied migrations.
    pub(super) version: u32,
    /// The oldest schema version whose programs can still use the store.
    pub(super) readable_from: u32,
}

impl Schema {
    /// Checks that a program with schema `newest` can use the store.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the store needs a newer program.
    pub(super) fn check(self, newest: u32) -> Result<(), StoreError> {
        let Self { version, readable_from } = self;
        if readable_from > newest {
            return Err(StoreError::unavailable(format!(
                "the store has schema {version}, which needs a program of schema {readable_from} or later; this one \
                 has {newest}: upgrade urlshort"
            )));
        }
        if version > newest {
            tracing::info!(version, newest, "the store has a newer schema, which this version can use");
        }
        Ok(())
    }
}

/// Returns the error for a store from a build before 1.0.
pub(super) fn written_by_early_build() -> StoreError {
    StoreError::unavailable(
        "this store was written by an early build of urlshort, which this version can't read. Run `urlshort export \
         --output links.jsonl` with that build, then `urlshort import links.jsonl` with this version and a new store",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_that_needs_a_newer_program_is_refused() {
        assert!(Schema { version: 1, readable_from: 1 }.check(1).is_ok());
        assert!(Schema { version: 3, readable_from: 1 }.check(1).is_ok());
        let StoreError::Unavailable(reason) = Schema { version: 3, readable_from: 2 }.check(1).unwrap_err()
        else {
            panic!("another error")
        };
        assert!(reason.to_string().contains("schema 3, which needs a program of schema 2"), "{reason}");
    }
}
