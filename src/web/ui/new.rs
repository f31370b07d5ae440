//! The form for a new link, at `/ui/new` and in browsers at `/`.

use askama::Template;
use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::{
    form::{FormErrors, LinkForm, Message},
    frame::Frame,
    see_other,
    session::LinkAuthor,
};
use crate::{
    base_url::BaseUrl,
    link::{Key, LinkState},
    shortener::{FollowError, Follower, Shortened},
    web::{
        extract::{
            body::{Payload, Query},
            service_url::ServiceUrl,
            token::{Action, Author},
        },
        respond::page::{page, page_of_error},
        routes::home::usage,
        state::AppState,
    },
};

/// The query parameters of the form's page.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct HomeQuery {
    /// The key of the link that was just created, for the confirmation message.
    made: String,
    /// The key that the form is prefilled with.
    key: String,
    /// The long URL that the form is prefilled with.
    url: String,
}

#[derive(Template)]
#[template(path = "home.html", config = "src/web/ui/askama.toml")]
struct HomePage<'a> {
    title: &'static str,
    frame: Frame,
    form: &'a LinkForm,
    messages: &'a [Message],
    created: Option<CreatedLink>,
    may_create: bool,
    has_options: bool,
    usage: String,
}

/// The link that was just created.
struct CreatedLink {
    key: Key,
    short_url: String,
    /// The target, if the link's public preview also shows it.
    target: Option<String>,
    note: Option<&'static str>,
    /// The path of the QR code.
    code: Option<String>,
}

impl HomePage<'_> {
    fn error_of(&self, field: &str) -> Option<&str> {
        self.messages.iter().find(|message| message.field == field).map(|message| message.text.as_str())
    }
}

/// `GET /ui/new`: shows the form, even if `/` redirects to `HOME_URL`.
pub(crate) async fn open(
    State(state): State<AppState>,
    frame: Frame,
    ServiceUrl(base_url): ServiceUrl,
    Query(query): Query<HomeQuery>,
) -> Response {
    show(&state, &base_url, frame, query).await
}

/// Shows the form, below the link that was just created, if any.
pub(crate) async fn show(state: &AppState, base_url: &BaseUrl, frame: Frame, query: HomeQuery) -> Response {
    let mut form = LinkForm::default();
    form.set("key", query.key);
    form.set("url", query.url);
    let created = match query.made.parse() {
        Ok(key) => created_link(state, base_url, &frame, key).await,
        Err(_) => None,
    };
    page(&home_page(state, base_url, frame, &form, &[], created))
}

fn home_page<'a>(
    state: &AppState,
    base_url: &BaseUrl,
    frame: Frame,
    form: &'a LinkForm,
    messages: &'a [Message],
    created: Option<CreatedLink>,
) -> HomePage<'a> {
    HomePage {
        title: "urlshort",
        may_create: state.config.access.public_shorten || frame.may_write(),
        frame: frame.at("new"),
        has_options: form.has_options(),
        form,
        messages,
        created,
        usage: usage(&base_url.to_string()),
    }
}

async fn created_link(state: &AppState, base_url: &BaseUrl, frame: &Frame, key: Key) -> Option<CreatedLink> {
    let link = state.links.find(&key).await.ok()??;
    let state_now = link.state(state.shortener.clock.now());
    let note = match state_now {
        LinkState::Scheduled => {
            Some("It becomes active at its start time. Until then, visitors get “Not found”.")
        }
        LinkState::Active => None,
        LinkState::Expired | LinkState::UsedUp | LinkState::Blocked | LinkState::TakenDown => return None,
    };
    // Show no more than the link's public preview does.
    let (target, note) = match state.shortener.preview(&key, &Follower::Preview).await {
        Ok(link) => (Some(link.doc.target.to_string()), note),
        Err(FollowError::PasswordNeeded) => (None, Some("Visitors need its password.")),
        Err(_) => (None, note),
    };
    // A scheduled link has no public QR code yet.
    let root = &frame.root;
    let code = match state_now {
        LinkState::Active => Some(format!("{root}{key}/qr")),
        _ => frame.user.as_ref().map(|_| format!("{root}ui/links/{key}/qr")),
    };
    Some(CreatedLink { short_url: base_url.short_url(&key), key, target, note, code })
}

/// `POST /ui/new`: creates a link.
pub(crate) async fn create(
    LinkAuthor(author): LinkAuthor,
    State(state): State<AppState>,
    frame: Frame,
    ServiceUrl(base_url): ServiceUrl,
    Payload(form): Payload<LinkForm>,
) -> Response {
    match try_create(&state, &base_url, &author, &form).await {
        Ok(key) => see_other(format!("{}?made={key}", frame.form)),
        Err(FormErrors { messages, cause }) => {
            let page = home_page(&state, &base_url, frame, &form, &messages, None);
            page_of_error(cause, &page)
        }
    }
}

async fn try_create(
    state: &AppState,
    base_url: &BaseUrl,
    author: &Author,
    form: &LinkForm,
) -> Result<Key, FormErrors> {
    let new = form.read(state.shortener.clock.now())?;
    let shortened = state.shortener.shorten(new, &author.name, base_url).await;
    match shortened.map_err(|error| FormErrors::of(error.into()))? {
        Shortened::Created(link) => {
            author.log(Action::Created, &link.key);
            Ok(link.key.clone())
        }
        Shortened::Existing(link) => Ok(link.key.clone()),
    }
}
