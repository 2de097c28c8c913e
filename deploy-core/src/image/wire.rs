//! Connections to the Engine and to registries: what tests put something else in place of.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use async_trait::async_trait;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower_service::Service;

/// A connection, whatever it is made of.
pub(super) struct Wire(Box<dyn Duplex>);

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

impl Wire {
    pub(super) fn new(io: impl Duplex) -> Self {
        Self(Box::new(io))
    }

    /// The same connection, which ends when the token is cancelled, whoever holds it then.
    pub(super) fn until(self, end: CancellationToken) -> Self {
        Self::new(Severed { ended: Box::pin(end.clone().cancelled_owned()), end, wire: self })
    }
}

/// Makes connections.
#[async_trait]
pub(super) trait Dial: fmt::Debug + Send + Sync + 'static {
    async fn dial(&self, to: &Uri) -> io::Result<Wire>;
}

/// TCP, to the host and port of the address.
#[derive(Debug)]
pub(super) struct Tcp(HttpConnector);

impl Tcp {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        Self(connector)
    }
}

#[async_trait]
impl Dial for Tcp {
    async fn dial(&self, to: &Uri) -> io::Result<Wire> {
        let stream = self.0.clone().call(to.clone()).await.map_err(io::Error::other)?;
        Ok(Wire::new(stream.into_inner()))
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

struct Severed {
    wire: Wire,
    end: CancellationToken,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Severed {
    fn broken(&self) -> Option<io::Error> {
        self.end.is_cancelled().then(|| io::Error::new(io::ErrorKind::ConnectionAborted, "given up"))
    }
}

impl AsyncRead for Severed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Asked for by its future too, so that whoever waits for bytes is woken.
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "given up")));
        }
        Pin::new(&mut self.wire).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Severed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.broken() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.wire).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.broken() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.wire).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_severed_connection_wakes_its_reader_and_writes_no_more() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let end = CancellationToken::new();
        let mut wire = Wire::new(ours).until(end.clone());
        wire.write_all(b"one").await.unwrap();
        let reading = tokio::spawn(async move {
            let mut byte = [0];
            let read = wire.read(&mut byte).await;
            (read.unwrap_err().kind(), wire.write(b"x").await.unwrap_err().kind())
        });
        tokio::task::yield_now().await;
        end.cancel();
        let aborted = io::ErrorKind::ConnectionAborted;
        assert_eq!(reading.await.unwrap(), (aborted, aborted));
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"one");
    }
}
