//! Strategies that property tests of several modules share.

use proptest::string::{RegexGeneratorStrategy, string_regex};

/// Text that matches `pattern`. As a strategy of its own, a pattern would be parsed again for each case.
pub(crate) fn text(pattern: &str) -> RegexGeneratorStrategy<String> {
    string_regex(pattern).unwrap()
}
