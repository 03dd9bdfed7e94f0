//! The options about tokens of bus clients, checked.

use std::time::Duration;

use super::error::ConfigError;
use super::options::{ServeOptions, TokenAlgorithm};
use super::range::{key_rotation, token_lifetime};
use crate::bus::{Algorithm, KeySource, TokenSettings, TrustedIssuer};

/// The audience that Keycloak gives its tokens where nobody chose another.
const TRUSTED_AUDIENCE: &str = "account";

pub(super) fn check(options: &ServeOptions) -> Result<TokenSettings, ConfigError> {
    let default = TokenSettings::default();
    let lifetime =
        |given: Option<Duration>, default, option| token_lifetime(given.unwrap_or(default), option);
    let issuer = options.token_issuer.clone().unwrap_or(default.issuer);
    let trusted = trusted(options)?;
    if trusted.as_ref().is_some_and(|it| it.issuer == issuer) {
        return Err(ConfigError::OwnIssuer { issuer });
    }
    Ok(TokenSettings {
        issuer,
        lifetime: lifetime(options.token_lifetime, default.lifetime, "token-lifetime")?,
        refresh_lifetime: lifetime(
            options.refresh_token_lifetime,
            default.refresh_lifetime,
            "refresh-token-lifetime",
        )?,
        key_rotation: key_rotation(
            options.token_key_rotation.unwrap_or(default.key_rotation),
            "token-key-rotation",
        )?,
        trusted,
    })
}

fn trusted(options: &ServeOptions) -> Result<Option<TrustedIssuer>, ConfigError> {
    let incomplete = |given, missing| Err(ConfigError::Incomplete { given, missing });
    let (issuer, jwks) = match (&options.trusted_issuer, &options.trusted_jwks) {
        (Some(issuer), Some(jwks)) => (issuer, jwks),
        (Some(_), None) => return incomplete("trusted-issuer", "trusted-jwks"),
        (None, Some(_)) => return incomplete("trusted-jwks", "trusted-issuer"),
        (None, None) if options.trusted_audience.is_some() => {
            return incomplete("trusted-audience", "trusted-issuer");
        }
        (None, None) if options.trusted_algorithm.is_some() => {
            return incomplete("trusted-algorithm", "trusted-issuer");
        }
        (None, None) => return Ok(None),
    };
    let audience = options.trusted_audience.as_deref();
    Ok(Some(TrustedIssuer {
        issuer: issuer.clone(),
        audience: audience.unwrap_or(TRUSTED_AUDIENCE).to_owned(),
        algorithm: match options.trusted_algorithm.unwrap_or_default() {
            TokenAlgorithm::Rs256 => Algorithm::Rs256,
            TokenAlgorithm::Es256 => Algorithm::Es256,
        },
        keys: KeySource::at(jwks)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_issuer_needs_its_keys_and_another_name() {
        let says = |options: ServeOptions, part: &str| {
            let shown = check(&options).unwrap_err().to_string();
            assert!(shown.contains(part), "{shown}");
        };
        let issuer = |name: &str, jwks: Option<&str>| ServeOptions {
            trusted_issuer: Some(name.to_owned()),
            trusted_jwks: jwks.map(str::to_owned),
            ..ServeOptions::default()
        };
        says(
            issuer("other", None),
            "--trusted-issuer needs --trusted-jwks",
        );
        says(issuer("vinbus", Some("keys.json")), "--trusted-issuer");
        says(issuer("other", Some("ftp://x/keys")), "--trusted-jwks");
        let http = "http://issuer.example/keys";
        says(issuer("other", Some(http)), "use https://");
        let file = check(&issuer("other", Some("keys.json"))).unwrap().trusted;
        let file = file.unwrap();
        assert_eq!(file.keys, KeySource::File("keys.json".into()));
        assert_eq!(
            (file.audience.as_str(), file.algorithm),
            ("account", Algorithm::Rs256)
        );
    }

    #[test]
    fn lifetimes_are_bounded() {
        let of = |token_lifetime| ServeOptions {
            token_lifetime,
            ..ServeOptions::default()
        };
        for lifetime in [Duration::ZERO, Duration::from_secs(8 * 24 * 60 * 60)] {
            let shown = check(&of(Some(lifetime))).unwrap_err().to_string();
            assert!(shown.contains("--token-lifetime"), "{shown}");
        }
    }
}
