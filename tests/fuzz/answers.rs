//! The calls of a store on S3 against answers that are made up: by a fuzzer, or by the tests.
//!
//! A text has answers between lines of `###`: a status, headers, an empty line, a body. Each call is given them in turn,
//! and the last one again and again. Time does not pass: the waits between attempts cost nothing.

use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use deltavault::ids::{ObjectKey, ObjectVersion};
use deltavault::store::s3::{Keys, S3Client, S3Settings, S3Store};
use deltavault::store::{
    HoldStore as _, Payload, PruneStore as _, ReadStore as _, StoreError, WriteStore as _,
};
use futures::stream::{BoxStream, StreamExt as _};
use tokio::runtime::{Builder, Runtime};

/// More requests than a call makes of one answer, over all its attempts.
const REQUESTS: usize = 100;

/// Makes each call of a store; returns what it came to.
///
/// # Panics
/// Where a call asks without an end, or gives more than it was given.
pub(crate) fn check(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let (runtime, store, server) = &*SCENE;
    let answers: Vec<Answer> = split(bytes).into_iter().map(Answer::read).collect();
    let most = answers.len() * REQUESTS;
    let sent = most * (bytes.len() + 1);
    let key: ObjectKey = "blobs/aa".parse().unwrap();
    let version = Some(ObjectVersion("v1".to_owned()));
    let version = version.as_ref();
    let until = "2030-01-01T00:00:00Z".parse().unwrap();
    let mut ended = Vec::new();
    runtime.block_on(async {
        macro_rules! call {
            ($name:literal, $call:expr) => {
                server.begin(&answers);
                let came = said($call.await);
                assert!(server.asked() <= most, "{} has no end", $name);
                ended.push(($name, came));
            };
        }
        call!("list", count(store.list("blobs/", None), sent));
        let versions = store.list_versions("blobs/", Some("blobs/a"));
        call!("list_versions", count(versions, sent));
        for range in [None, Some(2..7)] {
            call!("open", async {
                let reader = store.open(&key, version, range.clone()).await?;
                count(reader.body, sent).await
            });
        }
        call!("attributes", store.attributes(&key, None));
        call!("locked_until", store.locked_until(&key, version));
        call!("is_held", store.is_held(&key, version));
        call!("set_hold", store.set_hold(&key, version, true));
        let payload = Payload::from_bytes("hello world!");
        call!("put_new", store.put_new(&key, &payload, Some(until)));
        call!("extend_lock", store.extend_lock(&key, version, until));
        let doomed = [(key.clone(), version.cloned())];
        call!("delete_versions", store.delete_versions(&doomed));
    });
    ended
}

/// How a call ended, in words: what an error says is made too.
fn said<T: Debug>(came: Result<T, StoreError>) -> String {
    match came {
        Ok(came) => format!("{came:?}"),
        Err(error) => format!("{error}: {}", error.kind),
    }
}

/// Reads a stream to its end; returns how many items it has.
async fn count<T>(
    mut stream: BoxStream<'_, Result<T, StoreError>>,
    most: usize,
) -> Result<usize, StoreError> {
    let mut items = 0;
    while let Some(item) = stream.next().await {
        item?;
        items += 1;
        assert!(items <= most, "{items} items of {most} bytes at most");
    }
    Ok(items)
}

static SCENE: LazyLock<(Runtime, S3Store, Server)> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let server = Server::default();
    let settings = S3Settings {
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        region: Some("us-east-1".to_owned()),
        keys: Some(Keys {
            id: "id".to_owned(),
            secret: "secret".to_owned(),
        }),
        ..S3Settings::default()
    };
    let client = runtime.block_on(S3Client::connect_over(&server.http(), &settings));
    let store = S3Store::open(&client, "s3://bucket/vault").unwrap();
    (runtime, store, server)
});

#[derive(Debug, Clone, Default)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let mut lines = Vec::new();
        while let Some(end) = rest.iter().position(|it| *it == b'\n') {
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = &rest[end + 1..];
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let header = |line: &String| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.to_owned()))
        };
        Self {
            status: lines.first().and_then(|it| it.parse().ok()).unwrap_or(200),
            headers: lines.iter().filter_map(header).collect(),
            body: rest.to_vec(),
        }
    }

    fn response(self) -> HttpResponse {
        let ok = || 200.try_into().unwrap();
        let status = self.status.try_into().unwrap_or_else(|_| ok());
        let mut response = HttpResponse::new(status, self.body.into());
        for (name, value) in self.headers {
            // What HTTP does not allow never comes out of a network.
            response.headers_mut().try_append(name, value).ok();
        }
        response
    }
}

/// What is answered, and how often it was asked.
#[derive(Debug, Clone, Default)]
struct Server(Arc<Mutex<(Vec<Answer>, usize)>>);

impl Server {
    fn begin(&self, answers: &[Answer]) {
        *self.0.lock().unwrap() = (answers.to_vec(), 0);
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().1
    }

    fn http(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }
}

impl HttpConnector for Server {
    fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
        let (answers, asked) = &mut *self.0.lock().unwrap();
        let answer = answers.get(*asked).or_else(|| answers.last());
        *asked += 1;
        let answer = answer.cloned().unwrap_or_default();
        HttpConnectorFuture::ready(Ok(answer.response()))
    }
}

/// The parts between lines of `###`.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    const MARK: &[u8] = b"\n###\n";
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(MARK.len()).position(|it| it == MARK) {
        parts.push(&rest[..at]);
        rest = &rest[at + MARK.len()..];
    }
    parts.push(rest);
    parts
}
