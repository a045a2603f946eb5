//! The same edits made step by step on a tree, with nothing worked out before: what a shape is compared with.

use serde_json::Value as Json;

use super::super::{Path, ShapeConfig};

enum Tree {
    Leaf(Json),
    Items(Vec<Tree>),
    Object(Vec<Member>),
}

struct Member {
    came: Option<String>,
    name: String,
    rank: usize,
    lift: bool,
    value: Tree,
}

type Names = Vec<String>;

fn names(path: &str) -> Names {
    Path::parse(path).unwrap().names().map(str::to_owned).collect()
}

pub fn edit(config: &ShapeConfig, body: &Json) -> Option<Json> {
    let mut body = body.clone();
    for step in config.take.iter().flat_map(|path| names(path)) {
        body = match body {
            Json::Object(mut members) => members.remove(&step)?,
            Json::Array(items) => items.into_iter().nth(step.parse().ok()?)?,
            _ => return None,
        };
    }
    let list = |paths: &[String]| paths.iter().map(|path| names(path)).collect::<Vec<_>>();
    let mut tree = grow(body);
    if !config.pick.is_empty() {
        tree = pick(tree, &list(&config.pick))?;
    }
    for path in list(&config.drop) {
        each(&mut tree, &path[..path.len() - 1], &mut |members| members.retain(|member| member.came.as_ref() != path.last()));
    }
    let renames: Vec<_> = config.rename.iter().map(|(from, to)| (names(from), names(to)[0].clone())).collect();
    let flattens = list(&config.flatten);
    for (path, to) in &renames {
        each(&mut tree, &path[..path.len() - 1], &mut |members| {
            for member in members.iter_mut().filter(|member| member.came.as_ref() == path.last()) {
                (member.name, member.rank) = (to.clone(), 2);
            }
        });
    }
    for path in &flattens {
        each(&mut tree, &path[..path.len() - 1], &mut |members| {
            for member in members.iter_mut().filter(|member| member.came.as_ref() == path.last()) {
                member.lift = true;
            }
        });
    }
    let mut moves: Vec<_> = config.moves.iter().map(|(from, to)| (names(from), names(to))).collect();
    // What lies deeper leaves before what it lies in does.
    moves.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
    for (from, to) in &moves {
        let common = from.iter().zip(to).take(from.len().min(to.len()) - 1).take_while(|(from, to)| from == to).count();
        each(&mut tree, &from[..common], &mut |members| {
            if !is_free(members, &to[common..to.len() - 1]) {
                return;
            }
            let Some(mut value) = leave(members, &from[common..]) else { return };
            (value.came, value.name, value.rank, value.lift) = (None, to[to.len() - 1].clone(), 2, false);
            let mut object = members;
            for (depth, step) in to.iter().enumerate().take(to.len() - 1).skip(common) {
                let place = object.iter().position(|member| member.came.as_deref() == Some(step)).unwrap_or_else(|| {
                    let path = &to[..=depth];
                    let renamed = renames.iter().find(|(from, _)| from == path).map(|(_, to)| to);
                    let (name, rank) = renamed.map_or((step, 1), |to| (to, 2));
                    let lift = flattens.iter().any(|flatten| flatten == path);
                    object.push(Member { came: Some(step.clone()), name: name.clone(), rank, lift, value: Tree::Object(vec![]) });
                    object.len() - 1
                });
                let Tree::Object(inner) = &mut object[place].value else { return };
                object = inner;
            }
            object.push(value);
        });
    }
    let mut body = settle(tree);
    for name in config.wrap.iter().flat_map(|path| names(path)).rev() {
        body = Json::Object([(name, body)].into_iter().collect());
    }
    Some(body)
}

fn grow(value: Json) -> Tree {
    match value {
        Json::Array(items) => Tree::Items(items.into_iter().map(grow).collect()),
        Json::Object(members) => {
            let member =
                |(name, value): (String, Json)| Member { came: Some(name.clone()), name, rank: 1, lift: false, value: grow(value) };
            Tree::Object(members.into_iter().map(member).collect())
        }
        other => Tree::Leaf(other),
    }
}

/// Does something to the members of every object at a place.
fn each(tree: &mut Tree, path: &[String], act: &mut dyn FnMut(&mut Vec<Member>)) {
    match (tree, path) {
        (Tree::Items(items), _) => items.iter_mut().for_each(|item| each(item, path, act)),
        (Tree::Object(members), []) => act(members),
        (Tree::Object(members), [step, rest @ ..]) => {
            let inner = members.iter_mut().filter(|member| member.came.as_ref() == Some(step));
            inner.for_each(|member| each(&mut member.value, rest, act));
        }
        (Tree::Leaf(_), _) => {}
    }
}

fn pick(tree: Tree, paths: &[Names]) -> Option<Tree> {
    if paths.iter().any(Vec::is_empty) {
        return Some(tree);
    }
    match tree {
        Tree::Leaf(_) => None,
        Tree::Items(items) => Some(Tree::Items(items.into_iter().filter_map(|item| pick(item, paths)).collect())),
        Tree::Object(members) => {
            let picked = members.into_iter().filter_map(|member| {
                let below: Vec<_> =
                    paths.iter().filter(|path| member.came.as_ref() == path.first()).map(|path| path[1..].to_vec()).collect();
                let value = if below.is_empty() { None } else { pick(member.value, &below) };
                value.map(|value| Member { value, ..member })
            });
            Some(Tree::Object(picked.collect()))
        }
    }
}

fn is_free(members: &[Member], way: &[String]) -> bool {
    let [step, rest @ ..] = way else { return true };
    match members.iter().find(|member| member.came.as_ref() == Some(step)).map(|member| &member.value) {
        None => true,
        Some(Tree::Object(inner)) => is_free(inner, rest),
        Some(_) => false,
    }
}

fn leave(members: &mut Vec<Member>, way: &[String]) -> Option<Member> {
    let place = members.iter().position(|member| member.came.as_ref() == way.first())?;
    match (&way[1..], &mut members[place].value) {
        ([], _) => Some(members.remove(place)),
        (rest, Tree::Object(inner)) => leave(inner, rest),
        _ => None,
    }
}

fn settle(tree: Tree) -> Json {
    match tree {
        Tree::Leaf(value) => value,
        Tree::Items(items) => items.into_iter().map(settle).collect(),
        Tree::Object(members) => {
            let mut flat = Vec::new();
            for member in members {
                match (settle(member.value), member.lift) {
                    (Json::Object(inner), true) => flat.extend(inner.into_iter().map(|(name, value)| (name, value, 0))),
                    (value, _) => flat.push((member.name, value, member.rank)),
                }
            }
            // The last of the highest rank is written last.
            flat.sort_by_key(|(_, _, rank)| *rank);
            Json::Object(flat.into_iter().map(|(name, value, _)| (name, value)).collect())
        }
    }
}
