//! A proxy on loopback between a client of S3 and its server, which does to chosen calls what networks and servers do.
//!
//! Nothing is random: a [`Rule`] names the calls that it is for, by what they ask for and in which order they come. All
//! else passes byte by byte, the `Host` header too, so that signatures hold. It runs on a thread of its own: a test may
//! wait for a process that talks through it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

mod call;
mod wire;

use super::s3::now;
pub(crate) use call::S3Call;
use wire::{Body, Head, Meddle, Relayed, Wire};

/// What happens to a call.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The server never sees it; the answer is an error with this status and code.
    Refused(u16, &'static str),
    /// As [`Fault::Refused`], with a message.
    RefusedSaying(u16, &'static str, &'static str),
    /// The server never sees it; something in front of it answers with this status and a page of its own.
    Foreign(u16),
    /// The server does it, and the answer is an error with this status and code.
    DoneButRefused(u16, &'static str),
    /// The server never sees it, and the answer is a success whose body is an error with this code.
    ErrorDocument(&'static str),
    /// The server does it, and the connection ends before the answer.
    AnswerLost,
    /// The server never sees it, and no answer comes while the client waits.
    Silence,
    /// The connection is reset half-way through the bytes that are sent.
    ResetSending,
    /// The connection is reset half-way through the bytes that are answered.
    ResetAnswering,
    /// The connection ends half-way through the bytes that are answered.
    Truncated,
    /// One of the bytes that are sent becomes another.
    CorruptedSending,
    /// One of the bytes that are answered becomes another.
    CorruptedAnswering,
    /// The server does it, and its answer says a time that is so far off.
    ClockOff(SignedDuration),
    /// It waits, before the server sees it, for as long as the test wants.
    HeldBefore,
    /// The server does it, and the answer waits for as long as the test wants.
    HeldAfter,
}

/// What an answer of the proxy says.
const SAID: &str = "Said by the proxy.";

type Matches = Box<dyn Fn(&S3Call) -> bool + Send>;

/// Which calls have a fault, and which.
struct Rule {
    matches: Matches,
    /// How many matching calls pass first.
    skip: usize,
    /// How many then have the fault.
    times: usize,
    fault: Fault,
    held: Option<mpsc::UnboundedSender<oneshot::Sender<()>>>,
}

#[derive(Default)]
struct State {
    calls: Vec<S3Call>,
    rules: Vec<Rule>,
    faults: usize,
}

/// The proxy. It ends when it is dropped.
pub(crate) struct Proxy {
    url: String,
    state: Arc<Mutex<State>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Calls that were chosen to wait, as they arrive.
#[derive(Debug)]
pub(crate) struct Held {
    arrivals: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
}

impl Held {
    /// Waits until a call is being held; nothing when none came in that time. The call goes on when what this returns
    /// is sent or dropped.
    pub(crate) fn arrives_within(&mut self, time: Duration) -> Option<oneshot::Sender<()>> {
        let until = std::time::Instant::now() + time;
        loop {
            match self.arrivals.try_recv() {
                Ok(call) => return Some(call),
                Err(_) if std::time::Instant::now() >= until => return None,
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

impl Proxy {
    /// Starts a proxy before the server at `upstream`, an `http://` URL.
    pub(crate) fn start(upstream: &str) -> Self {
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let state: Arc<Mutex<State>> = Arc::default();
        let (end, ended) = oneshot::channel();
        let (address, found) = std::sync::mpsc::channel();
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                address.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = accept(listener, upstream, shared) => {}
                    _ = ended => {}
                }
            });
        });
        let address = found.recv().unwrap();
        Self {
            url: format!("http://{address}"),
            state,
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Gives the `n`-th call from now on that `matches` a fault; 1 is the next.
    pub(crate) fn nth(
        &self,
        n: usize,
        matches: impl Fn(&S3Call) -> bool + Send + 'static,
        fault: Fault,
    ) {
        self.rule(n - 1, 1, Box::new(matches), fault, None);
    }

    /// Gives every call from now on that `matches` a fault.
    pub(crate) fn every(&self, matches: impl Fn(&S3Call) -> bool + Send + 'static, fault: Fault) {
        self.rule(0, usize::MAX, Box::new(matches), fault, None);
    }

    /// Holds the `n`-th call from now on that `matches`; `fault` is one of those that hold.
    pub(crate) fn hold(
        &self,
        n: usize,
        matches: impl Fn(&S3Call) -> bool + Send + 'static,
        fault: Fault,
    ) -> Held {
        let (sender, arrivals) = mpsc::unbounded_channel();
        self.rule(n - 1, 1, Box::new(matches), fault, Some(sender));
        Held { arrivals }
    }

    fn rule(
        &self,
        skip: usize,
        times: usize,
        matches: Matches,
        fault: Fault,
        held: Option<mpsc::UnboundedSender<oneshot::Sender<()>>>,
    ) {
        lock(&self.state).rules.push(Rule {
            matches,
            skip,
            times,
            fault,
            held,
        });
    }

    /// The calls so far, in the order of their arrival.
    pub(crate) fn calls(&self) -> Vec<S3Call> {
        lock(&self.state).calls.clone()
    }

    /// How many faults came to pass.
    pub(crate) fn faults(&self) -> usize {
        lock(&self.state).faults
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end.send(()).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves connections until it is dropped, and they with it.
async fn accept(listener: TcpListener, upstream: String, state: Arc<Mutex<State>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let (upstream, state) = (upstream.clone(), Arc::clone(&state));
        connections.spawn(async move {
            // A connection that breaks is what this is for, and no failure of the test.
            Box::pin(serve(client, &upstream, &state)).await.ok();
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection of a client, by one to the server.
async fn serve(client: TcpStream, upstream: &str, state: &Mutex<State>) -> std::io::Result<()> {
    let mut client = Wire::new(client);
    let mut server = Wire::new(TcpStream::connect(upstream).await?);
    while let Some(head) = client.read_head().await? {
        let call = S3Call::of(&head);
        let (fault, held) = choose(state, call);
        if !exchange(&mut client, &mut server, &head, fault, held).await? {
            break;
        }
    }
    Ok(())
}

type Holder = Option<mpsc::UnboundedSender<oneshot::Sender<()>>>;

fn choose(state: &Mutex<State>, call: S3Call) -> (Option<Fault>, Holder) {
    let mut state = lock(state);
    let mut chosen = (None, None);
    for rule in &mut state.rules {
        if !(rule.matches)(&call) {
            continue;
        }
        if rule.skip > 0 {
            rule.skip -= 1;
        } else if rule.times > 0 && chosen.0.is_none() {
            rule.times -= 1;
            chosen = (Some(rule.fault.clone()), rule.held.clone());
        }
    }
    state.faults += usize::from(chosen.0.is_some());
    state.calls.push(call);
    chosen
}

/// Passes one request and its answer on, or not; whether the connection is still good.
async fn exchange(
    client: &mut Wire,
    server: &mut Wire,
    head: &Head,
    fault: Option<Fault>,
    holder: Holder,
) -> std::io::Result<bool> {
    let without_body = head.method() == "HEAD";
    let sending = head.request_body();
    if head.wants_to_be_told() {
        client.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    match &fault {
        Some(Fault::Refused(status, code)) => {
            client.discard(sending).await?;
            client.answer(*status, code, SAID, without_body).await?;
            return Ok(true);
        }
        Some(Fault::RefusedSaying(status, code, message)) => {
            client.discard(sending).await?;
            client.answer(*status, code, message, without_body).await?;
            return Ok(true);
        }
        Some(Fault::Foreign(status)) => {
            client.discard(sending).await?;
            client.answer_page(*status, without_body).await?;
            return Ok(true);
        }
        Some(Fault::ErrorDocument(code)) => {
            client.discard(sending).await?;
            client.answer(200, code, SAID, without_body).await?;
            return Ok(true);
        }
        Some(Fault::Silence) => {
            client.discard(sending).await?;
            // The client gives up, and then this connection is of no more use.
            client.closed().await;
            return Ok(false);
        }
        Some(Fault::HeldBefore) if !may_go_on(client, &holder).await => return Ok(false),
        _ => {}
    }
    let meddle = match fault {
        Some(Fault::ResetSending) => Meddle::Stop,
        Some(Fault::CorruptedSending) => Meddle::Flip,
        _ => Meddle::Not,
    };
    server.write(head.bytes()).await?;
    if client.relay(server, sending, meddle).await? == Relayed::Stopped {
        server.reset();
        client.reset();
        return Ok(false);
    }
    let mut answer = server.read_answer().await?;
    if let Some(Fault::ClockOff(by)) = &fault {
        answer.set_date(now().checked_add(*by).unwrap());
    }
    let answering = answer.answer_body(without_body);
    let meddle = match &fault {
        Some(Fault::DoneButRefused(status, code)) => {
            server.discard(answering).await?;
            client.answer(*status, code, SAID, without_body).await?;
            return Ok(true);
        }
        Some(Fault::AnswerLost) => {
            server.discard(answering).await?;
            return Ok(false);
        }
        Some(Fault::HeldAfter) => {
            if !may_go_on(client, &holder).await {
                return Ok(false);
            }
            Meddle::Not
        }
        Some(Fault::ResetAnswering | Fault::Truncated) => Meddle::Stop,
        Some(Fault::CorruptedAnswering) => Meddle::Flip,
        _ => Meddle::Not,
    };
    client.write(answer.bytes()).await?;
    let until_the_end = answering == Body::UntilClosed;
    if server.relay(client, answering, meddle).await? == Relayed::Stopped {
        if matches!(fault, Some(Fault::ResetAnswering)) {
            client.reset();
        }
        return Ok(false);
    }
    Ok(!until_the_end && !answer.closes() && !head.closes())
}

/// Tells the test that a call is held, and waits; whether the test let go before the client went away.
async fn may_go_on(client: &mut Wire, holder: &Holder) -> bool {
    let (release, released) = oneshot::channel();
    if let Some(holder) = holder {
        holder.send(release).ok();
    }
    tokio::select! {
        _ = released => true,
        () = client.closed() => false,
    }
}
