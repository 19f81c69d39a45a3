//! What several namespaces lack alike, told once.

use crate::model::snapshot::{Gap, Namespace};

/// Of many namespaces, so many are named.
const NAMED: usize = 4;

/// The gaps of each of these namespaces, in their order, as gaps of the host. Of a single namespace nobody needs to be told
/// the name.
pub(super) fn fold_all(namespaces: &[Namespace], gaps: Vec<Vec<Gap>>) -> Vec<Gap> {
    match namespaces {
        [] | [_] => gaps.into_iter().flatten().collect(),
        several => fold(several.iter().map(|namespace| namespace.id.name.clone()).zip(gaps).collect(), "in"),
    }
}

/// The gaps of each namespace, by its name, as gaps of the host: the same of several becomes one that counts them together
/// and names the first. `link` stands between the thing and the namespace: `ports in namespace blue`.
pub(super) fn fold(of_namespaces: Vec<(String, Vec<Gap>)>, link: &str) -> Vec<Gap> {
    let mut folded: Vec<(Gap, Vec<String>)> = Vec::new();
    for (name, gaps) in of_namespaces {
        for gap in gaps {
            let alike = |(other, _): &&mut (Gap, Vec<String>)| {
                (&other.what, &other.why, other.hides) == (&gap.what, &gap.why, gap.hides)
            };
            match folded.iter_mut().find(alike) {
                Some((other, names)) => {
                    other.count += gap.count;
                    if names.last() != Some(&name) {
                        names.push(name.clone());
                    }
                }
                None => folded.push((gap, vec![name.clone()])),
            }
        }
    }
    folded
        .into_iter()
        .map(|(gap, names)| Gap { what: format!("{} {link} {}", gap.what, namespaces(&names)), ..gap })
        .collect()
}

/// `namespace blue`, `3 namespaces (blue, green, red)`.
fn namespaces(names: &[String]) -> String {
    let more = if names.len() > NAMED { ", …" } else { "" };
    match names {
        [name] => format!("namespace {name}"),
        _ => format!("{} namespaces ({}{more})", names.len(), names[..names.len().min(NAMED)].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::snapshot::Hides;

    #[test]
    fn what_several_lack_is_told_once() {
        let lack = |what: &str, count| Gap { what: what.to_owned(), why: "x".to_owned(), hides: Hides::Ports, count };
        let names = ["a", "b", "c", "d", "e"];
        let mut all: Vec<_> = names.map(|name| (name.to_owned(), vec![lack("ports", 2)])).into();
        all[1].1.push(lack("ages", 1));
        all[1].1.push(lack("ages", 1));
        let told: Vec<_> = fold(all, "in").into_iter().map(|gap| (gap.what, gap.count)).collect();
        let expected = [("ports in 5 namespaces (a, b, c, d, …)", 10), ("ages in namespace b", 2)];
        assert_eq!(told, expected.map(|(what, count)| (what.to_owned(), count)));
    }
}
