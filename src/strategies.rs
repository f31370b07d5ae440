//! Proptest strategies shared by several modules.

use proptest::string::{RegexGeneratorStrategy, string_regex};

/// Returns a strategy for text that matches `pattern`.
///
/// A pattern that is used directly as a strategy is parsed again for each test case.
pub(crate) fn text(pattern: &str) -> RegexGeneratorStrategy<String> {
    string_regex(pattern).unwrap()
}
