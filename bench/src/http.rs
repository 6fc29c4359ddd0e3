//! As little HTTP as plain transfers need.

use crate::Result;
use std::io::BufRead;

/// What the head of a message says.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Of an answer.
    pub(crate) status: u16,
    /// The index that a bulk request is for.
    pub(crate) index: String,
    /// Length of the body.
    pub(crate) length: u64,
    /// Whether the body is compressed.
    pub(crate) gzip: bool,
}

/// Reads the head of a message whose body has its length told; nothing when the connection has ended.
pub(crate) fn head(stream: &mut impl BufRead) -> Result<Option<Head>> {
    let (mut line, mut head) = (String::new(), Head::default());
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_end().to_ascii_lowercase();
        if text.is_empty() {
            return Ok(Some(head));
        }
        if let Some(rest) = text.strip_prefix("http/1.1 ") {
            head.status = rest.split(' ').next().unwrap_or_default().parse()?;
        }
        if let Some((index, _)) = text.strip_prefix("post /").and_then(|path| path.split_once("/_bulk")) {
            index.clone_into(&mut head.index);
        }
        if let Some(value) = text.strip_prefix("content-length:") {
            head.length = value.trim().parse()?;
        }
        head.gzip |= text.starts_with("content-encoding:") && text.ends_with("gzip");
    }
}
