//! Which known key or name was probably meant by an unknown one.

/// What to write instead of `key`, given the names that are known in its place.
///
/// First the keys that continue the unknown one at a `_` (`password` means `password_file` or `password_env`), then
/// the nearest by edits, otherwise all of them.
pub(super) fn advice(key: &str, known: &[&'static str]) -> String {
    let key = key.to_ascii_lowercase().replace('-', "_");
    let stem = key.strip_suffix('s').unwrap_or(&key);
    let continues =
        |name: &str, start: &str| name.strip_prefix(start).is_some_and(|rest| rest.starts_with('_'));
    let longer: Vec<&str> =
        known.iter().copied().filter(|name| continues(name, &key) || continues(name, stem)).collect();
    if !stem.is_empty() && !longer.is_empty() {
        return format!("write {}", list(&longer, " or "));
    }
    let nearest = known.iter().map(|name| (edits(&key, name), *name)).min();
    match nearest {
        // A third of the name may be wrong: `adress` is a slip, `port` for `bind` is another idea.
        Some((edits, name)) if edits <= name.len().div_ceil(3) && edits < key.len() => {
            format!("write `{name}`")
        }
        _ => match ELSEWHERE.iter().find(|(name, _)| *name == key) {
            Some((_, place)) => format!("write {place}"),
            None => format!("known keys are {}", list(known, ", ")),
        },
    }
}

/// Which of `names` was probably meant by `name`, if any is near.
pub fn nearest_name<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let (edits, nearest) = names.into_iter().map(|known| (edits(name, known), known)).min()?;
    // As above, a third may be wrong.
    (edits <= nearest.len().div_ceil(3) && edits < name.len()).then_some(nearest)
}

/// Where keys belong that people write in the wrong place or know from redis.conf.
const ELSEWHERE: [(&str, &str); 12] = [
    ("aclfile", "`file` in `acl`"),
    ("bind", "`bind` in an item of `listeners`"),
    ("host", "the host in `address` or `bind`"),
    ("maxclients", "`maxclients` in `limits`"),
    ("port", "the port in `address` or `bind`"),
    ("rename", "`rename` in `commands`"),
    ("rename_command", "`rename` in `commands`"),
    ("requirepass", "`requirepass_file` or `requirepass_env` in `acl`"),
    ("requirepass_env", "`requirepass_env` in `acl`"),
    ("requirepass_file", "`requirepass_file` in `acl`"),
    ("tls", "`tls` in an item of `listeners` or in `upstream`"),
    ("worker_threads", "`workers` at the top level"),
];

fn list(names: &[&str], separator: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(separator)
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour to make `a` into `b`.
/// Costs the product of the lengths, so a long `a` is not compared at all.
fn edits(a: &str, b: &str) -> usize {
    const MAX_LEN: usize = 64;
    if a.len() > MAX_LEN {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (row, from) in a.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, to) in b.iter().enumerate() {
            let cost = |list: &[usize], at: usize| list.get(at).copied().unwrap_or(usize::MAX / 2);
            let replaced = cost(&last, column) + usize::from(from != *to);
            let mut best = replaced.min(cost(&last, column + 1) + 1).min(cost(&current, column) + 1);
            let swapped = column.checked_sub(1).and_then(|left| b.get(left).map(|before| (left, before)));
            if let Some((left, before)) = swapped
                && previous_a == Some(*to)
                && *before == from
            {
                best = best.min(cost(&before_last, left) + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
        previous_a = Some(from);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_the_key_that_was_meant() {
        let known = ["address", "username", "password_file", "password_env", "tls"];
        for (key, expected) in [
            ("adress", "write `address`"),
            ("Address", "write `address`"),
            ("adrdess", "write `address`"),
            ("user_name", "write `username`"),
            ("password-file", "write `password_file`"),
            ("password", "write `password_file` or `password_env`"),
            ("tsl", "write `tls`"),
            ("passwords", "write `password_file` or `password_env`"),
            ("requirepass", "write `requirepass_file` or `requirepass_env` in `acl`"),
            ("x", "known keys are `address`, `username`, `password_file`, `password_env`, `tls`"),
            ("", "known keys are `address`, `username`, `password_file`, `password_env`, `tls`"),
        ] {
            assert_eq!(advice(key, &known), expected, "{key}");
        }
        assert!(advice(&"a".repeat(100_000), &known).starts_with("known keys"));
    }

    #[test]
    fn slips_find_the_name_that_was_meant() {
        let names = ["admin", "app", "default"];
        for (name, expected) in [
            ("ap", Some("app")),
            ("Admin", Some("admin")),
            ("dfeault", Some("default")),
            ("payroll", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest_name(name, names), expected, "{name}");
        }
        assert_eq!(nearest_name("app", []), None);
    }
}
