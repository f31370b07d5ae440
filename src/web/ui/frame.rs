//! The frame of every page: its header, and the paths of its style and script.

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

/// The header of a page, and the paths of what it refers to.
pub(crate) struct Frame {
    /// The path of the service on its host. It ends with a slash.
    pub(crate) root: String,
    /// The path of the form for a new link.
    pub(crate) form: String,
    pub(crate) user: Option<User>,
    /// True if there are pages to navigate to.
    pub(crate) has_navigation: bool,
    /// Shown to visitors of a link.
    pub(crate) abuse_contact: Option<AbuseContact>,
    /// The entry of the navigation that is marked: `new`, `links`, `blocked-hosts` or `sign-in`.
    pub(crate) current: &'static str,
}

/// The person who has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// The name of the token.
    pub(crate) name: Creator,
    pub(crate) scope: Scope,
}

impl User {
    pub(crate) fn may_write(&self) -> bool {
        self.scope >= Scope::Write
    }
}

impl Frame {
    /// Marks an entry of the navigation.
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

    /// Never fails: an error page needs a frame, too. If the store is away, nobody is signed in.
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let url = ServiceUrl::from_request_parts(parts, state).await;
        let root: String = url.map_or_else(|_| "/".into(), |ServiceUrl(base_url)| base_url.path().into());
        let has_navigation = state.config.access.ui;
        let user = if has_navigation { session::user(parts, state).await.unwrap_or_default() } else { None };
        // Elsewhere, the form is at the root.
        let form =
            if state.config.fallbacks.home_url.is_some() { format!("{root}ui/new") } else { root.clone() };
        let abuse_contact = state.config.server.abuse_contact.clone();
        Ok(Self { root, form, user, has_navigation, abuse_contact, current: "" })
    }
}
