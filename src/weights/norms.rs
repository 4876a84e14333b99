//! Which layer each batch norm belongs to.

use super::chain::{Block, Known, Weights, count_up};
use super::modules::Module;

/// Assigns each norm to the layer that it follows: by its place, if layers are ordered; by the
/// number in its name; by a common parent with exactly one layer; else by its channels, if no two
/// layers have the same number.
pub(super) fn attach(
    blocks: &mut [Block],
    modules: &[Module],
    known: Known,
    flag: &str,
    assumed: &mut Vec<String>,
) -> Result<(), String> {
    let norms: Vec<&Module> = modules.iter().filter(|m| m.norm_len() > 0).collect();
    let keys: Vec<&str> = modules.iter().map(|module| &*module.key).collect();
    let in_order = known.ordered || count_up(&keys);
    let by_place = || {
        let mut owners = Vec::new();
        let mut owner = None;
        for module in modules {
            match Weights::of(module) {
                Some(_) => owner = blocks.iter().position(|block| block.key == module.key),
                None => owners.push(owner?),
            }
        }
        in_order.then_some(owners)
    };
    let by_number = || {
        let number = |key: &str| {
            let digits = key.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            key[digits..].parse::<usize>().ok()
        };
        let owner = |norm: &&Module| {
            let wanted = norm.number()?;
            blocks.iter().position(|block| number(&block.key) == Some(wanted))
        };
        norms.iter().map(owner).collect::<Option<Vec<usize>>>()
    };
    let by_parent = || {
        let parent = |key: &str| key.rsplit_once('.').map(|(parent, _)| parent.to_owned());
        let owner = |norm: &&Module| {
            let wanted = parent(&norm.key)?;
            let mut owners =
                (0..blocks.len()).filter(|&i| parent(&blocks[i].key).as_ref() == Some(&wanted));
            owners.next().filter(|_| owners.next().is_none())
        };
        norms.iter().map(owner).collect::<Option<Vec<usize>>>()
    };
    let by_channels = || {
        let owner = |norm: &&Module| {
            let len = norm.norm_len();
            let mut owners = (0..blocks.len()).filter(|&i| blocks[i].takes_norm(len));
            owners.next().filter(|_| owners.next().is_none())
        };
        norms.iter().map(owner).collect::<Option<Vec<usize>>>()
    };
    let fits = |owners: &Vec<usize>| {
        let mut seen = vec![false; blocks.len()];
        owners.iter().zip(&norms).all(|(&owner, norm)| {
            !std::mem::replace(&mut seen[owner], true) && blocks[owner].takes_norm(norm.norm_len())
        })
    };
    let by_name = [by_place(), by_number(), by_parent()].into_iter().flatten().find(fits);
    let counted = by_channels().filter(fits).filter(|_| by_name.is_none());
    let Some(owners) = by_name.as_ref().or(counted.as_ref()) else {
        let keys: Vec<&str> = norms.iter().map(|norm| &*norm.key).collect();
        let fit = |norm: &&Module| blocks.iter().any(|block| block.takes_norm(norm.norm_len()));
        return Err(match norms.iter().all(fit) {
            true => format!(
                "neither names nor channels say which layers its batch norms ({}) belong to: {flag} \
                 does, as conv,norm={},relu",
                keys.join(", "),
                keys[0]
            ),
            false => {
                format!("its batch norms ({}) do not fit the layers before them", keys.join(", "))
            }
        });
    };
    let norms: Vec<Module> = norms.into_iter().cloned().collect();
    for (&owner, norm) in owners.iter().zip(norms) {
        if counted.is_some() {
            let (norm, owner) = (&norm.key, &blocks[owner].key);
            assumed.push(format!("{norm} is the norm of {owner}, by its channels ({flag})"));
        }
        blocks[owner].norm = Some(norm);
    }
    Ok(())
}
