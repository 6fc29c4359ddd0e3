//! Credentials of the target, from Secrets Manager.

use crate::error::{AwsError, Fault, explain};
use aws_sdk_secretsmanager::Client;
use backfill::secrets::SecretString;
use serde::Deserialize;

/// User name and password for basic authentication.
#[derive(Clone, Debug, Deserialize)]
pub struct TargetSecret {
    /// User name.
    pub username: String,
    /// Password.
    pub password: SecretString,
}

/// Reads a secret of the form `{"username": "…", "password": "…"}`.
///
/// # Errors
/// When it cannot be read, or has another form. The error holds nothing of it.
pub async fn fetch(client: &Client, id: &str) -> Result<TargetSecret, AwsError> {
    let what = format!("cannot read the secret {id}");
    let answer = client.get_secret_value().secret_id(id).send().await.map_err(|e| explain(&what, &e))?;
    let text = answer.secret_string().unwrap_or_default();
    parse(text).ok_or_else(|| {
        let reason = r#"it must be JSON of the form {"username": "…", "password": "…"}"#;
        AwsError::new(Fault::Invalid, what, reason)
    })
}

/// The secret in a text. What is wrong with it is not told: an error of JSON may quote a part of it.
fn parse(text: &str) -> Option<TargetSecret> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use backfill::secrets::ExposeSecret;

    #[test]
    fn secrets_are_read_and_never_shown() {
        let secret = parse(r#"{"username":"u","password":"hidden","engine":"x"}"#).unwrap();
        assert_eq!((secret.username.as_str(), secret.password.expose_secret()), ("u", "hidden"));
        assert!(!format!("{secret:?}").contains("hidden"));
        for bad in ["", "hidden", "{}", r#"{"username":"u"}"#, r#"{"username":1,"password":"p"}"#] {
            assert!(parse(bad).is_none());
        }
    }
}
