//! The connections: HTTP/1.1 over rustls on one background thread for the whole process.
//!
//! Not supported on purpose: HTTP/2 (one stalled connection would stall all streams on it), redirects
//! (a key must never go to another host), compression (it delays tokens). Proxies come from the
//! environment. A forked child starts its own thread; clients from before the fork are refused there.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::Thread;
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::runtime::Handle;
use tower::{Layer, Service};

use super::error::{ErrorCode, StreamError};
use super::tick;

/// Gateways add headers by the dozen, and a head with more than the usual 100 would be no answer.
const HEADERS: usize = 1000;
/// Servers commonly drop idle connections after a minute or more.
const IDLE: Duration = Duration::from_secs(55);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The background thread could not be started.
    #[error("cannot start the I/O thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The TLS or proxy settings of this machine cannot be used.
    #[error("cannot set up HTTP: {0}")]
    Setup(String),
    /// The client was made before a fork, and its thread stayed in the parent.
    #[error("this client was made before a fork; make a new one in the child")]
    Forked,
}

/// Connections that multiplexers share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    io: Io,
    has_certificates: bool,
}

const NO_CERTIFICATES: &str = "this machine has no CA certificates to check the provider's with; install them \
    (apt-get install ca-certificates) or name a file of them in SSL_CERT_FILE";

impl Client {
    /// A client of this process; starts the I/O thread if there is none.
    ///
    /// # Errors
    /// When the thread or TLS cannot be set up.
    pub fn new(user_agent: &str) -> Result<Self, ClientError> {
        // Fails when the process has a provider already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let io = io_thread()?;
        let settings = || {
            reqwest::Client::builder()
                .user_agent(user_agent)
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .tcp_nodelay(true)
                .pool_idle_timeout(IDLE)
                .http1_max_headers(HEADERS)
                .connector_layer(NoticeLayer)
        };
        if let Ok(http) = settings().build() {
            return Ok(Self { http, io, has_certificates: true });
        }
        // Providers on this machine and in its network need no certificates.
        let http = settings().tls_certs_only([]).build();
        let http = http.map_err(|error| ClientError::Setup(root_cause(&error)))?;
        Ok(Self { http, io, has_certificates: false })
    }

    /// Where to spawn what this client's connections need.
    ///
    /// # Errors
    /// In a process that inherited the client over a fork.
    pub(super) fn io(&self) -> Result<&Handle, ClientError> {
        if self.io.pid == std::process::id() { Ok(&self.io.handle) } else { Err(ClientError::Forked) }
    }

    /// Ends the rest of the I/O thread, so that what it was told happens now.
    pub(super) fn nudge(&self) {
        self.io.thread.unpark();
    }

    pub(super) fn send(
        &self,
        request: reqwest::Request,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Result<reqwest::Response, StreamError>> + use<> {
        let sending = CONNECTION.scope(connection, self.http.execute(request));
        let has_certificates = self.has_certificates;
        async move {
            let error = match sending.await {
                Ok(response) => return Ok(response),
                Err(error) => transport_error(&error),
            };
            if error.code == ErrorCode::TlsFailed && !has_certificates {
                return Err(StreamError::new(ErrorCode::TlsFailed, NO_CERTIFICATES));
            }
            Err(error)
        }
    }
}

#[derive(Debug, Clone)]
struct Io {
    pid: u32,
    handle: Handle,
    thread: Thread,
}

static IO: Mutex<Option<Io>> = Mutex::new(None);

fn io_thread() -> std::io::Result<Io> {
    let mut io = IO.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = std::process::id();
    if let Some(io) = io.as_ref().filter(|io| io.pid == pid) {
        return Ok(io.clone());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(tick::end)
        .on_thread_unpark(tick::begin)
        .build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new()
        .name("facilitair-io".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?
        .thread()
        .clone();
    Ok(io.insert(Io { pid, handle, thread }).clone())
}

/// Builds a chat request; values that must not be repeated to anybody come with it.
pub(super) fn request(
    url: &str,
    headers: &[(String, String)],
    body: Vec<u8>,
) -> Result<(reqwest::Request, Vec<String>), StreamError> {
    let invalid = |message: String| StreamError::new(ErrorCode::InvalidRequest, message);
    let url = reqwest::Url::parse(url).map_err(|error| invalid(format!("the URL is invalid: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(invalid("the URL must be http or https and name a host".to_owned()));
    }
    let mut secrets: Vec<String> =
        url.password().into_iter().chain([url.username()]).map(str::to_owned).collect();
    secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    let mut map = HeaderMap::with_capacity(headers.len() + 2);
    map.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    map.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        let key: HeaderName =
            name.parse().map_err(|_| invalid(format!("the header name {name:?} is invalid")))?;
        let mut content = HeaderValue::from_str(value)
            .map_err(|_| invalid(format!("the value of the header {name:?} is invalid")))?;
        if is_secret(key.as_str()) {
            content.set_sensitive(true);
            secrets.push(value.clone());
        }
        map.insert(key, content);
    }
    let mut request = reqwest::Request::new(reqwest::Method::POST, url);
    *request.headers_mut() = map;
    *request.body_mut() = Some(body.into());
    Ok((request, secrets))
}

fn is_secret(header: &str) -> bool {
    ["auth", "key", "token", "secret", "cookie", "pass", "cred"].iter().any(|part| header.contains(part))
}

fn transport_error(error: &reqwest::Error) -> StreamError {
    let cause = root_cause(error);
    let code = match () {
        () if error.is_builder() => ErrorCode::InvalidRequest,
        () if is_tls(error) => ErrorCode::TlsFailed,
        () if is_unreadable(error) => {
            let message = format!("the head of the response cannot be read: {cause}");
            return StreamError { retryable: false, ..StreamError::new(ErrorCode::Malformed, message) };
        }
        () => ErrorCode::ConnectFailed,
    };
    // The proxy asks for credentials, which no retry brings.
    let retryable = code == ErrorCode::ConnectFailed && !cause.contains("proxy authorization required");
    let error =
        StreamError::new(code, if error.is_connect() { format!("cannot connect: {cause}") } else { cause });
    StreamError { retryable, ..error }
}

/// The innermost error says what happened; the ones around it only repeat the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Whether the peer answered with something that is not HTTP as it should be, and would again.
fn is_unreadable(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
        || error.source().is_some_and(is_unreadable)
}

fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    // An I/O error hides the error it was made of, possibly one more of its kind, not in its source.
    let hidden = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || hidden.is_some_and(|hidden| is_tls(hidden))
        || error.source().is_some_and(is_tls)
}

tokio::task_local! {
    static CONNECTION: Arc<Connection>;
}

/// Tells a request whether it still waits for a connection: reqwest itself does not say.
#[derive(Debug, Default)]
pub(super) struct Connection {
    connecting: AtomicBool,
}

impl Connection {
    /// Whether the request has a connection, new or reused. True only after the first poll of the request.
    pub(super) fn stands(&self) -> bool {
        !self.connecting.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Clone)]
struct NoticeLayer;

impl<S> Layer<S> for NoticeLayer {
    type Service = Notice<S>;

    fn layer(&self, connector: S) -> Notice<S> {
        Notice { connector }
    }
}

/// Wraps the connector, which runs on the first poll of a request that finds no idle connection.
#[derive(Debug, Clone)]
struct Notice<S> {
    connector: S,
}

impl<S, R> Service<R> for Notice<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, target: R) -> Self::Future {
        let connecting = self.connector.call(target);
        let connection = CONNECTION.try_with(Arc::clone).ok();
        if let Some(connection) = &connection {
            connection.connecting.store(true, Ordering::Relaxed);
        }
        Box::pin(async move {
            let connected = connecting.await;
            if let (Ok(_), Some(connection)) = (&connected, connection) {
                connection.connecting.store(false, Ordering::Relaxed);
            }
            connected
        })
    }
}
