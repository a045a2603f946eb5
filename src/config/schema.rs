use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Map, Value, json};

use super::Config;

/// The JSON Schema (draft 2020-12) of the config file, made from the types that are read, with their doc comments as descriptions.
///
/// An editor sees the file as it is written: `${PORT}` where a number will be, nothing where every entry of a list is commented out. The schema takes
/// what the reader takes. What depends on two places (a name that stands for nothing, two routes that tie) is left to `tidegate check`.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(AsWritten);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>();
    schema.insert("title".to_owned(), json!("The config file of Tidegate"));
    schema.to_value()
}

#[derive(Clone, Debug)]
struct AsWritten;

impl Transform for AsWritten {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(schema) = schema.as_object_mut() else { return };
        from_outside(schema);
        for key in ["items", "additionalProperties"] {
            in_place(schema.get_mut(key));
        }
        for key in ["properties", "$defs"] {
            for child in schema.get_mut(key).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
                in_place(Some(child));
            }
        }
    }
}

/// What `${NAME}` and `${file:…}` look like.
const OUTSIDE: &str = r"\$\{";

/// Takes a value from outside, whatever it will be.
fn from_outside(schema: &mut Map<String, Value>) {
    if let Some(pattern) = schema.get_mut("pattern") {
        *pattern = json!(format!("{}|{OUTSIDE}", pattern.as_str().unwrap_or_default()));
    }
    let types = types(schema);
    if types.iter().any(|name| matches!(name.as_str(), "integer" | "number" | "boolean")) && !types.iter().any(|name| name == "string") {
        add_types(schema, &["string"]);
        schema.insert("pattern".to_owned(), json!(OUTSIDE));
    }
    let outside = json!({"type": "string", "pattern": OUTSIDE});
    if let Some(words) = schema.remove("enum") {
        schema.insert("anyOf".to_owned(), json!([{"enum": words}, outside]));
    }
    for key in ["anyOf", "oneOf"] {
        let Some(forms) = schema.get_mut(key).and_then(Value::as_array_mut) else { continue };
        if forms.iter().any(|form| form.get("const").is_some()) {
            forms.push(outside.clone());
        }
    }
}

/// What the reader takes for a value in its place: a number is text where text is wanted, and nothing is an empty list or mapping.
fn in_place(schema: Option<&mut Value>) {
    let Some(schema) = schema.and_then(Value::as_object_mut) else { return };
    let types = types(schema);
    let is = |name: &str| types.iter().any(|known| known == name);
    let free = |keys: &[&str]| !keys.iter().any(|key| schema.contains_key(*key));
    if is("string") && free(&["pattern", "anyOf", "const"]) {
        add_types(schema, &["number", "boolean"]);
    } else if (is("array") && free(&["minItems"])) || (is("object") && free(&["required", "minProperties", "oneOf"])) {
        add_types(schema, &["null"]);
    }
}

fn types(schema: &Map<String, Value>) -> Vec<String> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn add_types(schema: &mut Map<String, Value>, more: &[&str]) {
    let mut types = types(schema);
    for name in more {
        if !types.iter().any(|known| known == name) {
            types.push((*name).to_owned());
        }
    }
    schema.insert("type".to_owned(), json!(types));
}
