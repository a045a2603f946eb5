//! Leaf values, parsed once when the config is read.

mod address;
mod certificate;
mod coding;
mod duration;
mod grpc;
mod moment;
mod percent;
mod pieces;
mod protocol;
mod rate;
mod reply;
mod secret;
mod signed_body;
mod size;

pub use address::Address;
pub use certificate::Certificate;
pub use coding::{Coding, Recoding};
pub use duration::Duration;
pub use grpc::{GrpcStatus, grpc_timeout, is_grpc_call};
pub use moment::Moment;
pub use percent::Percent;
pub use pieces::{Piece, pieces};
pub use protocol::Protocol;
pub use rate::Rate;
pub use reply::{FRAMING, Reply, ReplyConfig};
pub use secret::Secret;
pub use signed_body::{Digests, SignedBody};
pub use size::Size;
