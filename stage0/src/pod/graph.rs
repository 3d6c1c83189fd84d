//! Which app starts after which: pure.

use std::collections::VecDeque;

use anyhow::{Result, bail};

/// One app, and the apps that it explicitly requires; `None` where nobody said.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// The app's name.
    pub name: &'a str,
    /// What the user or the image says that it requires.
    pub requires: Option<Vec<String>>,
}

/// The apps that each app requires, in the order of `nodes`.
///
/// An app for which nobody said anything requires the one named before it, unless that one
/// requires it.
///
/// # Errors
/// Where a required app is not in the pod, or what was said goes round in a cycle.
pub fn resolve(nodes: &[Node<'_>]) -> Result<Vec<Vec<String>>> {
    let index_of = |name: &str| nodes.iter().position(|node| node.name == name);
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for required in node.requires.iter().flatten() {
            match index_of(required) {
                Some(other) if !edges[index].contains(&other) => edges[index].push(other),
                Some(_) => (),
                None => bail!(
                    "app {} requires the app {required:?}, which the pod has not: name its image, \
                     too, or say --requires= for {}",
                    node.name,
                    node.name
                ),
            }
        }
    }
    if let Some(cycle) = find_cycle(&edges) {
        let names: Vec<_> = cycle.iter().map(|index| nodes[*index].name).collect();
        bail!("the apps form a dependency cycle: {}", names.join(" -> "));
    }
    for (index, node) in nodes.iter().enumerate().skip(1) {
        if node.requires.is_none() && !reaches(&edges, index - 1, index) {
            edges[index].push(index - 1);
        }
    }
    let names = |list: &Vec<usize>| list.iter().map(|i| nodes[*i].name.to_string()).collect();
    Ok(edges.iter().map(names).collect())
}

fn reaches(edges: &[Vec<usize>], from: usize, to: usize) -> bool {
    let mut seen = vec![false; edges.len()];
    let mut open = vec![from];
    while let Some(index) = open.pop() {
        if index == to {
            return true;
        }
        if !std::mem::replace(&mut seen[index], true) {
            open.extend(&edges[index]);
        }
    }
    false
}

/// The shortest cycle through the first app that is in one, that app named again at the end.
fn find_cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let start = (0..edges.len()).find(|start| {
        let mut next = edges[*start].iter();
        next.any(|next| reaches(edges, *next, *start))
    })?;
    let mut seen = vec![false; edges.len()];
    let mut paths = VecDeque::from([vec![start]]);
    while let Some(path) = paths.pop_front() {
        for next in &edges[*path.last()?] {
            let longer: Vec<_> = path.iter().chain([next]).copied().collect();
            if *next == start {
                return Some(longer);
            }
            if !std::mem::replace(&mut seen[*next], true) {
                paths.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve_all(apps: &[(&str, Option<&[&str]>)]) -> Result<Vec<Vec<String>>> {
        let nodes: Vec<_> = apps
            .iter()
            .map(|(name, requires)| Node {
                name,
                requires: requires.map(|list| list.iter().map(|r| r.to_string()).collect()),
            })
            .collect();
        resolve(&nodes)
    }

    #[test]
    fn each_app_requires_the_one_before_it() {
        let edges = resolve_all(&[("a", None), ("b", None), ("c", None)]).unwrap();
        assert_eq!(
            edges,
            [vec![], vec!["a".to_string()], vec!["b".to_string()]]
        );
    }

    #[test]
    fn what_is_said_replaces_the_default() {
        let edges = resolve_all(&[("docker", Some(&["containerd"])), ("containerd", None)]);
        assert_eq!(edges.unwrap(), [vec!["containerd".to_string()], vec![]]);
        let edges = resolve_all(&[("a", None), ("b", Some(&[])), ("c", Some(&["a", "a"]))]);
        assert_eq!(edges.unwrap(), [vec![], vec![], vec!["a".to_string()]]);
    }

    #[test]
    fn defaults_never_close_a_cycle() {
        let apps: &[(&str, Option<&[&str]>)] = &[("a", Some(&["c"])), ("b", None), ("c", None)];
        let edges = resolve_all(apps).unwrap();
        assert_eq!(edges[1], ["a"]);
        assert_eq!(edges[2], [] as [String; 0]);
    }

    #[test]
    fn cycles_and_unknown_apps_are_refused() {
        let message = |apps| format!("{:#}", resolve_all(apps).unwrap_err());
        assert_eq!(
            message(&[("x", None), ("a", Some(&["b"])), ("b", Some(&["a"]))]),
            "the apps form a dependency cycle: a -> b -> a"
        );
        assert_eq!(
            message(&[("a", Some(&["a"]))]),
            "the apps form a dependency cycle: a -> a"
        );
        assert!(message(&[("a", Some(&["b"]))]).starts_with("app a requires the app \"b\""));
    }

    #[test]
    fn cycles_are_found_behind_a_way_into_them() {
        let apps: &[(&str, Option<&[&str]>)] = &[
            ("a", Some(&["d", "b"])),
            ("b", Some(&["c"])),
            ("c", Some(&["a"])),
            ("d", Some(&[])),
        ];
        let error = format!("{:#}", resolve_all(apps).unwrap_err());
        assert!(error.ends_with("a -> b -> c -> a"), "{error}");
        let apps: &[(&str, Option<&[&str]>)] = &[
            ("s", Some(&["x"])),
            ("x", Some(&["y", "s"])),
            ("y", Some(&["x"])),
        ];
        let error = format!("{:#}", resolve_all(apps).unwrap_err());
        assert!(error.ends_with("s -> x -> s"), "{error}");
    }
}
