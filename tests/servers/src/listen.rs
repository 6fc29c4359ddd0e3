//! Addresses that servers listen on, and how to wait until they do.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{Error, error::At};

/// An address on loopback that nobody listens on.
pub(crate) fn free_address() -> Result<String, Error> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).at("a free port")?;
    Ok(address.to_string())
}

/// Waits until a server answers over HTTP, whatever it says.
pub(crate) fn wait_for_answer(address: &str, limit: Duration) -> Result<(), Error> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        let answers = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            stream.read(&mut [0; 1])
        });
        if answers.is_ok_and(|n| n > 0) {
            return Ok(());
        }
        sleep(Duration::from_millis(50));
    }
    let late = io::Error::new(io::ErrorKind::TimedOut, "the server does not answer");
    Err(late).at(address)
}
