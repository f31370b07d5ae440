//! `GET /api/v1/links/{key}/stats`: what was counted about a link.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};
use jiff::{ToSpan, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{KeyPath, private, refusals::ReadRefusals};
use crate::{
    api::{
        accept::preferred,
        auth::Reader,
        error::{ApiError, ErrorBody},
        extract::Query,
        json::Json,
    },
    clicks::{DayCount, Facet},
    shortener::Shortener,
};

/// Days that are told where the client does not say.
const DAYS: i32 = 30;

/// Which days, by UTC.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct StatsQuery {
    /// The first day; by default 29 days before the last.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Date>,
    /// The last day; by default today.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
}

/// What was counted. Prefetches, link previews and HEAD are never people.
#[derive(Serialize, ToSchema)]
struct StatsBody {
    key: String,
    #[schema(value_type = String, format = Date)]
    from: Date,
    #[schema(value_type = String, format = Date)]
    to: Date,
    /// People in all, on whatever day.
    clicks: u64,
    /// People on these days.
    people: u64,
    /// Bots on these days.
    bots: u64,
    /// Those of these days on which something was counted.
    days: Vec<DayBody>,
    /// People by the host of the page that led here, the most first.
    referrers: Vec<NamedCount>,
    /// People by kind of device, the most first.
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

/// What was counted about a link
///
/// As JSON, or with `Accept: text/csv` each count in a line of `date,kind,value,count`.
#[utoipa::path(
    get,
    path = "/api/v1/links/{key}/stats",
    tag = "manage",
    params(("key" = String, Path, description = "The key of the link"), StatsQuery),
    security(("token" = ["read"])),
    responses(
        (status = OK, content((StatsBody = "application/json"), (String = "text/csv"))),
        (status = BAD_REQUEST, description = "`invalid_query`", body = ErrorBody),
        (status = NOT_FOUND, description = "`not_found`", body = ErrorBody),
        ReadRefusals,
    ),
)]
pub(in crate::api) async fn stats(
    _reader: Reader,
    State(shortener): State<Arc<Shortener>>,
    headers: HeaderMap,
    KeyPath(key): KeyPath,
    Query(query): Query<StatsQuery>,
) -> Result<Response, ApiError> {
    let to = query.to.unwrap_or_else(|| shortener.clock.now().to_zoned(TimeZone::UTC).date());
    let from = query.from.map_or_else(|| to.checked_sub((DAYS - 1).days()).map_err(ApiError::query), Ok)?;
    let record = shortener.store.record(&key).await.map_err(ApiError::Store)?.ok_or(ApiError::NotFound)?;
    let counts = shortener.store.day_counts(&key, from, to).await.map_err(ApiError::Store)?;
    Ok(match preferred(&headers, &["application/json", "text/csv"]) {
        "text/csv" => {
            private(([(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")], csv(counts)))
        }
        _ => private(Json(StatsBody {
            key: key.to_string(),
            from,
            to,
            clicks: record.clicks,
            people: total(&counts, &Facet::People),
            bots: total(&counts, &Facet::Bots),
            days: days(&counts),
            referrers: ranked(&counts, |facet| match facet {
                Facet::Referrer(referrer) => Some(referrer.as_str().into()),
                _ => None,
            }),
            devices: ranked(&counts, |facet| match facet {
                Facet::Device(device) => Some(device.as_str().into()),
                _ => None,
            }),
        })),
    })
}

fn total(counts: &[DayCount], facet: &Facet) -> u64 {
    counts.iter().filter(|counted| counted.facet == *facet).map(|counted| counted.count).sum()
}

/// The counts of what `pick` names, by that name, the most first.
fn ranked(counts: &[DayCount], pick: impl Fn(&Facet) -> Option<String>) -> Vec<NamedCount> {
    let mut sums = HashMap::<String, u64>::new();
    for counted in counts {
        if let Some(name) = pick(&counted.facet) {
            *sums.entry(name).or_default() += counted.count;
        }
    }
    let mut ranked: Vec<_> = sums.into_iter().map(|(name, count)| NamedCount { name, count }).collect();
    ranked.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    ranked
}

fn days(counts: &[DayCount]) -> Vec<DayBody> {
    let mut days = BTreeMap::<Date, (u64, u64)>::new();
    for DayCount { day, facet, count } in counts {
        let (people, bots) = days.entry(*day).or_default();
        match facet {
            Facet::People => *people += count,
            Facet::Bots => *bots += count,
            Facet::Device(_) | Facet::Referrer(_) => {}
        }
    }
    days.into_iter().map(|(date, (people, bots))| DayBody { date, people, bots }).collect()
}

/// RFC 4180. None of the values has a comma, a quote or a line break in it, but a host may; so it is quoted.
fn csv(mut counts: Vec<DayCount>) -> String {
    counts.sort_unstable_by(|a, b| (a.day, &a.facet).cmp(&(b.day, &b.facet)));
    let mut text = String::from("date,kind,value,count\r\n");
    for DayCount { day, facet, count } in counts {
        let (kind, value) = facet.as_pair();
        text += &format!("{day},{kind},\"{}\",{count}\r\n", value.replace('"', "\"\""));
    }
    text
}
