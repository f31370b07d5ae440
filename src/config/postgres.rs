//! The `PG*` environment variables that PostgreSQL clients read.
//!
//! The driver also reads these variables, but it ignores invalid values. A misspelt `PGSSLMODE` must not weaken
//! security, so this module checks the supported variables and adds their values to the URL. For the driver, the URL
//! takes precedence over the variables.

use url::Url;

const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Variables for which the driver doesn't treat an empty value as unset.
const NEVER_EMPTY: [&str; 5] = ["PGHOST", "PGUSER", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"];

/// Fills in the missing parts of `url` from environment variables.
///
/// # Errors
/// A message that names the variable whose value is invalid.
pub(super) fn complete(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let value = |name: &str| variable(name).filter(|value| !value.is_empty());
    let check = |name: &str, is_valid: fn(&str) -> bool, takes: &str| match value(name) {
        Some(value) if !is_valid(&value) => Err(format!("{name}: '{value}': takes {takes}")),
        _ => Ok(()),
    };
    check("PGSSLMODE", |value| SSL_MODES.contains(&value), &SSL_MODES.join(", "))?;
    check("PGPORT", |value| value.parse::<u16>().is_ok(), "a port number")?;
    // Leave an invalid URL for the store to report.
    let Ok(parsed) = Url::parse(url) else { return Ok(url.into()) };
    let host = if value("PGHOSTADDR").is_some() { "PGHOSTADDR" } else { "PGHOST" };
    let parts = [
        ("host", host, parsed.host_str().is_some_and(|host| !host.is_empty())),
        ("port", "PGPORT", parsed.port().is_some()),
        ("user", "PGUSER", !parsed.username().is_empty()),
        ("password", "PGPASSWORD", parsed.password().is_some()),
        ("dbname", "PGDATABASE", !parsed.path().trim_start_matches('/').is_empty()),
        ("sslmode", "PGSSLMODE", false),
        ("sslrootcert", "PGSSLROOTCERT", false),
        ("sslcert", "PGSSLCERT", false),
        ("sslkey", "PGSSLKEY", false),
        ("application_name", "PGAPPNAME", false),
    ];
    let is_parameter = |wanted: &str| parsed.query_pairs().any(|(name, _)| name == wanted);
    let mut completed = parsed.clone();
    for (parameter, name, is_given) in parts {
        if is_given || is_parameter(parameter) {
            continue;
        }
        match variable(name) {
            // The driver would use the empty string as a host, user or file name.
            Some(value) if value.is_empty() && NEVER_EMPTY.contains(&name) => {
                return Err(format!("{name}: '': takes a value; unset it to go without"));
            }
            Some(value) if !value.is_empty() => {
                completed.query_pairs_mut().append_pair(parameter, &value);
            }
            _ => {}
        }
    }
    Ok(completed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(url: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        complete(url, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_supply_what_a_url_leaves_out() {
        let variables = [
            ("PGHOST", "db"),
            ("PGUSER", "me"),
            ("PGPASSWORD", "p&q"),
            ("PGSSLMODE", "require"),
            ("PGPORT", ""),
        ];
        let url = completed("postgres:///links?sslmode=verify-full", &variables).unwrap();
        assert_eq!(url, "postgres:///links?sslmode=verify-full&host=db&user=me&password=p%26q");
    }

    #[test]
    fn pghostaddr_takes_precedence_over_pghost() {
        let variables = [("PGHOST", "db"), ("PGHOSTADDR", "192.0.2.1")];
        assert_eq!(completed("postgres://", &variables).unwrap(), "postgres://?host=192.0.2.1");
        assert_eq!(completed("postgres://other", &variables).unwrap(), "postgres://other");
    }

    #[test]
    fn a_value_that_the_driver_would_misread_is_refused() {
        for (name, value) in [
            ("PGSSLMODE", "verify_full"),
            ("PGPORT", "postgres"),
            ("PGPORT", "70000"),
            ("PGHOST", ""),
            ("PGUSER", ""),
            ("PGSSLROOTCERT", ""),
        ] {
            let error = completed("postgres://", &[(name, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{name}: '{value}': takes ")), "{error}");
        }
    }
}
