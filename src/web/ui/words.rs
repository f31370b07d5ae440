//! Formatting of numbers, times and states.

use std::fmt;

use jiff::Timestamp;

use crate::{
    link::LinkState,
    store::{Moment, Record},
};

/// Formats a number with commas as thousands separators.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A timestamp, shown in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Time {
    /// Returns the date without the time.
    pub(crate) fn day(&self) -> String {
        self.0.strftime("%-d %b %Y").to_string()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.strftime("%-d %b %Y, %H:%M UTC"))
    }
}

/// A link's state, as a word and a CSS class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) word: &'static str,
    pub(crate) class: &'static str,
}

impl State {
    pub(crate) fn of(record: &Record, moment: &Moment) -> Self {
        let (word, class) = match record.state(moment) {
            LinkState::TakenDown => ("taken down", "gone"),
            LinkState::Blocked => ("blocked", "gone"),
            LinkState::Expired => ("expired", "gone"),
            LinkState::UsedUp => ("used up", "gone"),
            LinkState::Scheduled => ("scheduled", "scheduled"),
            LinkState::Active => ("active", "active"),
        };
        Self { word, class }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (18204, "18,204"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
