//! What a request asks of S3.

use percent_encoding::percent_decode_str;

use super::wire::Head;

/// One call as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct S3Call {
    /// The operation by its name in the S3 API.
    pub(crate) operation: &'static str,
    /// The bucket.
    pub(crate) bucket: String,
    /// The key, or the prefix of a listing; decoded.
    pub(crate) key: String,
    /// The query as it was sent.
    pub(crate) query: String,
    /// The headers, their names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl S3Call {
    /// Reads a request with its bucket in the path.
    pub(crate) fn of(head: &Head) -> Self {
        let target = head.target();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = decode(path.trim_start_matches('/'));
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let has = |name: &str| {
            let mut pairs = query.split('&');
            pairs.any(|pair| pair.split('=').next() == Some(name))
        };
        let copies = head.header("x-amz-copy-source").is_some();
        let operation = match (head.method(), key.is_empty()) {
            ("GET", true) if has("versions") => "ListObjectVersions",
            ("GET", true) if has("list-type") => "ListObjectsV2",
            ("GET", true) => "GetBucket",
            ("HEAD", true) => "HeadBucket",
            ("PUT", true) => "PutBucket",
            ("GET", false) if has("retention") => "GetObjectRetention",
            ("PUT", false) if has("retention") => "PutObjectRetention",
            ("GET", false) if has("uploadId") => "ListParts",
            ("GET", false) => "GetObject",
            ("HEAD", false) => "HeadObject",
            ("PUT", false) if has("partNumber") && copies => "UploadPartCopy",
            ("PUT", false) if has("partNumber") => "UploadPart",
            ("PUT", false) if copies => "CopyObject",
            ("PUT", false) => "PutObject",
            ("POST", false) if has("uploads") => "CreateMultipartUpload",
            ("POST", false) if has("uploadId") => "CompleteMultipartUpload",
            ("DELETE", false) if has("uploadId") => "AbortMultipartUpload",
            ("DELETE", false) => "DeleteObject",
            _ => "other",
        };
        let prefix = query.split('&').find_map(|it| it.strip_prefix("prefix="));
        let key = prefix
            .filter(|_| key.is_empty())
            .map_or(key.to_owned(), decode);
        Self {
            operation,
            bucket: bucket.to_owned(),
            key,
            query: query.to_owned(),
            headers: head.headers(),
        }
    }

    /// Whether it is that operation on a key, or a prefix, that has `part` in it.
    pub(crate) fn is(&self, operation: &str, part: &str) -> bool {
        self.operation == operation && self.key.contains(part)
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(it, _)| it == name)
            .map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
