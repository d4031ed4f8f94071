//! The SDK's configuration, made once and shared by every client of a process: they then share its connections and its
//! credentials, too.
//!
//! Region, credentials and endpoint are where Lambda, and whatever stands in for it, puts them: in the environment, or,
//! for credentials that outlive a process's environment, at the address that it names. The SDK's own loader also looks into
//! profiles, single sign-on, web identities and instance metadata, which no function has and would carry along.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, ecs::EcsCredentialsProvider,
    environment::EnvironmentVariableCredentialsProvider, meta::credentials::CredentialsProviderChain,
    provider_config::ProviderConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

use crate::env::{self, EnvError};

/// A region is one network away.
const CONNECT: Duration = Duration::from_secs(2);
/// DynamoDB and SQS answer in milliseconds; what has not answered by then is lost.
const READ: Duration = Duration::from_secs(3);
const ATTEMPT: Duration = Duration::from_millis(3_500);
/// All attempts and the waits between them. Shorter than a lease, so that whoever asks still holds it when told that
/// nothing came of it.
pub const OPERATION: Duration = Duration::from_secs(8);
const ATTEMPTS: u32 = 3;

/// The configuration from the environment (`AWS_REGION`, credentials, `AWS_ENDPOINT_URL`), with our HTTP client, time-outs
/// and retries.
///
/// # Errors
/// When there is no region; the error names the variable.
pub fn config() -> Result<SdkConfig, EnvError> {
    let region = env::required("AWS_REGION")?;
    install_crypto();
    let client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let reached = ProviderConfig::without_region().with_http_client(client.clone());
    let credentials = CredentialsProviderChain::first_try("Environment", EnvironmentVariableCredentialsProvider::new())
        .or_else("Container", EcsCredentialsProvider::builder().configure(&reached).build());
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(client)
        .timeout_config(timeouts())
        // Standard and not adaptive: that one slows the whole process down when one table or queue throttles.
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
    config.set_endpoint_url(env::optional("AWS_ENDPOINT_URL")?);
    Ok(config.build())
}

/// Makes ring the crypto of every rustls in the process, the model client's included, which has none by itself. Harmless
/// when repeated; a process that has chosen already keeps its choice.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(READ)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crypto_is_installed_once_and_again_is_harmless() {
        install_crypto();
        install_crypto();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }

    #[test]
    fn an_operation_leaves_time_for_a_second_attempt() {
        let timeouts = timeouts();
        assert_eq!(timeouts.operation_timeout(), Some(OPERATION));
        assert!(OPERATION > 2 * ATTEMPT);
        assert!(timeouts.operation_attempt_timeout() < timeouts.operation_timeout());
    }
}
