//! A template, a zero byte, a body: whatever both are, what is written is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::body::json::{Assembly, AssemblyConfig, Bounds, Document, Missing, Out, Shape, check};

fuzz_target!(|input: &[u8]| {
    let Some(middle) = input.iter().position(|byte| *byte == 0) else { return };
    let Ok(template) = serde_json::from_slice(&input[..middle]) else { return };
    let Ok(document) = Document::parse(input[middle + 1..].to_vec(), Bounds::default()) else { return };
    for missing in [Missing::Null, Missing::Absent] {
        let config = AssemblyConfig { template: Some(serde_json::Value::clone(&template)), missing, ..AssemblyConfig::default() };
        let parts = vec![("a", Shape::default()), ("b", Shape::default())];
        let Ok(assembly) = Assembly::build(&config, parts, &mut |name: &str| Ok(name.to_owned())) else { return };
        let mut out = Out::new(1 << 20, 0);
        assembly.write(&[Some(document.root()), None], &|name| (name.len() % 2 == 0).then_some(name.as_str().into()), &mut out);
        let Ok(out) = out.finish() else { return };
        assert_eq!(check(&out, Bounds { bytes: usize::MAX, depth: 512, values: usize::MAX }), Ok(()), "{}", out.escape_ascii());
    }
});
