//! Property tests for options that have their own syntax.

use proptest::prelude::*;

use super::{
    values::{MAX_DURATION, duration, duration_or_zero, log_level},
    *,
};
use crate::strategies::text;

proptest! {
    #[test]
    fn a_duration_round_trips_through_text(milliseconds in 0..=MAX_DURATION.as_secs() * 1000) {
        let time = Duration::from_millis(milliseconds);
        prop_assert_eq!(duration_or_zero(&humantime::format_duration(time).to_string()), Ok(time));
        prop_assert_eq!(duration(&format!("{milliseconds}ms")).is_ok(), milliseconds > 0);
    }

    #[test]
    fn a_duration_never_exceeds_the_maximum(text in text("([0-9]{1,20} ?(ns|us|ms|s|m|h|d|w|M|y) ?){1,3}|\\PC{0,12}")) {
        if let Ok(time) = duration(&text) {
            prop_assert!(time > Duration::ZERO && time <= MAX_DURATION);
        }
    }

    #[test]
    fn no_text_makes_another_option_panic(text in text("[a-z:=,]{0,20}|\\PC{0,20}|(info|warn|x)(,[a-z:]{1,9}=(warn|debug|y)){0,3}")) {
        let _ = log_level(&text);
        let _ = text.parse::<RateLimit>();
        let _ = text.parse::<ByteSize>();
    }
}
