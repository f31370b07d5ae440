//! The header and navigation that all pages share.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{
    assets::{ICON, SCRIPT, STYLE},
    session,
};
use crate::{
    config::AbuseContact,
    link::Creator,
    tokens::Scope,
    web::{extract::service_url::ServiceUrl, state::AppState},
};

/// The data for a page's layout.
pub(crate) struct Frame {
    /// The service's path on its host, with a trailing slash.
    pub(crate) root: String,
    /// The path of the form for new links.
    pub(crate) form: String,
    pub(crate) user: Option<User>,
    /// True if the UI is enabled.
    pub(crate) has_navigation: bool,
    /// The contact for reporting abuse, shown to a link's visitors.
    pub(crate) abuse_contact: Option<AbuseContact>,
    /// The active navigation entry: `new`, `links`, `blocked-hosts` or `sign-in`. It is empty on other pages.
    pub(crate) current: &'static str,
}

/// A signed-in user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// The name of the user's token.
    pub(crate) name: Creator,
    pub(crate) scope: Scope,
}

impl User {
    pub(crate) fn may_write(&self) -> bool {
        self.scope >= Scope::Write
    }
}

impl Frame {
    /// Sets the active navigation entry.
    pub(crate) fn at(self, current: &'static str) -> Self {
        Self { current, ..self }
    }

    pub(crate) fn may_write(&self) -> bool {
        self.user.as_ref().is_some_and(User::may_write)
    }

    pub(crate) fn style(&self) -> String {
        format!("{}{}", self.root, STYLE.path)
    }

    pub(crate) fn script(&self) -> String {
        format!("{}{}", self.root, SCRIPT.path)
    }

    pub(crate) fn icon(&self) -> String {
        format!("{}{}", self.root, ICON.path)
    }
}

impl FromRequestParts<AppState> for Frame {
    type Rejection = Infallible;

    /// Returns the frame for a request's page.
    ///
    /// This never fails, because error pages need a frame. If the store is unavailable, the user is treated as signed
    /// out.
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let url = ServiceUrl::from_request_parts(parts, state).await;
        let root: String = url.map_or_else(|_| "/".into(), |ServiceUrl(base_url)| base_url.path().into());
        let has_navigation = state.config.access.ui;
        let user = if has_navigation { session::user(parts, state).await.unwrap_or_default() } else { None };
        // If `HOME_URL` is set, the root redirects there instead of showing the form.
        let form =
            if state.config.fallbacks.home_url.is_some() { format!("{root}ui/new") } else { root.clone() };
        let abuse_contact = state.config.server.abuse_contact.clone();
        Ok(Self { root, form, user, has_navigation, abuse_contact, current: "" })
    }
}
