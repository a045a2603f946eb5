//! How much.
