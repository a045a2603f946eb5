use crate::building::BuildError;

/// What a template is made of, before anybody knows which variables there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// Text, with its double braces made single.
    Text(String),
    /// What stands in braces.
    Variable(&'t str),
}

/// Takes a template apart. `{{` and `}}` stand for braces.
///
/// # Errors
/// A brace without its partner.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, BuildError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
            literal.push_str(from.get(..1).unwrap_or_default());
            rest = after;
            continue;
        }
        let Some((name, after)) = from.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
            return Err(BuildError::new(format!("`{text}` has a brace without its partner"), "write `{{` or `}}` for a brace itself"));
        };
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Variable(name));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}
