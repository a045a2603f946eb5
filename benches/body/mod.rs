//! JSON as APIs answer with it.

use bytes::Bytes;
use serde_json::{Value, json};

/// A list of users: about 330 bytes each.
pub fn body(users: usize) -> Bytes {
    let user = |id: usize| {
        json!({
            "id": 1_000_000 + id, "name": format!("User Number {id}"), "email": format!("user{id}@example.com"), "active": id.is_multiple_of(3),
            "balance": 1234.5 + id as f64, "tags": ["alpha", "beta", "gamma"],
            "address": { "street": "12 Long Example Street", "city": "Zürich", "zip": "8001", "geo": { "lat": 47.3769, "lon": 8.5417 } },
            "note": "a longer text with \"quotes\"\nand lines in it, as people write them", "parent": null
        })
    };
    json!({ "total": users, "items": (0..users).map(user).collect::<Value>() }).to_string().into()
}
