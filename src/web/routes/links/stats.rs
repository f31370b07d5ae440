//! `GET /api/v1/links/{key}/stats`: a link's visits.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};
use jiff::{ToSpan, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    clicks::{DayCounts, Referrer},
    shortener::Shortener,
    web::{
        extract::{accept::preferred, body::Query, field_values::date, link_key::LinkKey, token::MayRead},
        respond::{
            Json,
            error::{ApiError, ErrorResponses},
        },
        routes::links::{LinkErrors, private},
    },
};

/// The default number of days.
const DAYS: i32 = 30;

/// A range of days in UTC.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatsQuery {
    /// First day. By default, this is 29 days before the last day.
    #[serde(default, deserialize_with = "date")]
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Date>,
    /// Last day. By default, this is today.
    #[serde(default, deserialize_with = "date")]
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
}

/// The counts of a link. Prefetches, link previews and HEAD requests never count as people.
#[derive(Serialize, ToSchema)]
struct StatsBody {
    key: String,
    #[schema(value_type = String, format = Date)]
    from: Date,
    #[schema(value_type = String, format = Date)]
    to: Date,
    /// Visits by people since the link was created.
    clicks: u64,
    /// Visits by people in the range.
    people: u64,
    /// Visits by bots in the range.
    bots: u64,
    /// Days within the range that have at least one visit.
    days: Vec<DayBody>,
    /// Visits by people in the range for each referring host, in descending order.
    referrers: Vec<NamedCount>,
    /// Visits by people in the range for each device type, in descending order.
    devices: Vec<NamedCount>,
}

#[derive(Serialize, ToSchema)]
struct DayBody {
    #[schema(value_type = String, format = Date)]
    date: Date,
    people: u64,
    bots: u64,
}

#[derive(Serialize, ToSchema)]
struct NamedCount {
    name: String,
    count: u64,
}

/// Show the counts of a link
///
/// The response is JSON or, with `Accept: text/csv`, a CSV file with the columns `date`, `kind`, `value` and `count`.
#[utoipa::path(
    get,
    path = "/api/v1/links/{key}/stats",
    tag = "manage",
    params(LinkKey, StatsQuery),
    security(("token" = ["read"])),
    responses(
        (status = OK, content((StatsBody = "application/json"), (String = "text/csv"))),
        LinkErrors,
        ErrorResponses,
    ),
)]
pub(crate) async fn stats(
    _: MayRead,
    State(shortener): State<Arc<Shortener>>,
    headers: HeaderMap,
    LinkKey { key }: LinkKey,
    Query(query): Query<StatsQuery>,
) -> Result<Response, ApiError> {
    let to = query.to.unwrap_or_else(|| shortener.clock.now().to_zoned(TimeZone::UTC).date());
    let from = query.from.map_or_else(|| to.checked_sub((DAYS - 1).days()).map_err(ApiError::query), Ok)?;
    let record = shortener.links.get(&key).await.map_err(ApiError::Store)?.ok_or(ApiError::NotFound)?;
    let counts = shortener.links.day_counts(&key, from, to).await.map_err(ApiError::Store)?;
    Ok(match preferred(&headers, &["application/json", "text/csv"]) {
        "text/csv" => {
            private(([(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")], csv(&counts)))
        }
        _ => {
            let mut total = DayCounts::default();
            counts.values().for_each(|counts| total.add(counts.clone()));
            private(Json(StatsBody {
                key: key.to_string(),
                from,
                to,
                clicks: record.clicks,
                people: total.people,
                bots: total.bots,
                days: days(&counts),
                referrers: ranked(&total.referrers, Referrer::as_str),
                devices: ranked(&total.devices, |device| device.as_str()),
            }))
        }
    })
}

/// Returns named counts in descending order.
fn ranked<N>(counts: &BTreeMap<N, u64>, name: impl Fn(&N) -> &str) -> Vec<NamedCount> {
    let named = |(named, count): (&N, &u64)| NamedCount { name: name(named).into(), count: *count };
    let mut ranked: Vec<_> = counts.iter().map(named).collect();
    ranked.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    ranked
}

fn days(counts: &BTreeMap<Date, DayCounts>) -> Vec<DayBody> {
    let day = |(date, counts): (&Date, &DayCounts)| DayBody {
        date: *date,
        people: counts.people,
        bots: counts.bots,
    };
    counts.iter().map(day).collect()
}

/// Formats counts as CSV (RFC 4180), with one count per line.
pub(crate) fn csv(counts: &BTreeMap<Date, DayCounts>) -> String {
    let mut text = String::from("date,kind,value,count\r\n");
    for (day, counts) in counts {
        let mut line = |kind: &str, value: &str, count: u64| {
            if count > 0 {
                text += &format!("{day},{kind},\"{}\",{count}\r\n", value.replace('"', "\"\""));
            }
        };
        line("visitor", "person", counts.people);
        line("visitor", "bot", counts.bots);
        counts.devices.iter().for_each(|(device, count)| line("device", device.as_str(), *count));
        counts.referrers.iter().for_each(|(referrer, count)| line("referrer", referrer.as_str(), *count));
    }
    text
}
