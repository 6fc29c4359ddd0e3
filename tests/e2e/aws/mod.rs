//! On AWS, or rather on an emulator of it: the very template is built and deployed, and its functions move documents
//! from the emulator's S3 into a real OpenSearch.
//!
//! What the emulator cannot show is listed in docs/reliability.md, with how else it is shown.

pub(crate) mod cloud;
mod kills;
mod limit;
mod lost;
mod memory;
mod slices;
mod story;
mod template;
