//! The settings of `security_headers`: their docs are the user's reference.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The settings of `security_headers`. `off` leaves a header out.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether browsers take the `Content-Type` for what it says and never guess (`X-Content-Type-Options: nosniff`). Default: `nosniff`.
    pub content_type_options: ContentTypeOptions,
    /// Who may show the page in a frame: `deny` for nobody, `same_origin`, or a list of origins. It is said as `frame-ancestors` of a
    /// `Content-Security-Policy`, and as `X-Frame-Options` where that can say it. Default: `deny`.
    pub frames: Frames,
    /// What a browser tells other sites of the page that it comes from (`Referrer-Policy`). Default: `no-referrer`.
    pub referrer_policy: ReferrerPolicy,
    /// What the page may use of the browser (`Permissions-Policy`), like `camera=(), geolocation=(self)`. Default: no sensors, cameras, microphones, payments
    /// or devices.
    pub permissions_policy: String,
    /// Whether windows that the page opens, or is opened by, may reach it (`Cross-Origin-Opener-Policy`). Default: `same-origin`.
    pub cross_origin_opener_policy: OpenerPolicy,
    /// Who may load the answer into a page without CORS (`Cross-Origin-Resource-Policy`). Default: `same-origin`.
    pub cross_origin_resource_policy: ResourcePolicy,
    /// Whether the page may load what does not agree to it (`Cross-Origin-Embedder-Policy`). Default: `off`.
    pub cross_origin_embedder_policy: EmbedderPolicy,
    /// What the page may load and run (`Content-Security-Policy`), like `default-src 'self'`. Default: `off`, which leaves what `frames` says.
    pub content_security_policy: String,
    /// Headers that are taken out: they tell attackers what runs here. Default: `[Server, X-Powered-By]`.
    pub remove: Vec<String>,
    /// Whether what the service says itself is replaced. Default: false: its word stands.
    pub overwrite: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            content_type_options: ContentTypeOptions::Nosniff,
            frames: Frames::Deny,
            referrer_policy: ReferrerPolicy::NoReferrer,
            permissions_policy:
                "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()".into(),
            cross_origin_opener_policy: OpenerPolicy::SameOrigin,
            cross_origin_resource_policy: ResourcePolicy::SameOrigin,
            cross_origin_embedder_policy: EmbedderPolicy::Off,
            content_security_policy: "off".into(),
            remove: ["Server", "X-Powered-By"].map(str::to_owned).into(),
            overwrite: false,
        }
    }
}

/// The values of one header, as they are written there and in the config.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
            /// The header is left out.
            #[serde(rename = "off")]
            Off,
        }

        impl $name {
            /// The value of the header; none where it is left out.
            pub(super) fn word(self) -> Option<&'static str> {
                match self { $($name::$variant => Some($word),)* $name::Off => None }
            }
        }
    )*};
}

words! {
    /// `X-Content-Type-Options` (Fetch §3.6).
    ContentTypeOptions {
        /// Types are not guessed.
        Nosniff = "nosniff",
    }
    /// `Referrer-Policy` (W3C Referrer Policy §3).
    ReferrerPolicy {
        /// Nobody is told anything.
        NoReferrer = "no-referrer",
        /// Everyone is told the address, but nobody without TLS.
        NoReferrerWhenDowngrade = "no-referrer-when-downgrade",
        /// The same site is told.
        SameOrigin = "same-origin",
        /// Everyone is told the origin.
        Origin = "origin",
        /// Everyone is told the origin, but nobody without TLS.
        StrictOrigin = "strict-origin",
        /// The same site is told the address, others the origin.
        OriginWhenCrossOrigin = "origin-when-cross-origin",
        /// The same, but nobody without TLS.
        StrictOriginWhenCrossOrigin = "strict-origin-when-cross-origin",
        /// Everyone is told the whole address.
        UnsafeUrl = "unsafe-url",
    }
    /// `Cross-Origin-Opener-Policy` (HTML §7.1.3).
    OpenerPolicy {
        /// Only windows of the same origin.
        SameOrigin = "same-origin",
        /// Those that it opens, too.
        SameOriginAllowPopups = "same-origin-allow-popups",
        /// None that it opens, of its own origin neither.
        NoopenerAllowPopups = "noopener-allow-popups",
        /// All of them.
        UnsafeNone = "unsafe-none",
    }
    /// `Cross-Origin-Resource-Policy` (Fetch §3.7).
    ResourcePolicy {
        /// Pages of the same origin.
        SameOrigin = "same-origin",
        /// Pages of the same site.
        SameSite = "same-site",
        /// Every page.
        CrossOrigin = "cross-origin",
    }
    /// `Cross-Origin-Embedder-Policy` (HTML §7.1.4).
    EmbedderPolicy {
        /// It may not.
        RequireCorp = "require-corp",
        /// It may, without credentials.
        Credentialless = "credentialless",
        /// It may.
        UnsafeNone = "unsafe-none",
    }
}

/// Who may show a page in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frames {
    /// Nobody.
    Deny,
    /// Pages of its own origin.
    SameOrigin,
    /// Pages of these.
    Origins(Vec<String>),
    /// Nothing is said.
    Off,
}

impl Serialize for Frames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Frames::Deny => serializer.serialize_str("deny"),
            Frames::SameOrigin => serializer.serialize_str("same_origin"),
            Frames::Origins(origins) => origins.serialize(serializer),
            Frames::Off => serializer.serialize_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for Frames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Frames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`deny`, `same_origin`, `off`, or a list of origins")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Frames, E> {
                match text {
                    "deny" => Ok(Frames::Deny),
                    "same_origin" => Ok(Frames::SameOrigin),
                    "off" => Ok(Frames::Off),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Frames, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Frames::Origins)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Frames {
    fn schema_name() -> Cow<'static, str> {
        "Frames".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Who may show a page in a frame.",
            "anyOf": [{"enum": ["deny", "same_origin", "off"]}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
        })
    }
}
