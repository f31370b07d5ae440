//! `/ui/links`: the list of links, with search and filters.

use askama::Template;
use axum::{extract::State, response::Response};
use serde::Deserialize;
use url::form_urlencoded;

use super::{frame::Frame, link::LinkView, session::Reader, words::grouped};
use crate::{
    link::Key,
    store::{
        Moment,
        listing::{Listing, Page},
    },
    web::{
        extract::{body::Query, service_url::ServiceUrl},
        respond::{
            error::ApiError,
            page::{page, page_of_error},
        },
        routes::links,
        state::AppState,
    },
};

/// The number of links on a page.
const LIMIT: u16 = 25;

/// The states to filter by, each with its API name and label.
const STATES: [(&str, &str); 6] = [
    ("active", "Active"),
    ("scheduled", "Scheduled"),
    ("expired", "Expired"),
    ("used_up", "Used up"),
    ("blocked", "Blocked"),
    ("taken_down", "Taken down"),
];

/// The sort orders, each with its API name and label.
const ORDERS: [(&str, &str); 3] =
    [("newest", "Newest first"), ("oldest", "Oldest first"), ("most_clicked", "Most clicked first")];

/// The query parameters of the page, as text.
///
/// The filters have the same names and values as in the API.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListQuery {
    search: String,
    tag: String,
    by: String,
    state: String,
    sort: String,
    cursor: String,
    /// The key of the link that was just deleted, for the confirmation message.
    deleted: String,
}

#[derive(Template)]
#[template(path = "links.html", config = "src/web/ui/askama.toml")]
struct LinksPage {
    title: &'static str,
    frame: Frame,
    query: ListQuery,
    links: Vec<LinkView>,
    /// The query string for the next page.
    next: Option<String>,
    /// The number of links searched so far, if the search isn't complete.
    searched: Option<String>,
    creators: Vec<(String, String)>,
    failure: Option<Failure>,
}

/// The reason that the list can't be shown.
enum Failure {
    /// A filter has an invalid value.
    Filter(String),
    StoreUnavailable,
    Busy,
}

impl ListQuery {
    /// Parses the filters in the same way as the API.
    fn listing(&self, moment: &Moment) -> Result<Listing, ApiError> {
        let text = format!("{}&limit={LIMIT}", self.at(&self.cursor));
        let query: links::ListQuery =
            serde_html_form::from_str(text.trim_start_matches('&')).map_err(ApiError::query)?;
        query.listing(moment)
    }

    fn is_filtered(&self) -> bool {
        [&self.search, &self.tag, &self.by, &self.state].iter().any(|text| !text.trim().is_empty())
    }

    /// Returns the query string with another cursor.
    fn at(&self, cursor: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("search", &self.search),
            ("tag", &self.tag),
            ("by", &self.by),
            ("state", &self.state),
            ("sort", &self.sort),
        ] {
            if !value.trim().is_empty() {
                query.append_pair(name, value.trim());
            }
        }
        if !cursor.is_empty() {
            query.append_pair("cursor", cursor);
        }
        query.finish()
    }
}

impl LinksPage {
    fn states(&self) -> &'static [(&'static str, &'static str)] {
        &STATES
    }

    fn orders(&self) -> &'static [(&'static str, &'static str)] {
        &ORDERS
    }

    fn order(&self) -> &'static str {
        ORDERS.iter().find(|(name, _)| *name == self.query.sort).unwrap_or(&ORDERS[0]).1
    }

    /// Returns a query string with a single filter.
    fn only(&self, name: &str, value: &str) -> String {
        form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
    }
}

/// `GET /ui/links`: lists links.
pub(crate) async fn show(
    Reader(user): Reader,
    State(state): State<AppState>,
    frame: Frame,
    ServiceUrl(base_url): ServiceUrl,
    Query(mut query): Query<ListQuery>,
) -> Response {
    // Anyone can craft a link to this page, so the page shows a key from the query only if it's valid.
    if query.deleted.parse::<Key>().is_err() {
        query.deleted.clear();
    }
    let moment = state.shortener.moment();
    let found = match query.listing(&moment) {
        Ok(listing) => state.links.list(&listing).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    let mut creators: Vec<(String, String)> =
        vec![("".into(), "Anyone".into()), (user.name.to_string(), format!("Me ({})", user.name))];
    for (name, label) in [("public", "Public"), ("import", "Imports"), (&query.by, &query.by)] {
        if !creators.iter().any(|(known, _)| known == name) {
            creators.push((name.into(), label.into()));
        }
    }
    let empty = LinksPage {
        title: "Links",
        frame: frame.at("links"),
        query,
        links: Vec::new(),
        next: None,
        searched: None,
        creators,
        failure: None,
    };
    match found {
        Ok(Page { records, next, searched, .. }) => {
            let links = records.iter().map(|record| LinkView::new(record, &base_url, &moment)).collect();
            let next = next.map(|cursor| empty.query.at(&cursor.to_string()));
            page(&LinksPage { links, next, searched: searched.map(grouped), ..empty })
        }
        Err(error) => {
            let failure = match &error {
                ApiError::InvalidQuery(reason) => Failure::Filter(reason.clone()),
                ApiError::Store(_) => Failure::StoreUnavailable,
                _ => Failure::Busy,
            };
            page_of_error(error, &LinksPage { failure: Some(failure), ..empty })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_search_shows_its_progress_and_can_continue() {
        let query = ListQuery { search: "a & b".into(), ..ListQuery::default() };
        let page = LinksPage {
            title: "Links",
            frame: Frame {
                root: "/".into(),
                form: "/".into(),
                user: None,
                has_navigation: true,
                abuse_contact: None,
                current: "links",
            },
            next: Some(query.at("5.k")),
            query,
            links: Vec::new(),
            searched: Some(grouped(12_000)),
            creators: Vec::new(),
            failure: None,
        };
        let html = page.render().unwrap();
        assert!(html.contains("12,000 links searched so far."), "{html}");
        assert!(html.contains("href=\"?search=a+%26+b&#38;cursor=5.k\">Continue searching</a>"), "{html}");
        assert!(html.contains("Nothing found so far.") && !html.contains("No links yet"), "{html}");
    }

    #[test]
    fn filters_are_parsed_like_those_of_the_api() {
        let moment = Moment::from("2026-06-01T12:00:00Z".parse::<jiff::Timestamp>().unwrap());
        let query = |state: &str, by: &str, cursor: &str| {
            let (state, by, cursor) = (state.into(), by.into(), cursor.into());
            ListQuery { state, by, cursor, search: " x ".into(), ..ListQuery::default() }.listing(&moment)
        };
        let listing = query("taken_down", "anna", "5.k").unwrap();
        assert_eq!(listing.filter.created_by.unwrap().as_str(), "anna");
        assert_eq!((listing.limit, listing.filter.search.is_some()), (LIMIT.into(), true));
        assert!(query("", "", "").unwrap().filter.state.is_none());
        for (state, by, cursor) in [("gone", "", ""), ("", "a b", ""), ("", "", "nonsense")] {
            assert!(
                matches!(query(state, by, cursor), Err(ApiError::InvalidQuery(_))),
                "{state}{by}{cursor}"
            );
        }
    }
}
