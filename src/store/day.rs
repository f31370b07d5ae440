//! A day as stores keep it: the number that its date reads as, such as 20260601.

use jiff::civil::Date;

use super::StoreError;

/// The number of `day`.
pub(super) fn to_number(day: Date) -> i32 {
    i32::from(day.year()) * 10_000 + i32::from(day.month()) * 100 + i32::from(day.day())
}

/// The day of `number`.
///
/// # Errors
/// [`StoreError::Corrupt`] where it is that of no day.
pub(super) fn from_number(number: i32) -> Result<Date, StoreError> {
    let part = |value: i32| i8::try_from(value % 100).map_err(StoreError::corrupt);
    let year = i16::try_from(number / 10_000).map_err(StoreError::corrupt)?;
    Date::new(year, part(number / 100)?, part(number)?).map_err(StoreError::corrupt)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_comes_back_from_its_number() {
        for (day, number) in [(date(2026, 6, 1), 20_260_601), (date(1999, 12, 31), 19_991_231)] {
            assert_eq!(to_number(day), number);
            assert_eq!(from_number(number).unwrap(), day);
        }
        for number in [0, -1, 20_261_301, 20_260_230, i32::MAX] {
            assert!(from_number(number).is_err(), "{number}");
        }
    }
}
