//! Proptest strategies shared by several modules.

use proptest::string::{RegexGeneratorStrategy, string_regex};

/// Returns a strategy for text that matches `pattern`.
///
/// If the pattern itself is the strategy, proptest parses it again for each case.
pub(crate) fn text(pattern: &str) -> RegexGeneratorStrategy<String> {
    string_regex(pattern).unwrap()
}
