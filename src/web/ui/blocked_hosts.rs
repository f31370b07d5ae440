//! `/ui/blocked-hosts`: hosts that links must not point to.

use askama::Template;
use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::{
    form::sentence,
    frame::Frame,
    see_other,
    session::{Reader, Writer},
    words::Time,
};
use crate::{
    blocked_hosts::{BlockedHost, HostPattern, Reason},
    web::{
        extract::body::{Payload, Query},
        respond::{
            error::ApiError,
            page::{page, page_of_error},
        },
        routes::blocked_hosts::{block_host, page_after, unblock_host},
        state::AppState,
    },
};

/// The number of entries on a page.
const LIMIT: u16 = 100;

/// The query parameters of the page.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct HostQuery {
    /// The last host on the previous page.
    after: String,
    /// The host that was just blocked, for the confirmation message.
    blocked: String,
    /// The host that was just unblocked, for the confirmation message.
    unblocked: String,
}

/// The form that blocks a host.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct HostForm {
    host: String,
    reason: String,
}

/// The form that unblocks a host.
#[derive(Deserialize)]
pub(crate) struct Unblock {
    host: String,
}

/// A blocked host, as shown on the page.
struct HostView {
    host: HostPattern,
    reason: Option<Reason>,
    blocked_by: String,
    blocked_at: Time,
}

impl From<BlockedHost> for HostView {
    fn from(BlockedHost { host, reason, blocked_by, blocked_at }: BlockedHost) -> Self {
        Self { host, reason, blocked_by: blocked_by.to_string(), blocked_at: Time(blocked_at) }
    }
}

#[derive(Template)]
#[template(path = "blocked_hosts.html", config = "src/web/ui/askama.toml")]
struct HostsPage {
    title: &'static str,
    frame: Frame,
    form: HostForm,
    /// The error message for the form.
    error: Option<String>,
    done: Option<String>,
    hosts: Vec<HostView>,
    is_first: bool,
    next: Option<HostPattern>,
}

/// `GET /ui/blocked-hosts`: lists the blocked hosts.
pub(crate) async fn show(
    _: Reader,
    State(state): State<AppState>,
    frame: Frame,
    Query(query): Query<HostQuery>,
) -> Result<Response, ApiError> {
    // Anyone can craft a link to this page, so the page shows a host from the query only if it's valid.
    let done = match (query.blocked.parse::<HostPattern>(), query.unblocked.parse::<HostPattern>()) {
        (Ok(host), _) => Some(format!("Blocked {host}. Links to it no longer redirect.")),
        (_, Ok(host)) => Some(format!("Unblocked {host}. Links to it redirect again.")),
        _ => None,
    };
    let page_of_hosts = hosts_page(&state, frame, &query.after, HostForm::default()).await?;
    Ok(page(&HostsPage { done, ..page_of_hosts }))
}

async fn hosts_page(
    state: &AppState,
    frame: Frame,
    after: &str,
    form: HostForm,
) -> Result<HostsPage, ApiError> {
    let after: Option<HostPattern> = after.parse().ok();
    let (hosts, next) = page_after(&state.links, after.as_ref(), LIMIT).await?;
    Ok(HostsPage {
        title: "Blocked hosts",
        frame: frame.at("blocked-hosts"),
        form,
        error: None,
        done: None,
        hosts: hosts.into_iter().map(HostView::from).collect(),
        is_first: after.is_none(),
        next,
    })
}

/// `POST /ui/blocked-hosts`: blocks a host.
pub(crate) async fn block(
    Writer(author): Writer,
    State(state): State<AppState>,
    frame: Frame,
    Payload(form): Payload<HostForm>,
) -> Result<Response, ApiError> {
    let blocked = match read(&form) {
        Ok((host, reason)) => block_host(&state.shortener, &author, host, reason).await,
        Err(error) => Err(error),
    };
    match blocked {
        Ok(entry) => Ok(see_other(format!("{}ui/blocked-hosts?blocked={}", frame.root, entry.host))),
        Err(cause @ (ApiError::InvalidOption(_) | ApiError::TooManyBlockedHosts)) => {
            let page = hosts_page(&state, frame, "", form).await?;
            let error = Some(sentence(&cause));
            Ok(page_of_error(cause, &HostsPage { error, ..page }))
        }
        Err(error) => Err(error),
    }
}

fn read(form: &HostForm) -> Result<(HostPattern, Option<Reason>), ApiError> {
    let host = form.host.trim().parse().map_err(ApiError::option)?;
    let reason = Some(form.reason.trim()).filter(|text| !text.is_empty()).map(str::parse).transpose();
    Ok((host, reason.map_err(ApiError::option)?))
}

/// `POST /ui/blocked-hosts/unblock`: unblocks a host, if it is blocked.
pub(crate) async fn unblock(
    Writer(author): Writer,
    State(state): State<AppState>,
    frame: Frame,
    Payload(Unblock { host }): Payload<Unblock>,
) -> Result<Response, ApiError> {
    let host: HostPattern = host.parse().map_err(ApiError::option)?;
    unblock_host(&state.links, &author, host.clone()).await?;
    Ok(see_other(format!("{}ui/blocked-hosts?unblocked={host}", frame.root)))
}
