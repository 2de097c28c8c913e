//! The HTTP client for verifications, where its crates are there anyway.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};

use super::verify::{Fetch, Fetched};
use crate::{
    error::{Error, ErrorKind, Result, Retry},
    forge::http::{Broken, Keep, Request, Socket, Transport},
};

/// How many redirections are followed.
const REDIRECTIONS: usize = 5;
/// How much of a body is kept, in bytes.
const BODY_BYTES: usize = 1024 * 1024;

/// Gets URLs over HTTP/1.1, with the certificates that the system trusts. Follows five redirections, and none from https to
/// http. Sends no credentials.
#[derive(Debug)]
pub struct HttpFetch(Socket);

impl HttpFetch {
    /// A client.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the system's certificates cannot be read.
    pub fn new() -> Result<Self> {
        Socket::new().map(Self)
    }
}

#[async_trait]
impl Fetch for HttpFetch {
    async fn get(&self, url: &str) -> Result<Fetched> {
        let mut url = uri(url)?;
        for _ in 0..=REDIRECTIONS {
            let (headers, body) = (HeaderMap::new(), Bytes::new());
            let request =
                Request { method: Method::GET, url: url.clone(), headers, body, keep: Keep::All(BODY_BYTES) };
            let answer = self.0.exchange(request).await.map_err(|broken| cannot(&url, &broken))?;
            let to = answer.header("location").filter(|_| (301..=308).contains(&answer.status));
            let Some(to) = to else { return Ok(Fetched::new(answer.status, answer.body)) };
            url = redirected(&url, to)?;
        }
        let text = format!("{url} leads on and on");
        Err(Error::new(ErrorKind::Unavailable, text))
    }
}

fn uri(text: &str) -> Result<Uri> {
    let found = text
        .parse::<Uri>()
        .ok()
        .filter(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")));
    found.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("`{}` is no address", text.escape_debug()))
            .next("write it like https://www.example.com/version")
    })
}

fn redirected(from: &Uri, to: &str) -> Result<Uri> {
    let (scheme, host) =
        (from.scheme_str().unwrap_or("https"), from.authority().map_or("", |host| host.as_str()));
    let whole = match to {
        _ if to.contains("://") => to.to_owned(),
        _ if to.starts_with("//") => format!("{scheme}:{to}"),
        _ if to.starts_with('/') => format!("{scheme}://{host}{to}"),
        _ => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{host}{folder}/{to}")
        }
    };
    let to = uri(&whole)?;
    if scheme == "https" && to.scheme_str() == Some("http") {
        let text = format!("{from} leads on to {to}, which is not encrypted");
        return Err(Error::new(ErrorKind::Refused, text));
    }
    Ok(to)
}

fn cannot(url: &Uri, broken: &Broken) -> Error {
    let text = match broken {
        Broken::Refused(why) => format!("{url} cannot be reached: {why}"),
        Broken::Reset(why) => format!("the connection to {url} broke: {why}"),
        Broken::TooLong => format!("{url} answers with more than {BODY_BYTES} bytes"),
    };
    Error::new(ErrorKind::Unavailable, text).retry_as(Retry::Always)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn redirections_are_followed_as_they_are_written() {
        let from = uri("https://a.example.com:8443/x/y").unwrap();
        for (to, expected) in [
            ("https://b.example.com/z", "https://b.example.com/z"),
            ("//b.example.com/z", "https://b.example.com/z"),
            ("/z", "https://a.example.com:8443/z"),
            ("z", "https://a.example.com:8443/x/z"),
        ] {
            assert_eq!(redirected(&from, to).unwrap().to_string(), expected);
        }
        assert_eq!(redirected(&from, "http://a.example.com/").unwrap_err().kind(), ErrorKind::Refused);
        for bad in ["", "ftp://a.example.com/", "/x", "https://"] {
            assert_eq!(uri(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_what_comes_after_the_redirections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut asked = [0; 1024];
                let read = stream.read(&mut asked).unwrap_or(0);
                let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
                let answer = match asked.split(' ').nth(1) {
                    Some("/old") => {
                        "HTTP/1.1 302 Found\r\nLocation: /new\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    }
                    Some("/new") => "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwait",
                    _ => {
                        "HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    }
                };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let client = HttpFetch::new().unwrap();
        let fetched = client.get(&format!("http://{address}/old")).await.unwrap();
        assert_eq!((fetched.status, fetched.body.as_slice()), (503, &b"wait"[..]));
        let error = client.get(&format!("http://{address}/loop")).await.unwrap_err();
        assert!(error.to_string().contains("on and on"), "{error}");
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = client.get(&format!("http://{gone}/")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
