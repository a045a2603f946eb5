//! Chance that comes out the same each time, and documents and settings made of it.

use serde_json::{Value as Json, json};

pub struct Dice(pub u64);

/// Few, so that paths meet what is there.
pub const NAMES: [&str; 5] = ["a", "b", "c", "d.e", "é\""];

impl Dice {
    /// SplitMix64.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % sides as u64).unwrap()
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    /// A document that a tree can hold.
    pub fn tree(&mut self, deeper: usize) -> Json {
        match self.roll(if deeper == 0 { 4 } else { 10 }) {
            0 => json!(self.roll(1000)),
            1 => json!(self.pick(&["", "x", "é\n\"\\/", "\u{1f600}\u{0}"])),
            2 => json!(null),
            3 => json!(self.roll(2) == 0),
            4 | 5 => (0..self.roll(4)).map(|_| self.tree(deeper - 1)).collect(),
            _ => Json::Object((0..self.roll(6)).map(|_| (self.pick(&NAMES).to_owned(), self.tree(deeper - 1))).collect()),
        }
    }

    fn space(&mut self) -> &'static str {
        self.pick(&["", "", "", " ", "\n\t\r", "           "])
    }

    /// A text with all that a tree cannot hold: white space, names that come twice, numbers and escapes of every form.
    pub fn text(&mut self, deeper: usize, out: &mut String) {
        out.push_str(self.space());
        match self.roll(if deeper == 0 { 3 } else { 7 }) {
            0 => out.push_str(self.pick(&["0", "-0.0", "1e999", "-12.50E-07", "123456789012345678901234567890", "1.000"])),
            1 => out.push_str(self.pick(&["null", "true", "false"])),
            2 => self.string(out),
            3 | 4 => {
                out.push('[');
                for place in 0..self.roll(5) {
                    out.push_str(if place > 0 { "," } else { "" });
                    self.text(deeper - 1, out);
                }
                out.push_str(self.space());
                out.push(']');
            }
            _ => {
                out.push('{');
                for place in 0..self.roll(6) {
                    out.push_str(if place > 0 { "," } else { "" });
                    out.push_str(self.space());
                    self.string(out);
                    out.push_str(self.space());
                    out.push(':');
                    self.text(deeper - 1, out);
                }
                out.push_str(self.space());
                out.push('}');
            }
        }
        out.push_str(self.space());
    }

    fn string(&mut self, out: &mut String) {
        out.push('"');
        for _ in 0..self.roll(3) {
            out.push_str(self.pick(&[
                "a",
                "b",
                "\\u0061",
                "d.e",
                "é",
                "\\\"",
                "\\uD83D\\uDE00",
                "\\ud800",
                "\\/",
                "\u{7f}",
                "long and plain text",
            ]));
        }
        out.push('"');
    }

    pub fn path(&mut self) -> String {
        let steps = 1 + self.roll(3);
        (0..steps).map(|_| self.pick(&["a", "b", "c", "d\\.e", "é\""])).collect::<Vec<_>>().join(".")
    }

    fn paths(&mut self, most: usize) -> Vec<String> {
        (0..self.roll(most + 1)).map(|_| self.path()).collect()
    }

    /// Settings of a shape; not all of them make sense.
    pub fn shape(&mut self) -> Json {
        let mut shape = json!({});
        for (field, sides) in [("take", 6), ("wrap", 6), ("pick", 3), ("drop", 2), ("flatten", 2), ("rename", 2), ("move", 2)] {
            if self.roll(sides) > 0 {
                continue;
            }
            shape[field] = match field {
                "take" | "wrap" => json!(self.path()),
                "rename" => self
                    .paths(2)
                    .into_iter()
                    .map(|path| (path, json!(self.pick(&["a", "b", "new"]))))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
                "move" => self.paths(3).into_iter().map(|path| (path, json!(self.path()))).collect::<serde_json::Map<_, _>>().into(),
                _ => json!(self.paths(3)),
            };
        }
        shape
    }
}
