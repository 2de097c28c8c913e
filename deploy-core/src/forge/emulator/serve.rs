//! The emulator on a socket, for clients of any kind: GitHub's API under `/api/v3`, Bitbucket's under `/2.0`.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{
    handle::Emulator,
    wire::{WireRequest, query},
};
use crate::task;

/// The longest request that is read.
const LONGEST: usize = 1024 * 1024;

/// An emulator on a socket. It is closed when this is dropped.
#[derive(Debug)]
pub struct Served {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Served {
    /// The value for `GITHUB_API_URL`.
    #[must_use]
    pub fn github_url(&self) -> String {
        format!("http://{}/api/v3", self.addr)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Emulator {
    /// Serves on a socket, in the time of the runtime; port 0 for any that is free.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn serve(&self, addr: SocketAddr) -> io::Result<Served> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let emulator = self.clone();
        let accepting = task::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(task::spawn(connection(emulator.clone(), stream)));
            }
        });
        Ok(Served { addr, accepting })
    }
}

async fn connection(emulator: Emulator, stream: TcpStream) {
    let service = service_fn(move |request| answer(emulator.clone(), request));
    // A client that breaks off is its own affair.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A call without an answer ends its connection.
async fn answer(emulator: Emulator, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LONGEST).collect().await.map_err(io::Error::other)?.to_bytes();
    let header = |name: &str| Some(head.headers.get(name)?.to_str().ok()?.to_owned());
    let host = header("host").unwrap_or_default();
    let prefix = if head.uri.path().starts_with("/api/v3") { "/api/v3" } else { "" };
    let wire = WireRequest {
        method: head.method.to_string(),
        base: format!("http://{host}{prefix}"),
        path: head.uri.path().to_owned(),
        query: query(head.uri.query()),
        authorization: header("authorization"),
        if_none_match: header("if-none-match"),
        agent: header("user-agent"),
        body: body.to_vec(),
    };
    let answer = emulator.exchange(wire).await.map_err(|broken| io::Error::other(format!("{broken:?}")))?;
    let mut response = Response::new(Full::new(Bytes::from(answer.body.clone())));
    *response.status_mut() = hyper::StatusCode::from_u16(answer.status).map_err(io::Error::other)?;
    *response.headers_mut() = answer.header_map();
    Ok(response)
}
