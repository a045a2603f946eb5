//! The targets of parts.

#[path = "../../src/compose/target.rs"]
mod target;
#[path = "../../src/compose/text.rs"]
mod text;

use std::sync::Arc;

use pingora_http::RequestHeader;

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::upstream::Service;

mod outcome {
    use crate::body::json::{Document, Place, Value};

    /// How it stands with a part: it is here or not.
    pub struct Outcome(pub Option<Document>);

    impl Outcome {
        pub fn value(&self, place: &Place) -> Option<Value<'_>> {
            let body = self.0.as_ref()?.root();
            if let Some(path) = &place.path { body.find(path) } else { Some(body) }
        }
    }
}

pub use outcome::Outcome;

/// A target with variables of the parts `a` and `b` and of the parameters `id` and `rest`.
pub struct Target(target::Target);

impl Target {
    pub fn build(template: &str) -> Result<Self, BuildError> {
        let scope = text::Scope { parts: &["a", "b"], params: &["id".into(), "rest".into()] };
        let (_, path) = target::Target::split(template)?;
        target::Target::build(Arc::new(Service), path, scope).map(Self)
    }

    pub fn render(&self, req: &RequestHeader, cx: &Ctx, outcomes: &[Outcome]) -> Option<String> {
        self.0.render(text::Facts { req, cx, outcomes })
    }
}
