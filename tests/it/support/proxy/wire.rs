//! One side of a connection, in as much of HTTP/1.1 as the SDK and the servers speak.

use std::io;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How a message's bytes end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Length(u64),
    Chunked,
    UntilClosed,
}

/// What is done to bytes that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meddle {
    Not,
    /// They end half-way.
    Stop,
    /// The one in the half becomes another.
    Flip,
}

/// How passing bytes on ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relayed {
    Whole,
    Stopped,
}

/// The first line and the headers of a message.
#[derive(Debug)]
pub(crate) struct Head {
    bytes: Vec<u8>,
    text: String,
}

impl Head {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The word at that position of the first line.
    fn word(&self, position: usize) -> &str {
        let line = self.text.lines().next().unwrap_or_default();
        line.split(' ').nth(position).unwrap_or_default()
    }

    pub(super) fn method(&self) -> &str {
        self.word(0)
    }

    pub(super) fn target(&self) -> &str {
        self.word(1)
    }

    fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let pairs = self
            .text
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        pairs
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect()
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        let mut headers = self.headers().into_iter();
        headers.find(|(it, _)| it == name).map(|(_, value)| value)
    }

    /// Lets it say that it was sent at another time (RFC 9110, section 6.6.1).
    pub(super) fn set_date(&mut self, date: Timestamp) {
        let date = rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&date)
            .unwrap();
        let others = self.text.split("\r\n").filter(|line| {
            let name = line.split(':').next().unwrap_or_default();
            !line.is_empty() && !name.eq_ignore_ascii_case("date")
        });
        let mut text = others.collect::<Vec<_>>().join("\r\n");
        for end in ["\r\nDate: ", &date, "\r\n\r\n"] {
            text.push_str(end);
        }
        self.bytes = text.clone().into_bytes();
        self.text = text;
    }

    fn body(&self) -> Option<Body> {
        if self
            .header("transfer-encoding")
            .is_some_and(|it| it == "chunked")
        {
            return Some(Body::Chunked);
        }
        let length = self.header("content-length")?;
        length.parse().ok().map(Body::Length)
    }

    pub(super) fn request_body(&self) -> Body {
        self.body().unwrap_or(Body::None)
    }

    pub(super) fn answer_body(&self, to_head: bool) -> Body {
        if to_head || matches!(self.status(), 204 | 304) {
            return Body::None;
        }
        self.body().unwrap_or(Body::UntilClosed)
    }

    /// Whether the client waits for a word before it sends its bytes.
    pub(super) fn wants_to_be_told(&self) -> bool {
        self.header("expect").is_some()
    }

    pub(super) fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|it| it.eq_ignore_ascii_case("close"))
    }
}

/// A connection, and what was read from it ahead of time.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        // An answer must not wait for a packet to be full.
        stream.set_nodelay(true).ok();
        let ahead = Vec::new();
        Self { stream, ahead }
    }

    /// Reads what is there; `false` at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = vec![0; 64 * 1024];
        let read = self.stream.read(&mut chunk).await?;
        self.ahead.extend_from_slice(&chunk[..read]);
        Ok(read > 0)
    }

    /// Takes at most so many bytes; none at the end.
    async fn take(&mut self, most: u64) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.fill().await?;
        }
        let most = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(self.ahead.len());
        Ok(self.ahead.drain(..most).collect())
    }

    async fn take_until(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        loop {
            let found = self.ahead.windows(end.len()).position(|it| it == end);
            if let Some(position) = found {
                return Ok(Some(self.ahead.drain(..position + end.len()).collect()));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next message's head; nothing at the end.
    pub(super) async fn read_head(&mut self) -> io::Result<Option<Head>> {
        let head = self.take_until(b"\r\n\r\n").await?;
        Ok(head.map(|bytes| Head {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            bytes,
        }))
    }

    /// The head of the answer, past any that only say that one is to come.
    pub(super) async fn read_answer(&mut self) -> io::Result<Head> {
        loop {
            let head = self.read_head().await?;
            let head = head.ok_or(io::ErrorKind::UnexpectedEof)?;
            if head.status() >= 200 {
                return Ok(head);
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Answers as S3 does, with a code in a document; to a HEAD without it.
    pub(super) async fn answer(
        &mut self,
        status: u16,
        code: &str,
        message: &str,
        head: bool,
    ) -> io::Result<()> {
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
             <Message>{message}</Message><RequestId>PROXY</RequestId></Error>"
        );
        let headers = "Content-Type: application/xml\r\nx-amz-request-id: PROXY";
        self.answer_with(status, headers, &document, head).await
    }

    /// Answers as a load balancer does that has no server to ask.
    pub(super) async fn answer_page(&mut self, status: u16, head: bool) -> io::Result<()> {
        let page = "<html><body><h1>No server is ready</h1></body></html>";
        self.answer_with(status, "Content-Type: text/html", page, head)
            .await
    }

    async fn answer_with(
        &mut self,
        status: u16,
        headers: &str,
        body: &str,
        head: bool,
    ) -> io::Result<()> {
        let length = body.len();
        let mut text =
            format!("HTTP/1.1 {status} Said\r\n{headers}\r\nContent-Length: {length}\r\n\r\n");
        if !head {
            text.push_str(body);
        }
        self.write(text.as_bytes()).await
    }

    /// Reads a message's bytes for nobody.
    pub(super) async fn discard(&mut self, body: Body) -> io::Result<()> {
        self.pass(body, Meddle::Not, None).await.map(|_| ())
    }

    /// Passes a message's bytes on.
    pub(super) async fn relay(
        &mut self,
        to: &mut Self,
        body: Body,
        meddle: Meddle,
    ) -> io::Result<Relayed> {
        self.pass(body, meddle, Some(to)).await
    }

    async fn pass(
        &mut self,
        body: Body,
        meddle: Meddle,
        mut to: Option<&mut Self>,
    ) -> io::Result<Relayed> {
        match body {
            Body::None if meddle == Meddle::Stop => Ok(Relayed::Stopped),
            Body::None => Ok(Relayed::Whole),
            Body::Length(length) => self.pass_bytes(length, meddle, &mut to).await,
            Body::UntilClosed => self.pass_bytes(u64::MAX, meddle, &mut to).await,
            Body::Chunked => loop {
                let line = self.take_until(b"\r\n").await?;
                let line = line.ok_or(io::ErrorKind::UnexpectedEof)?;
                put(&mut to, &line).await?;
                let text = String::from_utf8_lossy(&line);
                let digits = text.trim().split(';').next().unwrap_or_default();
                let length = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
                let meddle = if length == 0 { Meddle::Not } else { meddle };
                if self.pass_bytes(length, meddle, &mut to).await? == Relayed::Stopped {
                    return Ok(Relayed::Stopped);
                }
                let end = self.take_until(b"\r\n").await?;
                put(&mut to, &end.unwrap_or_default()).await?;
                if length == 0 {
                    return Ok(Relayed::Whole);
                }
            },
        }
    }

    async fn pass_bytes(
        &mut self,
        length: u64,
        meddle: Meddle,
        to: &mut Option<&mut Self>,
    ) -> io::Result<Relayed> {
        let half = length / 2;
        let mut passed = 0;
        while passed < length {
            if meddle == Meddle::Stop && passed == half {
                return Ok(Relayed::Stopped);
            }
            let most = match meddle {
                Meddle::Stop => half - passed,
                Meddle::Not | Meddle::Flip => length - passed,
            };
            let mut bytes = self.take(most).await?;
            if bytes.is_empty() {
                if length == u64::MAX {
                    break;
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let after = passed + bytes.len() as u64;
            if meddle == Meddle::Flip && (passed..after).contains(&half) {
                let position = usize::try_from(half - passed).unwrap_or_default();
                bytes[position] ^= 1;
            }
            put(to, &bytes).await?;
            passed = after;
        }
        if meddle == Meddle::Stop {
            return Ok(Relayed::Stopped);
        }
        Ok(Relayed::Whole)
    }

    /// Waits until the other side has gone.
    pub(super) async fn closed(&mut self) {
        while self.fill().await.is_ok_and(|more| more) {}
    }

    /// Lets the other side see a reset instead of an end.
    pub(super) fn reset(&mut self) {
        self.stream.set_zero_linger().ok();
    }
}

async fn put(to: &mut Option<&mut Wire>, bytes: &[u8]) -> io::Result<()> {
    match to {
        Some(to) => to.write(bytes).await,
        None => Ok(()),
    }
}
