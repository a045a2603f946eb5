//! The composition of KrakenD, and the same here. What KrakenD answers was observed of version 2.9.0 of Lura, the engine of its community edition, with the
//! same services behind it. Where the answer here is another one, that is meant, and the table says why.

use serde_json::Value;

use crate::support::{Answer, Gateway, Origin, RawOrigin};

/// One composition in both forms.
struct Case {
    name: &'static str,
    /// The endpoint in KrakenD's form, less its path and hosts.
    krakend: &'static str,
    /// What it answers: the status, `X-Krakend-Completed`, the body. Several where that depends on who is faster.
    said: &'static [&'static str],
    /// `compose:` here.
    compose: &'static str,
    /// The status, the body — of a problem its part and step — and `Tidegate-Parts`, with ` | ` between.
    answer: &'static str,
    /// Why that is not the same.
    why: Option<&'static str>,
}

const TIME: &str = "whose member it is would depend on which service is faster";
const ARRAYS: &str = "paths go through arrays";
const LISTS: &str = "an array is a part like any other";
const NAMED: &str = "the problem names the part and how far it had come, and a service that fails is no fault of the gateway's own";

const CASES: &[Case] = &[
    Case {
        name: "members of all at the root",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id", "name"]}, {"url_pattern": "/orders", "allow": ["total"]}]}"#,
        said: &[r#"200 true {"id":7,"name":"Ann","total":2}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id, name] } }, orders: { get: \"s:/orders\", shape: { pick: [total] } } }",
        answer: r#"200 | {"id":7,"name":"Ann","total":2} | -"#,
        why: None,
    },
    Case {
        name: "two members of one name",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id"]}, {"url_pattern": "/orders", "allow": ["id"]}]}"#,
        said: &[r#"200 true {"id":7}"#, r#"200 true {"id":99}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id] } }, orders: { get: \"s:/orders\", shape: { pick: [id] } } }",
        answer: r#"200 | {"id":99} | -"#,
        why: Some(TIME),
    },
    Case {
        name: "two objects of one name",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["address.city"]}, {"url_pattern": "/user", "allow": ["address.zip"]}]}"#,
        said: &[r#"200 true {"address":{"city":"Rome"}}"#, r#"200 true {"address":{"zip":"00100"}}"#],
        compose: "merge: root, parts: { a: { get: \"s:/user\", shape: { pick: [address.city] } }, b: { get: \"s:/user\", shape: { pick: [address.zip] } } }",
        answer: r#"200 | {"address":{"zip":"00100"}} | -"#,
        why: Some(TIME),
    },
    Case {
        name: "group",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id"], "group": "user"}, {"url_pattern": "/orders", "allow": ["id"], "group": "orders"}]}"#,
        said: &[r#"200 true {"orders":{"id":99},"user":{"id":7}}"#],
        compose: "parts: { user: { get: \"s:/user\", shape: { pick: [id] } }, orders: { get: \"s:/orders\", shape: { pick: [id] } } }",
        answer: r#"200 | {"user":{"id":7},"orders":{"id":99}} | -"#,
        why: None,
    },
    Case {
        name: "group of one beside the members of another",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id"]}, {"url_pattern": "/orders", "allow": ["id"], "group": "orders"}]}"#,
        said: &[r#"200 true {"id":7,"orders":{"id":99}}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id] } }, orders: { get: \"s:/orders\", shape: { pick: [id], wrap: orders } } }",
        answer: r#"200 | {"id":7,"orders":{"id":99}} | -"#,
        why: None,
    },
    Case {
        name: "allow with dots",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id", "address.city"]}]}"#,
        said: &[r#"200 true {"address":{"city":"Rome"},"id":7}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id, address.city] } } }",
        answer: r#"200 | {"id":7,"address":{"city":"Rome"}} | -"#,
        why: None,
    },
    Case {
        name: "allow in a list",
        krakend: r#"{"backend": [{"url_pattern": "/orders", "allow": ["items.sku"]}]}"#,
        said: &["200 false {}"],
        compose: "merge: root, parts: { orders: { get: \"s:/orders\", shape: { pick: [items.sku] } } }",
        answer: r#"200 | {"items":[{"sku":"a"},{"sku":"b"}]} | -"#,
        why: Some(ARRAYS),
    },
    Case {
        name: "deny with dots",
        krakend: r#"{"backend": [{"url_pattern": "/user", "deny": ["password", "address.zip", "team_id"]}]}"#,
        said: &[r#"200 true {"address":{"city":"Rome"},"id":7,"name":"Ann"}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { drop: [password, address.zip, team_id] } } }",
        answer: r#"200 | {"id":7,"name":"Ann","address":{"city":"Rome"}} | -"#,
        why: None,
    },
    Case {
        name: "deny in a list",
        krakend: r#"{"backend": [{"url_pattern": "/orders", "deny": ["items.secret"]}]}"#,
        said: &[r#"200 true {"id":99,"items":[{"secret":1,"sku":"a"},{"secret":2,"sku":"b"}],"total":2}"#],
        compose: "merge: root, parts: { orders: { get: \"s:/orders\", shape: { drop: [items.secret] } } }",
        answer: r#"200 | {"id":99,"total":2,"items":[{"sku":"a"},{"sku":"b"}]} | -"#,
        why: Some(ARRAYS),
    },
    Case {
        name: "mapping",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id", "name"], "mapping": {"name": "full_name"}}]}"#,
        said: &[r#"200 true {"full_name":"Ann","id":7}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id, name], rename: { name: full_name } } } }",
        answer: r#"200 | {"id":7,"full_name":"Ann"} | -"#,
        why: None,
    },
    Case {
        name: "mapping to a name that is there",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id", "name"], "mapping": {"name": "id"}}]}"#,
        said: &[r#"200 true {"id":"Ann"}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id, name], rename: { name: id } } } }",
        answer: r#"200 | {"id":"Ann"} | -"#,
        why: None,
    },
    Case {
        name: "mapping with dots",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id", "address.city"], "mapping": {"address.city": "city"}}]}"#,
        said: &[r#"200 true {"address":{"city":"Rome"},"id":7}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id, address.city], move: { address.city: city } } } }",
        answer: r#"200 | {"id":7,"address":{},"city":"Rome"} | -"#,
        why: Some("a move takes a value from any depth to any other"),
    },
    Case {
        name: "target",
        krakend: r#"{"backend": [{"url_pattern": "/wrapped", "target": "data.user"}]}"#,
        said: &[r#"200 true {"id":7,"name":"Ann"}"#],
        compose: "merge: root, parts: { user: { get: \"s:/wrapped\", shape: { take: data.user } } }",
        answer: r#"200 | {"id":7,"name":"Ann"} | -"#,
        why: None,
    },
    Case {
        name: "target, allow, mapping and group",
        krakend: r#"{"backend": [{"url_pattern": "/wrapped", "target": "data.user", "allow": ["id"], "mapping": {"id": "key"}, "group": "who"}]}"#,
        said: &[r#"200 true {"who":{"key":7}}"#],
        compose: "merge: root, parts: { user: { get: \"s:/wrapped\", shape: { take: data.user, pick: [id], rename: { id: key }, wrap: who } } }",
        answer: r#"200 | {"who":{"key":7}} | -"#,
        why: None,
    },
    Case {
        name: "target that is not there",
        krakend: r#"{"backend": [{"url_pattern": "/user", "target": "data.user"}]}"#,
        said: &["200 false {}"],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { take: data.user } } }",
        answer: "200 | {} | user;received-status=200;error=body_unusable",
        why: None,
    },
    Case {
        name: "target that is a list",
        krakend: r#"{"backend": [{"url_pattern": "/more", "target": "items"}]}"#,
        said: &["200 false {}"],
        compose: "parts: { items: { get: \"s:/more\", shape: { take: items } } }",
        answer: r#"200 | {"items":[{"sku":"c"}]} | -"#,
        why: Some(LISTS),
    },
    Case {
        name: "collection",
        krakend: r#"{"backend": [{"url_pattern": "/list", "is_collection": true}, {"url_pattern": "/user", "allow": ["id"]}]}"#,
        said: &[r#"200 true {"collection":[{"id":1,"secret":1},{"id":2,"secret":2}],"id":7}"#],
        compose: "merge: root, parts: { list: { get: \"s:/list\", shape: { wrap: collection } }, user: { get: \"s:/user\", shape: { pick: [id] } } }",
        answer: r#"200 | {"collection":[{"id":1,"secret":1},{"id":2,"secret":2}],"id":7} | -"#,
        why: None,
    },
    Case {
        name: "collection under another name",
        krakend: r#"{"backend": [{"url_pattern": "/list", "is_collection": true, "mapping": {"collection": "items"}}]}"#,
        said: &[r#"200 true {"items":[{"id":1,"secret":1},{"id":2,"secret":2}]}"#],
        compose: "parts: { items: { get: \"s:/list\" } }",
        answer: r#"200 | {"items":[{"id":1,"secret":1},{"id":2,"secret":2}]} | -"#,
        why: None,
    },
    Case {
        name: "collection in a group",
        krakend: r#"{"backend": [{"url_pattern": "/list", "is_collection": true, "group": "list"}]}"#,
        said: &[r#"200 true {"list":{"collection":[{"id":1,"secret":1},{"id":2,"secret":2}]}}"#],
        compose: "parts: { list: { get: \"s:/list\", shape: { wrap: collection } } }",
        answer: r#"200 | {"list":{"collection":[{"id":1,"secret":1},{"id":2,"secret":2}]}} | -"#,
        why: None,
    },
    Case {
        name: "json-collection",
        krakend: r#"{"output_encoding": "json-collection", "backend": [{"url_pattern": "/list", "is_collection": true}]}"#,
        said: &[r#"200 true [{"id":1,"secret":1},{"id":2,"secret":2}]"#],
        compose: "template: \"{parts.list.body}\", parts: { list: { get: \"s:/list\" } }",
        answer: r#"200 | [{"id":1,"secret":1},{"id":2,"secret":2}] | -"#,
        why: None,
    },
    Case {
        name: "allow in a collection",
        krakend: r#"{"backend": [{"url_pattern": "/list", "is_collection": true, "allow": ["collection.id"]}]}"#,
        said: &["200 false {}"],
        compose: "parts: { collection: { get: \"s:/list\", shape: { pick: [id] } } }",
        answer: r#"200 | {"collection":[{"id":1},{"id":2}]} | -"#,
        why: Some(ARRAYS),
    },
    Case {
        name: "two collections",
        krakend: r#"{"backend": [{"url_pattern": "/list", "is_collection": true}, {"url_pattern": "/tags", "is_collection": true}]}"#,
        said: &[r#"200 true {"collection":["x","y"]}"#, r#"200 true {"collection":[{"id":1,"secret":1},{"id":2,"secret":2}]}"#],
        compose: "parts: { list: { get: \"s:/list\" }, tags: { get: \"s:/tags\" } }",
        answer: r#"200 | {"list":[{"id":1,"secret":1},{"id":2,"secret":2}],"tags":["x","y"]} | -"#,
        why: Some(LISTS),
    },
    Case {
        name: "a list that nobody called a collection",
        krakend: r#"{"backend": [{"url_pattern": "/tags", "group": "tags"}, {"url_pattern": "/user", "allow": ["id"], "group": "user"}]}"#,
        said: &[r#"200 false {"user":{"id":7}}"#],
        compose: "parts: { tags: { get: \"s:/tags\" }, user: { get: \"s:/user\", shape: { pick: [id] } } }",
        answer: r#"200 | {"tags":["x","y"],"user":{"id":7}} | -"#,
        why: Some(LISTS),
    },
    Case {
        name: "a value that is no object",
        krakend: r#"{"backend": [{"url_pattern": "/number", "group": "number"}, {"url_pattern": "/user", "allow": ["id"], "group": "user"}]}"#,
        said: &[r#"200 false {"user":{"id":7}}"#],
        compose: "parts: { number: { get: \"s:/number\" }, user: { get: \"s:/user\", shape: { pick: [id] } } }",
        answer: r#"200 | {"number":5,"user":{"id":7}} | -"#,
        why: Some("any JSON is a part"),
    },
    Case {
        name: "text",
        krakend: r#"{"backend": [{"url_pattern": "/text", "encoding": "string"}, {"url_pattern": "/user", "allow": ["id"]}]}"#,
        said: &[r#"200 true {"content":"hello","id":7}"#],
        compose: "merge: root, parts: { text: { get: \"s:/text\", shape: { wrap: content } }, user: { get: \"s:/user\", shape: { pick: [id] } } }",
        answer: r#"200 | {"content":"hello","id":7} | -"#,
        why: None,
    },
    Case {
        name: "long numbers, and a name that comes twice",
        krakend: r#"{"backend": [{"url_pattern": "/numbers"}]}"#,
        said: &[r#"200 true {"a":2,"b":3,"big":12345678901234567890123,"price":1.10}"#],
        compose: "merge: root, parts: { numbers: { get: \"s:/numbers\" } }",
        answer: r#"200 | {"big":12345678901234567890123,"price":1.10,"b":1,"a":2,"b":3} | -"#,
        why: None,
    },
    Case {
        name: "partial: one fails",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id"]}, {"url_pattern": "/failing"}]}"#,
        said: &[r#"200 false {"id":7}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id] } }, orders: { get: \"s:/failing\" } }",
        answer: r#"200 | {"id":7} | user;received-status=200, orders;received-status=500"#,
        why: None,
    },
    Case {
        name: "partial: one of a group fails",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id"], "group": "user"}, {"url_pattern": "/failing", "group": "orders"}]}"#,
        said: &[r#"200 false {"user":{"id":7}}"#],
        compose: "missing: absent, parts: { user: { get: \"s:/user\", shape: { pick: [id] } }, orders: { get: \"s:/failing\" } }",
        answer: r#"200 | {"user":{"id":7}} | user;received-status=200, orders;received-status=500"#,
        why: None,
    },
    Case {
        name: "partial: one is too slow",
        krakend: r#"{"timeout": "500ms", "backend": [{"url_pattern": "/user", "allow": ["id"]}, {"url_pattern": "/slow"}]}"#,
        said: &[r#"200 false {"id":7}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id] } }, orders: { get: \"slow:/\", timeout: 300ms } }",
        answer: r#"200 | {"id":7} | user;received-status=200, orders;error=http_response_timeout"#,
        why: None,
    },
    Case {
        name: "partial: one is broken",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id"]}, {"url_pattern": "/garbage"}]}"#,
        said: &[r#"200 false {"id":7}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id] } }, orders: { get: \"s:/garbage\" } }",
        answer: r#"200 | {"id":7} | user;received-status=200, orders;received-status=200;error=body_unusable"#,
        why: None,
    },
    Case {
        name: "all fail",
        krakend: r#"{"backend": [{"url_pattern": "/failing"}, {"url_pattern": "/failing"}]}"#,
        said: &["500 false "],
        compose: "parts: { user: { get: \"s:/failing\", required: true } }",
        answer: "502 | user answering | user;received-status=500",
        why: Some(NAMED),
    },
    Case {
        name: "the only one is not found",
        krakend: r#"{"backend": [{"url_pattern": "/absent"}]}"#,
        said: &["500 false "],
        compose: "parts: { user: { get: \"s:/absent\", required: true } }",
        answer: r#"404 | {"error":"no such user"} | user;received-status=404"#,
        why: Some("the client is told that there is no such thing"),
    },
    Case {
        name: "return_error_code",
        krakend: r#"{"backend": [{"url_pattern": "/absent", "extra_config": {"github.com/devopsfaith/krakend/http": {"return_error_code": true}}}]}"#,
        said: &["404 false "],
        compose: "parts: { user: { get: \"s:/absent\", required: true, pass: [404] } }",
        answer: r#"404 | {"error":"no such user"} | user;received-status=404"#,
        why: Some("a status that passes has its body"),
    },
    Case {
        name: "return_error_details",
        krakend: r#"{"backend": [{"url_pattern": "/user", "allow": ["id"]}, {"url_pattern": "/absent", "extra_config": {"github.com/devopsfaith/krakend/http": {"return_error_details": "orders"}}}]}"#,
        said: &[
            r#"200 false {"error_orders":{"http_status_code":404,"http_body":"{\"error\":\"no such user\"}","http_body_encoding":"application/json"},"id":7}"#,
        ],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id] } }, orders: { get: \"s:/absent\" } }",
        answer: r#"200 | {"id":7} | user;received-status=200, orders;received-status=404"#,
        why: Some("how parts stand is told in a header, and what a service says of its error to nobody"),
    },
    Case {
        name: "sequential",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"sequential": true}}, "backend": [{"url_pattern": "/user", "allow": ["id", "team_id"]}, {"url_pattern": "/echo/{resp0_team_id}", "allow": ["url"], "group": "team"}]}"#,
        said: &[r#"200 true {"id":7,"team":{"url":"/echo/core"},"team_id":"core"}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id, team_id] } }, team: { get: \"s:/echo/{parts.user.body.team_id}\", shape: { pick: [url], wrap: team } } }",
        answer: r#"200 | {"id":7,"team_id":"core","team":{"url":"/echo/core"}} | -"#,
        why: None,
    },
    Case {
        name: "sequential, out of a group, with dots",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"sequential": true}}, "backend": [{"url_pattern": "/user", "allow": ["address.city"], "group": "user"}, {"url_pattern": "/echo/{resp0_user.address.city}", "allow": ["url"], "group": "city"}]}"#,
        said: &[r#"200 true {"city":{"url":"/echo/Rome"},"user":{"address":{"city":"Rome"}}}"#],
        compose: "parts: { user: { get: \"s:/user\", shape: { pick: [address.city] } }, city: { get: \"s:/echo/{parts.user.body.address.city}\", shape: { pick: [url] } } }",
        answer: r#"200 | {"user":{"address":{"city":"Rome"}},"city":{"url":"/echo/Rome"}} | -"#,
        why: None,
    },
    Case {
        name: "sequential, with a long number",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"sequential": true}}, "backend": [{"url_pattern": "/numbers", "allow": ["price", "big"]}, {"url_pattern": "/echo/{resp0_big}", "allow": ["url"]}]}"#,
        said: &[r#"200 true {"big":12345678901234567890123,"price":1.10,"url":"/echo/12345678901234567890123"}"#],
        compose: "merge: root, parts: { n: { get: \"s:/numbers\", shape: { pick: [price, big] } }, e: { get: \"s:/echo/{parts.n.body.big}\", shape: { pick: [url] } } }",
        answer: r#"200 | {"big":12345678901234567890123,"price":1.10,"url":"/echo/12345678901234567890123"} | -"#,
        why: None,
    },
    Case {
        name: "sequential, with a list",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"sequential": true}}, "backend": [{"url_pattern": "/tags", "is_collection": true, "mapping": {"collection": "tags"}}, {"url_pattern": "/echo/{resp0_tags}", "allow": ["url"]}]}"#,
        said: &[r#"200 true {"tags":["x","y"],"url":"/echo/x,y"}"#],
        compose: "merge: root, parts: { tags: { get: \"s:/tags\", shape: { wrap: tags } }, e: { get: \"s:/echo/{parts.tags.body}\", shape: { pick: [url] } } }",
        answer: r#"200 | {"tags":["x","y"]} | tags;received-status=200, e;error=value_missing"#,
        why: Some("an array is no text, and a comma may stand in an item"),
    },
    Case {
        name: "sequential, with a value that is not there",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"sequential": true}}, "backend": [{"url_pattern": "/user", "allow": ["id"]}, {"url_pattern": "/echo/{resp0_nothing}", "allow": ["url"]}]}"#,
        said: &[r#"200 true {"id":7,"url":"/echo/%7B%7B.Resp0_nothing%7D%7D"}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id] } }, e: { get: \"s:/echo/{parts.user.body.nothing}\", shape: { pick: [url] } } }",
        answer: r#"200 | {"id":7} | user;received-status=200, e;error=value_missing"#,
        why: Some("nobody is asked for a template"),
    },
    Case {
        name: "sequential, with a value that is a path",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"sequential": true}}, "backend": [{"url_pattern": "/evil"}, {"url_pattern": "/echo/{resp0_path}", "allow": ["url"]}]}"#,
        said: &[r#"200 true {"path":"a/b?x=1","url":"/echo/a/b?x=1"}"#],
        compose: "merge: root, parts: { evil: { get: \"s:/evil\" }, e: { get: \"s:/echo/{parts.evil.body.path}\", shape: { pick: [url] } } }",
        answer: r#"200 | {"path":"a/b?x=1","url":"/echo/a%2Fb%3Fx%3D1"} | -"#,
        why: Some("a value is one segment, whatever is in it"),
    },
    Case {
        name: "sequential, and the first fails",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"sequential": true}}, "backend": [{"url_pattern": "/failing"}, {"url_pattern": "/echo/{resp0_id}"}]}"#,
        said: &["500 false "],
        compose: "merge: root, parts: { user: { get: \"s:/failing\", required: true }, e: { get: \"s:/echo/{parts.user.body.id}\" } }",
        answer: "502 | user answering | user;received-status=500, e;error=not_asked",
        why: Some(NAMED),
    },
    Case {
        name: "sequential, and one fails that the next does not need",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"sequential": true}}, "backend": [{"url_pattern": "/user", "allow": ["id"]}, {"url_pattern": "/failing"}, {"url_pattern": "/orders", "allow": ["total"]}]}"#,
        said: &[r#"200 false {"id":7}"#],
        compose: "merge: root, parts: { user: { get: \"s:/user\", shape: { pick: [id] } }, second: { get: \"s:/failing\" }, orders: { get: \"s:/orders\", shape: { pick: [total] } } }",
        answer: r#"200 | {"id":7,"total":2} | user;received-status=200, second;received-status=500, orders;received-status=200"#,
        why: Some("a part waits for those that it needs alone"),
    },
    Case {
        name: "flatmap del",
        krakend: r#"{"backend": [{"url_pattern": "/orders", "extra_config": {"github.com/devopsfaith/krakend/proxy": {"flatmap_filter": [{"type": "del", "args": ["items.*.secret", "id"]}]}}}]}"#,
        said: &[r#"200 true {"items":[{"sku":"a"},{"sku":"b"}],"total":2}"#],
        compose: "merge: root, parts: { orders: { get: \"s:/orders\", shape: { drop: [items.secret, id] } } }",
        answer: r#"200 | {"total":2,"items":[{"sku":"a"},{"sku":"b"}]} | -"#,
        why: None,
    },
    Case {
        name: "flatmap del in every member of an object",
        krakend: r#"{"backend": [{"url_pattern": "/map", "extra_config": {"github.com/devopsfaith/krakend/proxy": {"flatmap_filter": [{"type": "del", "args": ["*.pop"]}]}}}]}"#,
        said: &[r#"200 true {"de":{"name":"Berlin"},"it":{"name":"Rome"}}"#],
        compose: "merge: root, parts: { map: { get: \"s:/map\", shape: { drop: [de.pop, it.pop] } } }",
        answer: r#"200 | {"de":{"name":"Berlin"},"it":{"name":"Rome"}} | -"#,
        why: None,
    },
    Case {
        name: "flatmap move in a list",
        krakend: r#"{"backend": [{"url_pattern": "/more", "extra_config": {"github.com/devopsfaith/krakend/proxy": {"flatmap_filter": [{"type": "move", "args": ["items.*.sku", "items.*.ref.id"]}]}}}]}"#,
        said: &[r#"200 true {"items":[{"ref":{"id":"c"}}]}"#],
        compose: "merge: root, parts: { more: { get: \"s:/more\", shape: { move: { items.sku: items.ref.id } } } }",
        answer: r#"200 | {"items":[{"ref":{"id":"c"}}]} | -"#,
        why: None,
    },
    Case {
        name: "flatmap move to a higher level",
        krakend: r#"{"backend": [{"url_pattern": "/wrapped", "extra_config": {"github.com/devopsfaith/krakend/proxy": {"flatmap_filter": [{"type": "move", "args": ["data.user.name", "name"]}, {"type": "del", "args": ["data"]}]}}}]}"#,
        said: &[r#"200 true {"meta":{"page":1},"name":"Ann"}"#],
        compose: "merge: root, parts: { w: { get: \"s:/wrapped\", shape: { drop: [data.user.id], flatten: [data, data.user] } } }",
        answer: r#"200 | {"name":"Ann","meta":{"page":1}} | -"#,
        why: None,
    },
    Case {
        name: "flatmap append",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"flatmap_filter": [{"type": "append", "args": ["more.items", "items"]}, {"type": "del", "args": ["more"]}]}}, "backend": [{"url_pattern": "/orders", "allow": ["items"]}, {"url_pattern": "/more", "group": "more"}]}"#,
        said: &[r#"200 true {"items":[{"secret":1,"sku":"a"},{"secret":2,"sku":"b"},{"sku":"c"}]}"#],
        compose: "template: { items: [\"{parts.orders.body.items...}\", \"{parts.more.body.items...}\"] }, parts: { orders: { get: \"s:/orders\" }, more: { get: \"s:/more\" } }",
        answer: r#"200 | {"items":[{"sku":"a","secret":1},{"sku":"b","secret":2},{"sku":"c"}]} | -"#,
        why: None,
    },
    Case {
        name: "static, always",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"static": {"strategy": "always", "data": {"v": 1}}}}, "backend": [{"url_pattern": "/user", "allow": ["id"]}]}"#,
        said: &[r#"200 true {"id":7,"v":1}"#],
        compose: "template: { id: \"{parts.user.body.id}\", v: 1 }, parts: { user: { get: \"s:/user\" } }",
        answer: r#"200 | {"id":7,"v":1} | -"#,
        why: None,
    },
    Case {
        name: "static, if incomplete",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"static": {"strategy": "incomplete", "data": {"orders": []}}}}, "backend": [{"url_pattern": "/user", "allow": ["id"]}, {"url_pattern": "/failing", "group": "orders"}]}"#,
        said: &[r#"200 false {"id":7,"orders":[]}"#],
        compose: "template: { id: \"{parts.user.body.id}\", orders: \"{parts.orders.body}\" }, parts: { user: { get: \"s:/user\" }, orders: { get: \"s:/failing\" } }",
        answer: r#"200 | {"id":7,"orders":null} | user;received-status=200, orders;received-status=500"#,
        why: Some("what is not known is not made up: no orders and no answer about them are not the same"),
    },
    Case {
        name: "static, if all fail",
        krakend: r#"{"extra_config": {"github.com/devopsfaith/krakend/proxy": {"static": {"strategy": "errored", "data": {"v": 1}}}}, "backend": [{"url_pattern": "/failing"}]}"#,
        said: &[r#"200 false {"v":1}"#],
        compose: "template: { orders: \"{parts.orders.body}\", v: 1 }, missing: absent, parts: { orders: { get: \"s:/failing\" } }",
        answer: r#"200 | {"v":1} | orders;received-status=500"#,
        why: None,
    },
    Case {
        name: "neither query nor headers go along unasked",
        krakend: r#"{"backend": [{"url_pattern": "/echo/x"}]}"#,
        said: &[r#"200 true {"auth":null,"url":"/echo/x"}"#],
        compose: "merge: root, parts: { e: { get: \"s:/echo/x\" } }",
        answer: r#"200 | {"url":"/echo/x","auth":null} | -"#,
        why: None,
    },
    Case {
        name: "input_query_strings and input_headers",
        krakend: r#"{"input_query_strings": ["page", "sort"], "input_headers": ["Authorization"], "backend": [{"url_pattern": "/echo/x"}]}"#,
        said: &[r#"200 true {"auth":"Bearer t","url":"/echo/x?page=1"}"#],
        compose: "merge: root, parts: { e: { get: \"s:/echo/x?page={query.page}&sort={query.sort}\", headers: { Authorization: \"{header.Authorization}\" } } }",
        answer: r#"200 | {"url":"/echo/x?page=1","auth":"Bearer t"} | -"#,
        why: None,
    },
];

/// What the services say, by path.
const BODIES: &[(&str, u16, &str, &str)] = &[
    ("/user", 200, "application/json", r#"{"id":7,"name":"Ann","team_id":"core","address":{"city":"Rome","zip":"00100"},"password":"x"}"#),
    ("/orders", 200, "application/json", r#"{"id":99,"total":2,"items":[{"sku":"a","secret":1},{"sku":"b","secret":2}]}"#),
    ("/more", 200, "application/json", r#"{"items":[{"sku":"c"}]}"#),
    ("/list", 200, "application/json", r#"[{"id":1,"secret":1},{"id":2,"secret":2}]"#),
    ("/tags", 200, "application/json", r#"["x","y"]"#),
    ("/wrapped", 200, "application/json", r#"{"data":{"user":{"id":7,"name":"Ann"}},"meta":{"page":1}}"#),
    ("/map", 200, "application/json", r#"{"de":{"name":"Berlin","pop":3},"it":{"name":"Rome","pop":2}}"#),
    ("/numbers", 200, "application/json", r#"{"big":12345678901234567890123,"price":1.10,"b":1,"a":2,"b":3}"#),
    ("/evil", 200, "application/json", r#"{"path":"a/b?x=1"}"#),
    ("/number", 200, "application/json", "5"),
    ("/text", 200, "text/plain", "hello"),
    ("/garbage", 200, "application/json", r#"{"a":"#),
    ("/failing", 500, "application/json", r#"{"error":"boom"}"#),
    ("/absent", 404, "application/json", r#"{"error":"no such user"}"#),
];

fn service() -> Origin {
    Origin::answering(|seen| {
        if seen.target.starts_with("/echo/") {
            let auth = serde_json::to_string(&seen.header("authorization")).unwrap();
            return http::Response::builder().body(format!("{{\"url\":\"{}\",\"auth\":{auth}}}", seen.target)).unwrap();
        }
        let (_, status, kind, body) = BODIES.iter().find(|(path, ..)| *path == seen.target).unwrap();
        let answer: http::Result<Answer> = http::Response::builder().status(*status).header("content-type", *kind).body((*body).to_owned());
        answer.unwrap()
    })
}

#[test]
fn what_krakend_composes_is_composed_here() {
    let (up, slow) = (service(), RawOrigin::start(|mut talk| talk.until_closed()));
    let routes = CASES
        .iter()
        .enumerate()
        .map(|(number, case)| format!("  - {{ name: c{number}, match: {{ path: /{number} }}, compose: {{ {} }} }}\n", case.compose));
    let gateway = Gateway::start(&format!(
        "services:\n  s: {{ targets: [\"http://{}\"] }}\n  slow: {{ targets: [\"http://{}\"] }}\nroutes:\n{}",
        up.address,
        slow.address,
        routes.collect::<String>()
    ));
    for (number, case) in CASES.iter().enumerate() {
        let name = case.name;
        let endpoint: Value = serde_json::from_str(case.krakend).unwrap();
        assert!(endpoint["backend"].is_array(), "{name}");
        let told = gateway.client().get_with(&format!("/{number}?page=1&other=2"), "Authorization: Bearer t\r\n");
        let body = match told.header("content-type") {
            Some("application/problem+json") => {
                let problem = told.json();
                format!("{} {}", problem["part"].as_str().unwrap(), problem["step"].as_str().unwrap())
            }
            _ => told.text(),
        };
        let parts = told.header("tidegate-parts").unwrap_or("-");
        assert_eq!(format!("{} | {body} | {parts}", told.status), case.answer, "{name}");
        let same = |said: &&str| {
            let (status, rest) = said.split_once(' ').unwrap();
            let (complete, said) = rest.split_once(' ').unwrap();
            let json = |text: &str| serde_json::from_str::<Value>(text).ok();
            status == told.status.to_string() && (complete == "true") == (parts == "-") && json(said) == json(&body)
        };
        let is_same = case.said.iter().all(same);
        assert_eq!(is_same, case.why.is_none(), "{name}: {:?}", case.why);
    }
}
