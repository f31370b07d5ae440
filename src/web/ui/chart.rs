//! Data for the charts on a link's page: visits per day, and shares.

use std::collections::BTreeMap;

use jiff::{ToSpan, civil::Date};

use super::words::grouped;
use crate::clicks::DayCounts;

/// The height of the chart's view box.
const HEIGHT: f64 = 100.0;

/// The width of a day in the view box, including the gap.
const DAY: f64 = 10.0;

/// A chart of visits per day, with people stacked below bots.
pub(crate) struct Chart {
    pub(crate) days: Vec<Bar>,
    /// The width of the view box.
    pub(crate) width: f64,
    /// The text alternative for the chart.
    pub(crate) description: String,
    /// The day with the most visits by people, as text.
    pub(crate) busiest: Option<String>,
}

/// A day in the chart.
pub(crate) struct Bar {
    pub(crate) date: Date,
    pub(crate) people: String,
    pub(crate) bots: String,
    pub(crate) x: f64,
    pub(crate) width: f64,
    pub(crate) people_y: f64,
    pub(crate) people_height: f64,
    pub(crate) bots_y: f64,
    pub(crate) bots_height: f64,
    /// True for a day without visits.
    pub(crate) is_empty: bool,
}

/// A name with its count and its share of the total.
pub(crate) struct Share {
    pub(crate) name: String,
    pub(crate) count: String,
    number: u64,
    pub(crate) percent: u64,
}

impl Chart {
    pub(crate) fn new(counts: &BTreeMap<Date, DayCounts>, from: Date, to: Date) -> Self {
        let none = DayCounts::default();
        let dates: Vec<_> = from.series(1.day()).take_while(|date| *date <= to).collect();
        let highest = counts.values().map(|counts| counts.people.saturating_add(counts.bots)).max();
        let highest = highest.unwrap_or(0).max(1);
        let unit = HEIGHT / to_float(highest);
        let mut x = 0.0;
        let bar = |date: &Date| {
            let day = counts.get(date).unwrap_or(&none);
            let people_height = rounded(to_float(day.people) * unit);
            let bots_height = rounded(to_float(day.bots) * unit);
            let bar = Bar {
                date: *date,
                people: grouped(day.people),
                bots: grouped(day.bots),
                x: x + 1.0,
                width: DAY - 2.0,
                people_y: rounded(HEIGHT - people_height),
                people_height,
                bots_y: rounded(HEIGHT - people_height - bots_height),
                bots_height,
                is_empty: day.people == 0 && day.bots == 0,
            };
            x += DAY;
            bar
        };
        let days: Vec<_> = dates.iter().map(bar).collect();
        let busiest =
            counts.iter().max_by_key(|(_, counts)| counts.people).filter(|(_, counts)| counts.people > 0);
        let busiest = busiest
            .map(|(date, counts)| format!("{}, {} people", date.strftime("%-d %b"), grouped(counts.people)));
        let description = match &busiest {
            Some(busiest) => format!("Visits per day from {from} to {to}. Busiest day: {busiest}."),
            None => format!("Visits per day from {from} to {to}: no people."),
        };
        Self { width: x.max(DAY), days, description, busiest }
    }

    /// Returns the days with visits, most recent first.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Bar> {
        self.days.iter().rev().filter(|day| !day.is_empty)
    }

    /// Returns the first day, for the start of the axis.
    pub(crate) fn first(&self) -> String {
        self.days.first().map(|day| day.date.strftime("%-d %b").to_string()).unwrap_or_default()
    }

    /// Returns the last day, for the end of the axis.
    pub(crate) fn last(&self) -> String {
        self.days.last().map(|day| day.date.strftime("%-d %b").to_string()).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows().next().is_none()
    }
}

impl Share {
    pub(crate) fn new(name: &str, count: u64, total: u64) -> Self {
        let percent = u128::from(count) * 100 / u128::from(total.max(1));
        let percent = u64::try_from(percent).unwrap_or(100).min(100);
        Self { name: name.into(), count: grouped(count), number: count, percent }
    }
}

/// Returns the `limit` largest counts, and the sum of all others.
pub(crate) fn shares<N>(
    counts: &BTreeMap<N, u64>,
    name: impl Fn(&N) -> &str,
    total: u64,
    limit: usize,
) -> Vec<Share> {
    let mut shares: Vec<_> =
        counts.iter().map(|(named, count)| Share::new(name(named), *count, total)).collect();
    shares.sort_by(|a, b| b.number.cmp(&a.number).then_with(|| a.name.cmp(&b.name)));
    if shares.len() > limit {
        let rest = shares.drain(limit..).map(|share| share.number).fold(0, u64::saturating_add);
        shares.push(Share::new("Others", rest, total));
    }
    shares
}

/// Rounds to two decimal places, which is more precise than any screen.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "a bar needs no more precision than its pixels")]
fn to_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_day_fills_the_chart_and_every_day_has_a_bar() {
        let day = |text: &str| text.parse::<Date>().unwrap();
        let counts = BTreeMap::from([
            (day("2026-06-01"), DayCounts { people: 3, bots: 1, ..DayCounts::default() }),
            (day("2026-06-03"), DayCounts { people: 2, ..DayCounts::default() }),
        ]);
        let chart = Chart::new(&counts, day("2026-05-31"), day("2026-06-03"));
        let heights: Vec<_> = chart.days.iter().map(|day| (day.people_height, day.bots_height)).collect();
        assert_eq!(heights, [(0.0, 0.0), (75.0, 25.0), (0.0, 0.0), (50.0, 0.0)]);
        assert_eq!(chart.days[1].bots_y, 0.0);
        assert_eq!(chart.rows().count(), 2);
        assert!(chart.description.contains("1 Jun, 3 people"), "{}", chart.description);
    }

    #[test]
    fn the_largest_counts_come_first_and_the_rest_are_summed() {
        let counts = BTreeMap::from([("a", 1), ("b", 5), ("c", 2), ("d", 2)]);
        let named = |limit| {
            let shares = shares(&counts, |name| name, 10, limit);
            shares
                .into_iter()
                .map(|share| format!("{} {} {}%", share.name, share.count, share.percent))
                .collect::<Vec<_>>()
        };
        assert_eq!(named(4), ["b 5 50%", "c 2 20%", "d 2 20%", "a 1 10%"]);
        assert_eq!(named(2), ["b 5 50%", "c 2 20%", "Others 3 30%"]);
    }

    #[test]
    fn counts_at_the_maximum_do_not_overflow() {
        let counts = BTreeMap::from([(
            "2026-06-01".parse().unwrap(),
            DayCounts { people: u64::MAX, bots: u64::MAX, ..DayCounts::default() },
        )]);
        let day = "2026-06-01".parse().unwrap();
        assert!(Chart::new(&counts, day, day).days[0].people_height <= 200.0);
        assert_eq!(Share::new("a", u64::MAX, u64::MAX).percent, 100);
        assert_eq!(Share::new("a", 1, 0).percent, 100);
    }
}
