//! A web server for tests, on loopback: it answers as the test says and writes down what it was asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// One request: its first line and headers.
pub(super) type Asked = Arc<Mutex<Vec<String>>>;

pub(super) struct Server {
    address: SocketAddr,
    asked: Asked,
}

impl Server {
    /// Answers each request on a connection of its own, with what this writes. It ends with the process.
    pub(super) fn answering(answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Asked::default());
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&mut stream) else { continue };
                log.lock().unwrap().push(request.clone());
                answer(&request, &mut stream);
            }
        });
        Self { address, asked }
    }

    /// Always the same.
    pub(super) fn saying(status: &'static str, headers: &'static str, body: &'static str) -> Self {
        Self::answering(move |_, stream| respond(stream, status, headers, body))
    }

    /// Not `127.0.0.1`: credential helpers are told of names only.
    pub(super) fn url(&self, user: &str) -> String {
        format!("http://{user}localhost:{}/shop.git", self.address.port())
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// What it was shown as credentials.
    pub(super) fn shown(&self) -> Vec<String> {
        let lines = self.asked();
        let headers = lines.iter().flat_map(|request| request.lines());
        headers
            .filter(|line| line.to_ascii_lowercase().starts_with("authorization:"))
            .map(str::to_owned)
            .collect()
    }
}

pub(super) fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    // The client may have hung up.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

fn read(stream: &mut TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let length = head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().ok())?
    });
    let mut body = Vec::new();
    reader.take(length.unwrap_or(0)).read_to_end(&mut body).ok()?;
    Some(head)
}

/// What git's smart protocol wraps its lines in.
pub(super) fn packet(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

/// The beginning of a conversation: the server's only branch.
pub(super) fn advertisement(branch: &str) -> String {
    let head = format!("{} refs/heads/{branch}\0side-band-64k\n", "1".repeat(40));
    packet("# service=git-upload-pack\n") + "0000" + &packet(&head) + "0000"
}
