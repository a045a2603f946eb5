//! Settings, a zero byte, a body: whatever both are, what is written is JSON, and nothing that was dropped is in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::body::json::{Bounds, Document, Path, Shape, ShapeConfig, check};
use tidegate_fuzz::shaped;

fuzz_target!(|input: &[u8]| {
    let Some(middle) = input.iter().position(|byte| *byte == 0) else { return };
    let Ok(config) = serde_json::from_slice::<ShapeConfig>(&input[..middle]) else { return };
    let Ok(document) = Document::parse(input[middle + 1..].to_vec(), Bounds::default()) else { return };
    let Ok(shape) = Shape::build(&config) else { return };
    let Some(out) = shaped(&shape, &document) else { return };
    let bounds = Bounds { bytes: usize::MAX, depth: 512, values: usize::MAX };
    assert_eq!(check(&out, bounds), Ok(()), "{}", out.escape_ascii());
    if config.rename.is_empty() && config.moves.is_empty() && config.flatten.is_empty() && config.wrap.is_none() {
        let written = Document::parse(out, bounds).unwrap();
        for path in &config.drop {
            // A step of digits may lead to an item here, which `drop` does not mean.
            if !path.split('.').any(|step| step.bytes().all(|byte| byte.is_ascii_digit())) {
                assert!(written.root().find(&Path::parse(path).unwrap()).is_none());
            }
        }
    }
});
