//! A connection to one service under one identity: credentials, region, endpoint, and one pace for all calls.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents, SharedHttpClient,
    StalledStreamProtectionConfig, retry::RetryConfig,
};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use tokio::sync::OnceCell;

use super::answer_limit::AnswerLimit;
use super::clock::ServerClock;
use super::retry::{ATTEMPTS, Attempted, Pace, SdkCall};
use crate::ids::Timestamp;
use crate::store::{StoreError, StoreErrorKind};

/// The service where no endpoint is named.
const AWS: &str = "aws";
/// A server that is not AWS takes any region; this is the usual one.
const ANY_REGION: &str = "us-east-1";
/// The variable that names a file of PEM certificates to trust besides the system's, as in the AWS CLI.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The variable that names the endpoint of STS, as in the AWS CLI.
const STS_ENDPOINT: &str = "AWS_ENDPOINT_URL_STS";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer to begin. A write sends its body first, so a large one gets more time.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long STS may take to say who calls: a network without a way to it must not hold a backup up.
const STS_TIMEOUT: Duration = Duration::from_secs(3);
/// Idle connections at most, a little more than calls in flight.
const IDLE_CONNECTIONS: usize = 300;

/// How to reach a bucket. What is absent comes from the SDK's environment variables and profile files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// A profile of the SDK's configuration files.
    pub profile: Option<String>,
    /// A role to assume, by ARN.
    pub role: Option<String>,
    /// The external id that the role's trust policy asks for.
    pub external_id: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// The endpoint of another server than AWS.
    pub endpoint: Option<String>,
    /// Whether buckets are named in the path; by default only for addresses and localhost.
    pub path_style: Option<bool>,
    /// Whether the caller pays for requests (`x-amz-request-payer`).
    pub requester_pays: bool,
    /// The storage class of new objects; by default the bucket's.
    pub storage_class: Option<String>,
    /// An access key and its secret, instead of the credentials that the SDK finds.
    pub keys: Option<Keys>,
    /// How long to wait for an answer to begin; by default a minute.
    pub patience: Option<Duration>,
}

/// An access key with its secret, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key's id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A connection to one service under one identity. Clones are cheap and share connections and pace.
#[derive(Clone)]
pub struct S3Client {
    inner: Arc<Inner>,
}

struct Inner {
    s3: aws_sdk_s3::Client,
    service: String,
    region: String,
    requester_pays: bool,
    patience: Duration,
    credentials: Option<SharedCredentialsProvider>,
    /// Where there is a service that knows who calls.
    sts: Option<aws_sdk_sts::Client>,
    caller: OnceCell<Option<String>>,
    pace: Pace,
    clock: ServerClock,
}

impl fmt::Debug for S3Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Client")
            .field("service", &self.inner.service)
            .field("region", &self.inner.region)
            .finish_non_exhaustive()
    }
}

impl S3Client {
    /// Finds out credentials and region and makes a client; S3 is not called yet.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] where the certificates of `AWS_CA_BUNDLE` cannot be used.
    pub async fn connect(settings: &S3Settings) -> Result<Self, StoreError> {
        let unsupported = |reason: String| StoreError {
            action: "connect to",
            uri: settings.endpoint.clone().unwrap_or_else(|| "S3".to_owned()),
            kind: StoreErrorKind::Unsupported { reason },
        };
        let http = http_client().map_err(unsupported)?;
        Ok(Self::over(&http, settings).await)
    }

    /// As [`S3Client::connect`], with answers that a test makes instead of a network's.
    #[cfg(any(test, feature = "testing"))]
    pub async fn connect_over(http: &SharedHttpClient, settings: &S3Settings) -> Self {
        Self::over(http, settings).await
    }

    async fn over(http: &SharedHttpClient, settings: &S3Settings) -> Self {
        let sdk = load(settings, http).await;
        let endpoint = endpoint_of(&sdk);
        let region = match (&endpoint, sdk.region()) {
            (_, Some(region)) => region.to_string(),
            (Some(_) | None, None) => ANY_REGION.to_owned(),
        };
        let path_style = settings
            .path_style
            .unwrap_or_else(|| endpoint.as_deref().is_some_and(is_an_address));
        let clock = ServerClock::default();
        let mut config = aws_sdk_s3::config::Builder::from(&sdk)
            .interceptor(clock.clone())
            .interceptor(AnswerLimit)
            .force_path_style(path_style)
            .region(Region::new(region.clone()))
            // The digest is known before the call and sent as a header; what is read is hashed by its reader.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        let mut credentials = sdk.credentials_provider();
        if let Some(role) = &settings.role {
            let provider = SharedCredentialsProvider::new(assume(role, settings, &sdk).await);
            config = config.credentials_provider(provider.clone());
            credentials = Some(provider);
        }
        let sts = sts_client(&sdk, endpoint.as_deref(), &region, credentials.clone());
        Self {
            inner: Arc::new(Inner {
                s3: aws_sdk_s3::Client::from_conf(config.build()),
                service: endpoint.unwrap_or_else(|| AWS.to_owned()),
                region,
                requester_pays: settings.requester_pays,
                patience: settings.patience.unwrap_or(PATIENCE),
                credentials,
                sts,
                caller: OnceCell::new(),
                pace: Pace::default(),
                clock,
            }),
        }
    }

    /// The service that holds the objects: the endpoint without a trailing slash, else `aws`.
    pub fn service(&self) -> &str {
        &self.inner.service
    }

    /// The service's name in errors.
    fn service_name(&self) -> &str {
        match self.service() {
            AWS => "Amazon S3",
            endpoint => endpoint,
        }
    }

    /// The region that calls are signed for.
    pub fn region(&self) -> &str {
        &self.inner.region
    }

    /// The access key that calls are made with, where it is known.
    pub async fn access_key(&self) -> Option<String> {
        let provider = self.inner.credentials.as_ref()?;
        let credentials = provider.provide_credentials().await.ok()?;
        Some(credentials.access_key_id().to_owned())
    }

    /// The ARN of who makes the calls, as STS knows it: asked once, and none where there is no STS or no answer in time.
    pub async fn caller(&self) -> Option<String> {
        let sts = self.inner.sts.as_ref()?;
        let ask = || async {
            let asked = sts.get_caller_identity().send();
            match tokio::time::timeout(STS_TIMEOUT, asked).await {
                Ok(Ok(identity)) => identity.arn,
                Ok(Err(error)) => {
                    tracing::info!(error = %DisplayErrorContext(error), "STS does not say who calls");
                    None
                }
                Err(_) => {
                    tracing::info!("STS does not say in time who calls");
                    None
                }
            }
        };
        self.inner.caller.get_or_init(ask).await.clone()
    }

    /// The server's time in its newest answer.
    pub fn server_time(&self) -> Option<Timestamp> {
        self.inner.clock.heard()
    }

    /// Whether the server is another one than AWS.
    pub fn has_own_endpoint(&self) -> bool {
        self.inner.service != AWS
    }

    pub(crate) fn s3(&self) -> &aws_sdk_s3::Client {
        &self.inner.s3
    }

    pub(super) fn requester_pays(&self) -> bool {
        self.inner.requester_pays
    }

    pub(super) fn patience(&self) -> Duration {
        self.inner.patience
    }

    /// Makes a call that may be made twice, until it is answered.
    pub(super) async fn call<F: SdkCall>(
        &self,
        attempt: impl FnMut() -> F,
    ) -> Result<F::Answer, StoreErrorKind> {
        self.attempts(ATTEMPTS, attempt).await.result
    }

    /// As [`S3Client::call`]; also returns whether an attempt before the last one may have taken effect.
    pub(super) async fn call_noting<F: SdkCall>(
        &self,
        attempt: impl FnMut() -> F,
    ) -> Attempted<F::Answer> {
        self.attempts(ATTEMPTS, attempt).await
    }

    /// Makes a call once; again only where the server surely did nothing. A lost answer is
    /// [`StoreErrorKind::Interrupted`].
    pub(super) async fn call_once<F: SdkCall>(
        &self,
        attempt: impl FnMut() -> F,
    ) -> Result<F::Answer, StoreErrorKind> {
        self.attempts(1, attempt).await.result
    }

    /// Makes a call, and adds to a refusal the access key that was refused.
    async fn attempts<F: SdkCall>(
        &self,
        lost: u32,
        attempt: impl FnMut() -> F,
    ) -> Attempted<F::Answer> {
        let pace = &self.inner.pace;
        let mut attempted = pace.attempts(self.service_name(), lost, attempt).await;
        if let Err(StoreErrorKind::Denied { detail }) = &mut attempted.result
            && let Some(key) = self.access_key().await
        {
            *detail = format!("{detail}, asked with access key {key}");
        }
        attempted
    }
}

async fn load(settings: &S3Settings, http: &SharedHttpClient) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        // `retry.rs` retries: after a lost answer to a put, the object must be looked at before the put is sent again.
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(settings.patience.unwrap_or(PATIENCE))
                .build(),
        );
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(keys) = &settings.keys {
        let given = Credentials::new(&keys.id, &keys.secret, None, None, "given");
        loader = loader.credentials_provider(given);
    }
    let sdk = loader.load().await;
    let (Some(profile), None) = (&settings.profile, &settings.keys) else {
        return sdk;
    };
    // A named profile wins over keys in the environment.
    let around = ProviderConfig::without_region()
        .with_region(sdk.region().cloned())
        .with_http_client(http.clone());
    let named = ProfileFileCredentialsProvider::builder()
        .configure(&around)
        .profile_name(profile)
        .build();
    sdk.into_builder()
        .credentials_provider(SharedCredentialsProvider::new(named))
        .build()
}

async fn assume(role: &str, settings: &S3Settings, sdk: &SdkConfig) -> AssumeRoleProvider {
    let mut builder = AssumeRoleProvider::builder(role)
        .session_name("deltavault")
        .configure(sdk);
    if let Some(id) = &settings.external_id {
        builder = builder.external_id(id);
    }
    builder.build().await
}

/// A client of the STS that knows whose the credentials are: that of AWS for its own S3; for another server only one that
/// the environment names, because its keys are nobody else's to see.
fn sts_client(
    sdk: &SdkConfig,
    s3_endpoint: Option<&str>,
    region: &str,
    credentials: Option<SharedCredentialsProvider>,
) -> Option<aws_sdk_sts::Client> {
    let named = std::env::var_os(STS_ENDPOINT).and_then(|it| it.into_string().ok());
    let named = named.filter(|it| !it.is_empty());
    if s3_endpoint.is_some() && named.is_none() {
        return None;
    }
    let mut config = aws_sdk_sts::config::Builder::from(sdk)
        .credentials_provider(credentials?)
        .region(Region::new(region.to_owned()));
    if let Some(endpoint) = named {
        config = config.endpoint_url(endpoint);
    }
    Some(aws_sdk_sts::Client::from_conf(config.build()))
}

/// The endpoint that S3 calls go to, found as the SDK finds it: settings, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`,
/// the profile.
fn endpoint_of(sdk: &SdkConfig) -> Option<String> {
    let of_s3 = || {
        let key = aws_types::service_config::ServiceConfigKey::builder()
            .service_id("s3")
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build()
            .ok()?;
        sdk.service_config()?.load_config(key)
    };
    let endpoint = if sdk.get_origin("endpoint_url").is_client_config() {
        sdk.endpoint_url().map(str::to_owned)
    } else {
        of_s3().or_else(|| sdk.endpoint_url().map(str::to_owned))
    };
    endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned())
}

/// Whether the host of an endpoint is an address or localhost, which a bucket's name cannot be put before.
fn is_an_address(endpoint: &str) -> bool {
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok()
}

/// A client that knows proxies (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) and `AWS_CA_BUNDLE`.
fn http_client() -> Result<SharedHttpClient, String> {
    let mut trusted = TrustStore::default().with_native_roots(true);
    if let Some(path) = std::env::var_os(CA_BUNDLE).filter(|path| !path.is_empty()) {
        let pem = std::fs::read(&path)
            .map_err(|error| format!("{CA_BUNDLE}={}: {error}", path.display()))?;
        trusted = trusted.with_pem_certificate(pem);
    }
    let context = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|error| format!("{CA_BUNDLE}: {error}"))?;
    Ok(
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder()
                .enable_tcp_nodelay(true)
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .proxy_config(ProxyConfig::from_env());
            if let Some(settings) = settings {
                connector = connector.connector_settings(settings.clone());
            }
            connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
            connector
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context.clone())
                .build()
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_room_for_a_bucket_in_its_name() {
        for address in [
            "http://127.0.0.1:9000",
            "http://localhost:9000/",
            "https://[::1]:9000",
            "10.0.0.1",
        ] {
            assert!(is_an_address(address), "{address}");
        }
        for name in [
            "https://s3.example.com",
            "https://minio:9000",
            "https://127.example.com",
        ] {
            assert!(!is_an_address(name), "{name}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_that_is_named_is_the_service() {
        let settings = S3Settings {
            endpoint: Some("http://127.0.0.1:9/".to_owned()),
            region: Some("eu-west-1".to_owned()),
            keys: Some(Keys {
                id: "id".to_owned(),
                secret: "secret".to_owned(),
            }),
            ..S3Settings::default()
        };
        let client = S3Client::connect(&settings).await.unwrap();
        assert_eq!(client.service(), "http://127.0.0.1:9");
        assert_eq!(client.region(), "eu-west-1");
        assert_eq!(client.access_key().await.as_deref(), Some("id"));
        assert!(!format!("{settings:?}").contains("secret\""));
    }

    /// A server that answers every request with one answer, after a while; returns its address.
    async fn server(answer: &'static str, wait: Duration) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 8192];
                let read = stream.read(&mut request).await.unwrap();
                let asked = String::from_utf8_lossy(&request[..read]).into_owned();
                assert!(asked.contains("Credential=id/"), "{asked}");
                tokio::time::sleep(wait).await;
                let head = format!(
                    "HTTP/1.1 {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    if answer.is_empty() {
                        "403 Forbidden"
                    } else {
                        "200 OK"
                    },
                    answer.len()
                );
                stream.write_all(head.as_bytes()).await.ok();
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        format!("http://{address}")
    }

    /// What a client says of its caller whose STS is `endpoint`.
    async fn caller_by(endpoint: Option<&str>) -> Option<String> {
        let settings = S3Settings {
            endpoint: Some("http://127.0.0.1:9".to_owned()),
            region: Some("eu-west-1".to_owned()),
            keys: Some(Keys {
                id: "id".to_owned(),
                secret: "secret".to_owned(),
            }),
            ..S3Settings::default()
        };
        let client = S3Client::connect(&settings).await.unwrap();
        assert!(
            client.inner.sts.is_none(),
            "not for a server that is not AWS"
        );
        let sdk = load(&settings, &http_client().unwrap()).await;
        let sdk = match endpoint {
            Some(endpoint) => sdk.into_builder().endpoint_url(endpoint).build(),
            None => sdk,
        };
        let credentials = sdk.credentials_provider();
        let sts = sts_client(&sdk, None, "eu-west-1", credentials);
        let inner = Inner {
            s3: client.inner.s3.clone(),
            service: AWS.to_owned(),
            region: "eu-west-1".to_owned(),
            requester_pays: false,
            patience: PATIENCE,
            credentials: None,
            sts: sts.filter(|_| endpoint.is_some()),
            caller: OnceCell::new(),
            pace: Pace::default(),
            clock: ServerClock::default(),
        };
        let client = S3Client {
            inner: Arc::new(inner),
        };
        let said = client.caller().await;
        assert_eq!(client.caller().await, said, "asked once");
        said
    }

    #[tokio::test]
    async fn the_caller_is_who_sts_says_and_nobody_where_it_does_not() {
        const ANSWER: &str = r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
            <GetCallerIdentityResult><Arn>arn:aws:sts::111122223333:assumed-role/snapshotter/deltavault</Arn>
            <UserId>AROA:deltavault</UserId><Account>111122223333</Account></GetCallerIdentityResult>
            </GetCallerIdentityResponse>"#;
        let arn = "arn:aws:sts::111122223333:assumed-role/snapshotter/deltavault";
        let answers = server(ANSWER, Duration::ZERO).await;
        assert_eq!(caller_by(Some(&answers)).await.as_deref(), Some(arn));
        let refuses = server("", Duration::ZERO).await;
        assert_eq!(caller_by(Some(&refuses)).await, None);
        let slow = server(ANSWER, STS_TIMEOUT * 3).await;
        let begun = std::time::Instant::now();
        assert_eq!(caller_by(Some(&slow)).await, None);
        assert!(begun.elapsed() < STS_TIMEOUT * 2);
        assert_eq!(caller_by(None).await, None);
    }
}
