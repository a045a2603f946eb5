//! The registry: from one line per policy to the enum of settings, the enum of runtimes and a `match` per hook. No boxing, no look-up by name on
//! the request path, and the compiler lists what is missing.

macro_rules! policies {
    ($($name:ident: $room:ident :: $file:ident :: $policy:ident,)*) => {
        /// The settings of one policy, under its name.
        #[derive(Debug)]
        #[expect(non_camel_case_types, missing_docs, reason = "a variant is named as its config key")]
        pub enum PolicyConfig { $($name(Box<<$room::$file::$policy as Policy>::Config>)),* }

        /// One policy, ready to run.
        #[expect(non_camel_case_types, missing_docs, reason = "a variant is named as its config key")]
        pub enum Runtime { $($name($room::$file::$policy)),* }

        /// The names of all policies, in the order of the registry.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        impl PolicyConfig {
            /// The config key.
            pub fn name(&self) -> &'static str {
                match self { $(PolicyConfig::$name(_) => stringify!($name)),* }
            }

            /// What is set, defaults too, secrets hidden.
            pub fn settings(&self) -> serde_json::Value {
                match self { $(PolicyConfig::$name(config) => serde_json::to_value(config).unwrap_or_default()),* }
            }

            /// The files that the settings name.
            pub fn files(&self) -> Vec<&str> {
                match self { $(PolicyConfig::$name(config) => <$room::$file::$policy as Policy>::files(config)),* }
            }

            /// Makes the policy ready to run.
            ///
            /// # Errors
            /// What is wrong, at a path relative to the policy's own settings.
            pub fn build(&self, cx: &mut PolicyCx<'_>) -> Result<Runtime, BuildError> {
                match self { $(PolicyConfig::$name(config) => <$room::$file::$policy as Policy>::build(config, cx).map(Runtime::$name)),* }
            }

            /// The settings found under `name`.
            pub(super) fn read<'de, D: serde::Deserializer<'de>>(name: &str, deserializer: D) -> Result<Self, D::Error> {
                match name {
                    $(stringify!($name) => serde::Deserialize::deserialize(deserializer).map(Box::new).map(PolicyConfig::$name),)*
                    other => Err(serde::de::Error::unknown_variant(other, NAMES)),
                }
            }
        }

        impl Runtime {
            /// The config key.
            pub fn name(&self) -> &'static str {
                match self { $(Runtime::$name(_) => stringify!($name)),* }
            }

            /// The hooks that run.
            pub fn phases(&self) -> Phases {
                match self { $(Runtime::$name(_) => <$room::$file::$policy as Policy>::PHASES),* }
            }

            pub(super) async fn request(
                &self,
                req: &mut RequestHeader,
                cx: &mut Ctx,
                client: &Arc<Client>,
            ) -> Result<Flow, Problem> {
                match self { $(Runtime::$name(policy) => policy.request_with(req, cx, client).await),* }
            }

            pub(super) fn request_body(&self, body: &[u8], cx: &mut Ctx) -> Result<(), Problem> {
                match self { $(Runtime::$name(policy) => policy.request_body(body, cx)),* }
            }

            pub(super) fn upstream_request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<(), Problem> {
                match self { $(Runtime::$name(policy) => policy.upstream_request(req, cx)),* }
            }

            pub(super) fn response(&self, res: &mut ResponseHeader, req: &RequestHeader, cx: &mut Ctx) {
                match self { $(Runtime::$name(policy) => policy.response(res, req, cx)),* }
            }
        }

        #[cfg(test)]
        /// For the conformance test: name, source file under `src/policy`, phases.
        pub(super) const REGISTERED: &[(&str, &str, Phases)] = &[
            $((stringify!($name), concat!(stringify!($room), "/", stringify!($file)), <$room::$file::$policy as Policy>::PHASES)),*
        ];

        /// The schema of the settings of each policy that is wanted, in the order of the registry.
        pub(super) fn schemas(
            generator: &mut schemars::SchemaGenerator,
            wanted: &dyn Fn(&str) -> bool,
        ) -> Vec<(&'static str, schemars::Schema)> {
            let mut schemas = Vec::new();
            $(if wanted(stringify!($name)) {
                schemas.push((stringify!($name), <<$room::$file::$policy as Policy>::Config as JsonSchema>::json_schema(generator)));
            })*
            schemas
        }
    };
}

pub(super) use policies;
