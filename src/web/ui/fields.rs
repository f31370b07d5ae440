//! The fields of the link form: API names, labels, hints and inputs.

use super::form::sentence;
use crate::{link::InvalidTarget, web::respond::error::ApiError};

/// A field of the link form.
pub(crate) struct Field {
    /// The name of the field in the API.
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) input: Input,
    /// True if the field can be edited in an existing link.
    pub(crate) is_editable: bool,
    /// True if the form for new links has this field.
    pub(crate) is_for_new: bool,
    /// True if setting the field requires a token with the write scope.
    pub(crate) needs_token: bool,
}

/// A kind of input.
pub(crate) enum Input {
    Url,
    Text,
    Number,
    Password,
    /// A time in UTC.
    Time,
    /// Text values and their labels.
    Choice(&'static [(&'static str, &'static str)]),
    /// Numeric values and their labels.
    Status(&'static [(&'static str, &'static str)]),
    Flag,
}

/// The target. Pages show it separately from the other fields.
pub(crate) static URL: Field = Field {
    name: "url",
    label: "Long URL",
    hint: "",
    input: Input::Url,
    is_editable: true,
    is_for_new: true,
    needs_token: false,
};

/// All fields except the target, in the order shown on the page.
pub(crate) static FIELDS: &[Field] = &[
    Field {
        name: "key",
        label: "Custom key",
        hint: "The last part of the short link",
        input: Input::Text,
        is_editable: false,
        is_for_new: true,
        needs_token: false,
    },
    Field {
        name: "title",
        label: "Title",
        hint: "Visible only to people who sign in",
        input: Input::Text,
        is_editable: true,
        is_for_new: true,
        needs_token: false,
    },
    Field {
        name: "tags",
        label: "Tags",
        hint: "Separated by commas",
        input: Input::Text,
        is_editable: true,
        is_for_new: true,
        needs_token: false,
    },
    Field {
        name: "expires_in",
        label: "Expires after",
        hint: "",
        input: Input::Choice(&[
            ("", "Never"),
            ("1h", "1 hour"),
            ("1d", "1 day"),
            ("7d", "7 days"),
            ("30d", "30 days"),
            ("365d", "365 days"),
        ]),
        is_editable: false,
        is_for_new: true,
        needs_token: false,
    },
    Field {
        name: "starts_at",
        label: "Starts at (UTC)",
        hint: "Until then, visitors get “Not found”",
        input: Input::Time,
        is_editable: true,
        is_for_new: true,
        needs_token: false,
    },
    Field {
        name: "expires_at",
        label: "Expires at (UTC)",
        hint: "Leave empty for no date",
        input: Input::Time,
        is_editable: true,
        is_for_new: true,
        needs_token: false,
    },
    Field {
        name: "max_visits",
        label: "Visit limit",
        hint: "Counts only people; bots can't follow the link",
        input: Input::Number,
        is_editable: true,
        is_for_new: true,
        needs_token: false,
    },
    Field {
        name: "password",
        label: "Password",
        hint: "Visitors have to enter it",
        input: Input::Password,
        is_editable: true,
        is_for_new: true,
        needs_token: false,
    },
    Field {
        name: "redirect",
        label: "Redirect",
        hint: "Browsers cache a permanent redirect for up to a day",
        input: Input::Status(&[
            ("302", "302, temporary"),
            ("301", "301, permanent"),
            ("307", "307, temporary, keeps the method"),
            ("308", "308, permanent, keeps the method"),
        ]),
        is_editable: true,
        is_for_new: true,
        needs_token: false,
    },
    Field {
        name: "forward_query",
        label: "Add the query of the short link to the target",
        hint: "",
        input: Input::Flag,
        is_editable: true,
        is_for_new: true,
        needs_token: false,
    },
    Field {
        name: "gone_url",
        label: "Fallback page",
        hint: "Where browsers go once the link has expired or is used up",
        input: Input::Url,
        is_editable: true,
        is_for_new: true,
        needs_token: true,
    },
];

impl Field {
    /// Returns the type of the HTML input.
    pub(crate) fn input_type(&self) -> &'static str {
        match self.input {
            Input::Password => "password",
            Input::Time => "datetime-local",
            Input::Flag => "checkbox",
            _ => "text",
        }
    }

    /// Returns an error message about this field.
    pub(crate) fn message(&self, error: &ApiError) -> String {
        match (error, &self.input) {
            (ApiError::InvalidUrl(InvalidTarget::NotHttp), _) | (ApiError::InvalidOption(_), Input::Url) => {
                "Enter a web address, such as https://example.com/page.".into()
            }
            (ApiError::RefusedGoneUrl(refusal), _) => sentence(ApiError::RefusedUrl(*refusal)),
            (ApiError::InvalidKey(_), _) => "Use 1 to 64 letters, digits, - and _, without spaces.".into(),
            (ApiError::KeyTaken, _) => "This key is taken. Choose another one.".into(),
            (ApiError::ReservedKey, _) => "This key is reserved. Choose another one.".into(),
            (ApiError::UnexpectedBody(_), Input::Number) => "Enter a whole number, 1 or more.".into(),
            (ApiError::UnexpectedBody(_), Input::Time) => "Enter a date and a time.".into(),
            (ApiError::UnexpectedBody(_), _) => "Enter a valid value.".into(),
            (error, _) => {
                let text = error.to_string();
                // The page shows the label next to the message, so drop the field's name from the message.
                let name = format!("{}: ", self.name);
                sentence(text.strip_prefix(&name).unwrap_or(&text))
            }
        }
    }
}
