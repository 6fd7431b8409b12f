//! A server with roles: ministack, which `scripts/iam-server` starts and `DELTAVAULT_TEST_IAM` names.
//!
//! IAM is called in its own query protocol: an SDK for four calls would be built on every machine for nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::SystemTime;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use deltavault::store::s3::{Keys, S3Settings};

/// The account that the server is.
pub(crate) const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";

/// The server that the tests run against.
#[derive(Debug, Clone)]
pub(crate) struct RoleServer {
    pub(crate) endpoint: String,
}

/// The server; `None` where `DELTAVAULT_TEST_IAM` is empty.
pub(crate) fn server() -> Option<RoleServer> {
    let endpoint = super::address(
        "DELTAVAULT_TEST_IAM",
        "server with roles",
        "scripts/iam-server",
    )?;
    Some(RoleServer { endpoint })
}

impl RoleServer {
    /// The keys of the account's root, which no policy binds there.
    #[expect(clippy::unused_self, reason = "every server has its own, in principle")]
    pub(crate) fn root(&self) -> Keys {
        Keys {
            id: "test".to_owned(),
            secret: "test".to_owned(),
        }
    }

    /// Settings for the product's own client, in a role.
    pub(crate) fn settings(&self, keys: &Keys, role: &str, id: Option<&str>) -> S3Settings {
        S3Settings {
            endpoint: Some(self.endpoint.clone()),
            region: Some(REGION.to_owned()),
            keys: Some(keys.clone()),
            role: Some(role.to_owned()),
            external_id: id.map(str::to_owned),
            ..S3Settings::default()
        }
    }

    async fn sdk(&self, keys: &Keys) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(&self.endpoint)
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new(&keys.id, &keys.secret, None, None, "test"))
            .load()
            .await
    }

    /// The SDK itself, with the keys of a user.
    pub(crate) async fn raw(&self, keys: &Keys) -> aws_sdk_s3::Client {
        path_style(&self.sdk(keys).await)
    }

    /// The SDK itself, in a role.
    pub(crate) async fn raw_in(&self, keys: &Keys, role: &str, id: &str) -> aws_sdk_s3::Client {
        let sdk = self.sdk(keys).await;
        let provider = AssumeRoleProvider::builder(role)
            .session_name("test")
            .external_id(id)
            .configure(&sdk)
            .build()
            .await;
        let provider = SharedCredentialsProvider::new(provider);
        path_style(&sdk.into_builder().credentials_provider(provider).build())
    }

    /// Makes a user that may do nothing but take on roles.
    pub(crate) fn user(&self, name: &str) -> (String, Keys) {
        let made = self.iam("CreateUser", &[("UserName", name)]);
        let key = self.iam("CreateAccessKey", &[("UserName", name)]);
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow",
            "Action":"sts:AssumeRole","Resource":"*"}]}"#;
        let policy = [
            ("UserName", name),
            ("PolicyName", "roles"),
            ("PolicyDocument", policy),
        ];
        self.iam("PutUserPolicy", &policy);
        let keys = Keys {
            id: between(&key, "AccessKeyId"),
            secret: between(&key, "SecretAccessKey"),
        };
        (between(&made, "Arn"), keys)
    }

    /// Makes a role with its two policies and returns its ARN.
    pub(crate) fn role(&self, name: &str, trust: &str, policy: &str) -> String {
        let made = self.iam(
            "CreateRole",
            &[("RoleName", name), ("AssumeRolePolicyDocument", trust)],
        );
        let policy = [
            ("RoleName", name),
            ("PolicyName", "role"),
            ("PolicyDocument", policy),
        ];
        self.iam("PutRolePolicy", &policy);
        between(&made, "Arn")
    }

    fn iam(&self, action: &str, fields: &[(&str, &str)]) -> String {
        let mut body = format!("Action={action}&Version=2010-05-08");
        for (name, value) in fields {
            body.extend(["&", name, "=", &encoded(value)]);
        }
        let host = self.endpoint.strip_prefix("http://").unwrap();
        let kind = "application/x-www-form-urlencoded";
        let root = self.root();
        let identity = Credentials::new(root.id, root.secret, None, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("iam")
            .time(now())
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let uri = format!("http://{host}/");
        let headers = [("host", host), ("content-type", kind)];
        let body_bytes = SignableBody::Bytes(body.as_bytes());
        let request = SignableRequest::new("POST", &uri, headers.into_iter(), body_bytes).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let mut text = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
             connection: close\r\n",
            body.len()
        );
        for (name, value) in instructions.headers() {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.push_str("\r\n");
        text.push_str(&body);
        let mut stream = TcpStream::connect(host).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{action}: {answer}");
        answer
    }
}

fn path_style(sdk: &SdkConfig) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(sdk).force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}

/// The text of the first element with a name.
fn between(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
    rest.split_once('<').unwrap().0.to_owned()
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[allow(clippy::disallowed_methods, reason = "a signature is of now")]
fn now() -> SystemTime {
    SystemTime::now()
}
