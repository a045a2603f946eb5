use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// In what form a JSON body goes on. What is not named stays byte for byte as it came.
///
/// A path is names with dots between them, `address.city`. It goes through arrays by itself: `items.price` is the price of each item. A dot within a name
/// is written `\.`. Every path names the body as it came (below `take`), whatever else is done to it; so the order in which the settings are written does
/// not matter. What is not there is not missed.
///
/// `take` comes first. `pick` and `drop` then say what there is at all; `rename`, `move` and `flatten` put it elsewhere; `wrap` comes last. Where two
/// things would have the same name in the same object, one that was renamed or moved there wins over one that had the name, and that one over one that
/// `flatten` lifted there; of two that were lifted, the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShapeConfig {
    /// Only what is at this path, instead of the whole: `data.user`. Here a step of digits takes one item of an array: `results.0`.
    pub take: Option<String>,
    /// Only what is at these paths. Objects and arrays on the way stay, with nothing else in them; an item that is neither, where a path goes on, is left out.
    pub pick: Vec<String>,
    /// Without what is at these paths.
    pub drop: Vec<String>,
    /// New names, by path: `{ user_id: id, address.zip: postcode }`. The new name is one name, not a path, in the same object and place.
    pub rename: IndexMap<String, String>,
    /// From one path to another: `{ meta.total: total }`. Where both begin alike, that may lead through arrays: `{ items.product.name: items.name }` works in
    /// each item. From there on they lead only through objects; those that are not there are made, and where something else is in the way, the value stays
    /// where it was. It comes behind what is there.
    #[serde(rename = "move")]
    pub moves: IndexMap<String, String>,
    /// Objects at these paths whose members stand one level higher instead, in their place: `[address]`. What is not an object stays.
    pub flatten: Vec<String>,
    /// The whole as the member of an object, or at the end of a path of objects: `profile`, `data.user`.
    pub wrap: Option<String>,
}
