//! `/ui/links/{key}`: a link's page, with statistics and the edit form.

pub(crate) mod edit;
pub(crate) mod stop;

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use jiff::{ToSpan, civil::Date, tz::TimeZone};
use serde::Deserialize;
use url::form_urlencoded;

use self::edit::EditForm;
use super::{
    chart::{Chart, Share, shares},
    form::{LinkForm, Message},
    frame::Frame,
    session::Reader,
    words::{State as StateWord, Time, grouped},
};
use crate::{
    base_url::BaseUrl,
    blocked_hosts::HostPattern,
    clicks::{DayCounts, Device, Referrer},
    link::Key,
    store::{Moment, Record},
    web::{
        extract::{body::Query, conditional::etag_text, link_key::LinkKey, service_url::ServiceUrl},
        respond::{error::ApiError, page::page},
        routes::{
            links::{private, stats::csv},
            qr::QrQuery,
        },
        state::AppState,
    },
};

/// The selectable ranges, in days.
const RANGES: [i32; 4] = [7, 30, 90, 365];

/// The default range, in days.
const DEFAULT_RANGE: i32 = 30;

/// The maximum number of hosts in the table of referrers.
const REFERRERS: usize = 10;

/// The query parameters of the page.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct LinkQuery {
    /// The number of days to show.
    days: Option<i32>,
    /// The change that was just made, for the confirmation message.
    done: String,
}

#[derive(Template)]
#[template(path = "link.html", config = "src/web/ui/askama.toml")]
struct LinkPage<'a> {
    title: String,
    frame: Frame,
    link: LinkView,
    days: i32,
    ranges: [i32; 4],
    chart: Chart,
    people: String,
    bots: String,
    today: String,
    referrers: Vec<Share>,
    devices: Vec<Share>,
    done: Option<&'static str>,
    form: &'a LinkForm,
    etag: String,
    messages: &'a [Message],
    conflict: Option<edit::Conflict>,
}

impl LinkPage<'_> {
    /// Returns whether the user must check the form again.
    ///
    /// Such a form is shown at the top of the page.
    fn needs_correction(&self) -> bool {
        self.conflict.is_some() || !self.messages.is_empty()
    }

    /// Returns the query string that lists the links with this tag.
    fn tag_query(&self, tag: &str) -> String {
        form_urlencoded::Serializer::new(String::new()).append_pair("tag", tag).finish()
    }

    /// Returns the heading, caption and rows for each breakdown of visits.
    fn breakdowns(&self) -> [(&'static str, &'static str, &[Share]); 2] {
        [
            ("Referrers", "People by referring page", &self.referrers),
            ("Devices", "People by kind of device", &self.devices),
        ]
    }
}

/// A link, as shown on pages.
pub(crate) struct LinkView {
    pub(crate) key: Key,
    pub(crate) short_url: String,
    /// The short URL without its scheme.
    pub(crate) short: String,
    pub(crate) target: String,
    pub(crate) gone_url: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) state: StateWord,
    pub(crate) clicks: String,
    pub(crate) created: Time,
    pub(crate) created_by: String,
    pub(crate) expires: Option<Time>,
    pub(crate) visits: Option<(String, String)>,
    pub(crate) has_password: bool,
    pub(crate) is_taken_down: bool,
    pub(crate) blocked_host: Option<HostPattern>,
    pub(crate) version: u32,
    code: Option<String>,
}

impl LinkView {
    pub(crate) fn new(record: &Record, base_url: &BaseUrl, moment: &Moment) -> Self {
        let (link, options) = (&*record.link, &record.link.doc.options);
        let short_url = base_url.short_url(&link.key);
        Self {
            key: link.key.clone(),
            short: short_url.split_once("://").map_or(&*short_url, |(_, short)| short).into(),
            short_url,
            target: link.doc.target.to_string(),
            gone_url: options.gone_url.as_ref().map(ToString::to_string),
            title: options.title.as_ref().map(|title| title.as_str().into()),
            tags: options.tags.iter().map(|tag| tag.as_str().into()).collect(),
            state: StateWord::of(record, moment),
            blocked_host: moment.blocked.find(&link.doc.target),
            clicks: grouped(record.clicks),
            created: Time(link.created_at),
            created_by: link.doc.created_by.to_string(),
            expires: options.expires_at.map(Time),
            visits: options.max_visits.map(|max| (grouped(record.visits), grouped(max.get().into()))),
            has_password: options.password.is_some(),
            is_taken_down: link.doc.taken_down_at.is_some(),
            version: link.version,
            code: None,
        }
    }
}

/// `GET /ui/links/{key}`: shows a link.
pub(crate) async fn show(
    _: Reader,
    State(state): State<AppState>,
    frame: Frame,
    ServiceUrl(base_url): ServiceUrl,
    LinkKey { key }: LinkKey,
    Query(query): Query<LinkQuery>,
) -> Result<Response, ApiError> {
    let record = record(&state, &key).await?;
    let form = LinkForm::of(&record.link.doc);
    Ok(page(&link_page(&state, &base_url, frame, &record, query, EditForm::unchanged(&form, &record)).await?))
}

/// Returns a link with its counts.
pub(super) async fn record(state: &AppState, key: &Key) -> Result<Record, ApiError> {
    state.links.get(key).await.map_err(ApiError::Store)?.ok_or(ApiError::NotFound)
}

async fn link_page<'a>(
    state: &AppState,
    base_url: &BaseUrl,
    frame: Frame,
    record: &Record,
    query: LinkQuery,
    edit: EditForm<'a>,
) -> Result<LinkPage<'a>, ApiError> {
    let now = state.shortener.clock.now();
    let days = query.days.filter(|days| RANGES.contains(days)).unwrap_or(DEFAULT_RANGE);
    let (from, to) = range(now, days)?;
    let counts = state.links.day_counts(&record.link.key, from, to).await.map_err(ApiError::Store)?;
    let mut total = DayCounts::default();
    counts.values().for_each(|counts| total.add(counts.clone()));
    let mut link = LinkView::new(record, base_url, &state.links.moment(now));
    link.code = state.drawing.inline(link.short_url.clone()).await;
    let direct = total
        .people
        .saturating_sub(total.referrers.values().fold(0, |sum, count| sum.saturating_add(*count)));
    let mut referrers = shares(&total.referrers, Referrer::as_str, total.people, REFERRERS);
    if direct > 0 {
        referrers.push(Share::new("None (typed in or opened from an app)", direct, total.people));
    }
    Ok(LinkPage {
        title: link.key.to_string(),
        frame: frame.at("links"),
        days,
        ranges: RANGES,
        chart: Chart::new(&counts, from, to),
        people: grouped(total.people),
        bots: grouped(total.bots),
        today: grouped(counts.get(&to).map_or(0, |counts| counts.people)),
        referrers,
        devices: shares(&total.devices, device_name, total.people, usize::MAX),
        done: done(&query.done),
        form: edit.form,
        etag: edit.etag,
        messages: edit.messages,
        conflict: edit.conflict,
        link,
    })
}

fn range(now: jiff::Timestamp, days: i32) -> Result<(Date, Date), ApiError> {
    let to = now.to_zoned(TimeZone::UTC).date();
    Ok((to.checked_sub((days - 1).days()).map_err(ApiError::query)?, to))
}

fn device_name(device: &Device) -> &str {
    match device {
        Device::Desktop => "Desktop",
        Device::Mobile => "Mobile",
        Device::Tablet => "Tablet",
        Device::Other => "Other",
    }
}

/// Returns the confirmation message for a change.
fn done(word: &str) -> Option<&'static str> {
    Some(match word {
        "saved" => "Saved. Visitors get the new version from now on.",
        "taken-down" => "Taken down. Visitors get “No longer available” until you restore it.",
        "restored" => "Restored. The link redirects again.",
        _ => return None,
    })
}

/// `GET /ui/links/{key}/stats.csv`: returns the link's statistics as CSV.
pub(crate) async fn stats(
    _: Reader,
    State(state): State<AppState>,
    LinkKey { key }: LinkKey,
    Query(query): Query<LinkQuery>,
) -> Result<Response, ApiError> {
    let days = query.days.filter(|days| RANGES.contains(days)).unwrap_or(DEFAULT_RANGE);
    let (from, to) = range(state.shortener.clock.now(), days)?;
    record(&state, &key).await?;
    let counts = state.links.day_counts(&key, from, to).await.map_err(ApiError::Store)?;
    let name = format!("attachment; filename=\"{key}-{from}-{to}.csv\"");
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok(private((headers, csv(&counts))))
}

/// `GET /ui/links/{key}/qr`: returns the link's QR code.
///
/// Unlike the public route, this works for a link in any state.
pub(crate) async fn code(
    _: Reader,
    State(state): State<AppState>,
    ServiceUrl(base_url): ServiceUrl,
    headers: HeaderMap,
    LinkKey { key }: LinkKey,
    Query(query): Query<QrQuery>,
) -> Result<Response, ApiError> {
    record(&state, &key).await?;
    state.drawing.image(base_url.short_url(&key), query, &headers).await.map(IntoResponse::into_response)
}

/// Returns a link's entity tag, for a form.
pub(super) fn etag_of(record: &Record) -> String {
    etag_text(&record.link)
}
