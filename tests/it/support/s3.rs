//! A real S3 server, which `scripts/s3-server` starts and `DELTAVAULT_TEST_S3` names. Every test has buckets of its own.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use deltavault::format::LockMode;
use deltavault::ids::Timestamp;
use deltavault::store::ReadStore as _;
use deltavault::store::s3::{Keys, S3Client, S3Settings, S3Store};

use super::proxy::Proxy;

/// The server that the tests run against.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) keys: Keys,
    region: String,
}

/// What a bucket can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bucket {
    /// Versions and Object Lock.
    Locked,
    /// Versions.
    Versioned,
    /// Neither.
    Plain,
}

/// The server; `None` where `DELTAVAULT_TEST_S3` is empty.
pub(crate) fn server() -> Option<Server> {
    let endpoint = super::address("DELTAVAULT_TEST_S3", "S3 server", "scripts/s3-server")?;
    let needed = |name| variable(name).unwrap_or_else(|| panic!("set {name} as well"));
    Some(Server {
        endpoint,
        keys: Keys {
            id: needed("AWS_ACCESS_KEY_ID"),
            secret: needed("AWS_SECRET_ACCESS_KEY"),
        },
        region: variable("AWS_REGION").unwrap_or_else(|| "us-east-1".to_owned()),
    })
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.into_string().ok()?;
    (!value.is_empty()).then_some(value)
}

/// The time by which the server judges locks and ages: no date that is written into a test stays in the future.
#[allow(clippy::disallowed_methods, reason = "a server has no pinned time")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// What the names of the buckets begin with that tests make on a server.
const BUCKETS: &str = "dv-";

/// Whether `uri` is in a bucket that a test made on a server.
pub(crate) fn is_on_server(uri: &str) -> bool {
    let bucket = uri.strip_prefix("s3://");
    bucket.is_some_and(|bucket| bucket.starts_with(BUCKETS))
}

impl Server {
    /// A proxy before the server.
    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::start(&self.endpoint)
    }

    /// The same server under another address, or for another user.
    pub(crate) fn settings(&self, endpoint: &str, keys: Keys) -> S3Settings {
        S3Settings {
            endpoint: Some(endpoint.to_owned()),
            region: Some(self.region.clone()),
            keys: Some(keys),
            ..S3Settings::default()
        }
    }

    /// A connection with all rights.
    pub(crate) async fn client(&self) -> S3Client {
        self.client_at(&self.endpoint).await
    }

    /// A connection with all rights by way of a proxy.
    pub(crate) async fn client_at(&self, endpoint: &str) -> S3Client {
        let settings = self.settings(endpoint, self.keys.clone());
        S3Client::connect(&settings).await.unwrap()
    }

    /// The SDK itself, for what no store does.
    pub(crate) fn raw(&self) -> aws_sdk_s3::Client {
        self.raw_as(&self.keys)
    }

    /// As [`Server::raw`], for another user.
    pub(crate) fn raw_as(&self, keys: &Keys) -> aws_sdk_s3::Client {
        let keys = Credentials::new(&keys.id, &keys.secret, None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(&self.endpoint)
            .region(Region::new(self.region.clone()))
            .force_path_style(true)
            .credentials_provider(keys)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// Makes an empty bucket and returns its name.
    pub(crate) async fn bucket(&self, kind: Bucket) -> String {
        let name = format!("{BUCKETS}{:016x}", rand::random::<u64>());
        let raw = self.raw();
        raw.create_bucket()
            .bucket(&name)
            .object_lock_enabled_for_bucket(kind == Bucket::Locked)
            .send()
            .await
            .unwrap();
        if kind != Bucket::Plain {
            let enabled = VersioningConfiguration::builder()
                .status(BucketVersioningStatus::Enabled)
                .build();
            raw.put_bucket_versioning()
                .bucket(&name)
                .versioning_configuration(enabled)
                .send()
                .await
                .unwrap();
        }
        name
    }

    /// A store in an empty bucket, with locks where the bucket has them.
    pub(crate) async fn store(&self, kind: Bucket) -> S3Store {
        let bucket = self.bucket(kind).await;
        open(
            &self.client().await,
            &format!("s3://{bucket}/some/place"),
            kind,
        )
    }

    /// The same place as `store`, by way of a proxy, for a client that soon gives up waiting for an answer.
    pub(crate) async fn by_way_of(&self, proxy: &Proxy, store: &S3Store) -> S3Store {
        let settings = S3Settings {
            patience: Some(Duration::from_secs(2)),
            ..self.settings(proxy.url(), self.keys.clone())
        };
        let client = S3Client::connect(&settings).await.unwrap();
        S3Store::open(&client, store.uri()).unwrap()
    }

    /// Makes a user with one policy; `None` where there is no `mc` that could.
    pub(crate) fn user(&self, name: &str, policy: &str) -> Option<Keys> {
        let mc = variable("DELTAVAULT_TEST_MC")?;
        let host = self.endpoint.strip_prefix("http://").unwrap();
        let alias = format!("http://{}:{}@{host}", self.keys.id, self.keys.secret);
        let run = |words: &[&str], input: &str| {
            let mut child = Command::new(&mc)
                .args(["--quiet", "--json"])
                .args(words)
                .env("MC_HOST_test", &alias)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(input.as_bytes()).unwrap();
            drop(stdin);
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "mc {words:?}: {said}");
        };
        let keys = Keys {
            id: format!("{name}-{:08x}", rand::random::<u32>()),
            secret: format!("{:032x}", rand::random::<u128>()),
        };
        run(
            &["admin", "user", "add", "test", &keys.id, &keys.secret],
            "",
        );
        run(
            &["admin", "policy", "create", "test", &keys.id, "/dev/stdin"],
            policy,
        );
        run(
            &[
                "admin", "policy", "attach", "test", &keys.id, "--user", &keys.id,
            ],
            "",
        );
        Some(keys)
    }
}

fn open(client: &S3Client, uri: &str, kind: Bucket) -> S3Store {
    let store = S3Store::open(client, uri).unwrap();
    match kind {
        Bucket::Locked => store.with_lock_mode(LockMode::Compliance),
        Bucket::Versioned | Bucket::Plain => store,
    }
}
