//! How a shard's stored fields are cut into chunks.
