//! The body of an answer: of a given length, in chunks, or as long as the connection lasts.

use super::connection::{Connection, Head, invalid};
use std::io;

/// Bytes of a line between chunks at most.
const LONGEST_LINE: u64 = 4 << 10;

/// Lines behind the last chunk at most.
const MOST_TRAILERS: usize = 64;

/// How much of a body is still to come.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Sized(u64),
    /// So many bytes of a chunk, and more chunks.
    Chunked(u64),
    /// Whatever comes until the connection ends.
    Open,
    /// Nothing.
    Ended,
}

impl Body {
    /// The body behind a head; `bodiless` for an answer that has none whatever its head says.
    pub fn of(head: &Head, bodiless: bool) -> io::Result<Body> {
        if bodiless || matches!(head.status, 204 | 304) {
            return Ok(Body::Ended);
        }
        let chunked = head.all("transfer-encoding").last().map(str::to_ascii_lowercase);
        let mut lengths = head.all("content-length");
        match (chunked.as_deref(), lengths.next()) {
            (Some("chunked"), None) => Ok(Body::Chunked(0)),
            (Some(_), _) => Err(invalid("a body in a form that was not asked for")),
            (None, None) => Ok(Body::Open),
            (None, Some(length)) => {
                let sound = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
                let same = lengths.all(|other| other == length);
                let length = length.parse().ok().filter(|_| sound && same);
                length.map(|n| if n == 0 { Body::Ended } else { Body::Sized(n) }).ok_or_else(|| invalid("no length"))
            }
        }
    }

    /// Reads some of it; 0 bytes at its end.
    pub fn read(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> io::Result<usize> {
        if let Body::Chunked(0) = self {
            self.next_chunk(connection)?;
        }
        let most = match *self {
            Body::Ended => return Ok(0),
            Body::Open => buffer.len(),
            Body::Sized(left) | Body::Chunked(left) => buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
        };
        let n = connection.read(&mut buffer[..most])?;
        match self {
            Body::Open if n == 0 => *self = Body::Ended,
            _ if n == 0 && most > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Body::Sized(left) => {
                *left -= n as u64;
                if *left == 0 {
                    *self = Body::Ended;
                }
            }
            Body::Chunked(left) => {
                *left -= n as u64;
                if *left == 0 && !connection.read_line(LONGEST_LINE)?.is_empty() {
                    return Err(invalid("chunks that do not end where they should"));
                }
            }
            Body::Open | Body::Ended => {}
        }
        Ok(n)
    }

    /// Reads the line before a chunk, and behind the last one all there is.
    fn next_chunk(&mut self, connection: &mut Connection) -> io::Result<()> {
        let line = connection.read_line(LONGEST_LINE)?;
        let size = line.split(';').next().unwrap_or("").trim();
        let sound = !size.is_empty() && size.len() <= 16 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16).ok().filter(|_| sound);
        *self = Body::Chunked(size.ok_or_else(|| invalid("a chunk without a size"))?);
        if *self == Body::Chunked(0) {
            for _ in 0..MOST_TRAILERS {
                if connection.read_line(LONGEST_LINE)?.is_empty() {
                    *self = Body::Ended;
                    return Ok(());
                }
            }
            return Err(invalid("no end"));
        }
        Ok(())
    }
}
