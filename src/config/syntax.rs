use saphyr_parser::{Marker, ScanError};

use super::located::Located;
use super::tree::{Place, Tree};
use crate::building::ConfigPath;

/// A place as the parser gives it, in its first file.
pub fn place(marker: &Marker) -> Place {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place { file: 0, line: number(marker.line()), column: number(marker.col().saturating_add(1)) }
}

/// A text that is not YAML, with what is usually to be done.
pub fn error(tree: &Tree, error: &ScanError) -> Located {
    let reason = format!("this is not valid YAML: {}", error.info());
    tree.error(place(error.marker()), ConfigPath::default(), reason, remedy(error.info()))
}

/// What usually lies behind a message of the parser.
fn remedy(info: &str) -> &'static str {
    let known = [
        ("tab", "indent with spaces"),
        ("mapping values are not allowed", "put a text that contains `: ` in quotes, and check the indentation"),
        ("unknown anchor", "define the anchor (`&name`) above its use, and outside of the value that uses it"),
        ("quoted scalar", "close the quotes, and double each `\\` within double quotes"),
        ("flow", "check that each `[` and `{` is closed and its entries are separated by `,`"),
    ];
    let otherwise = "check the indentation of this line and of those above, and that each key ends with `:`";
    known.iter().find(|(part, _)| info.contains(part)).map_or(otherwise, |(_, fix)| fix)
}
