//! Invariants of the table.

use super::*;

fn containers() -> impl Iterator<Item = &'static str> {
    ROWS.iter().filter_map(|row| row.name.split_once('|')).map(|(container, _)| container)
}

#[test]
fn rows_are_sorted_and_unique_with_containers_first() {
    let names: Vec<Vec<&str>> = ROWS.iter().map(|row| row.name.split('|').collect()).collect();
    for pair in names.windows(2) {
        assert!(pair[0] < pair[1], "{:?} stands before {:?}", pair[0], pair[1]);
    }
    for container in containers() {
        assert!(ROWS.iter().any(|row| row.name == container), "no row for the container {container}");
    }
}

#[test]
fn names_are_lower_case_and_short_enough_to_be_found() {
    let table = super::super::CommandTable::builtin();
    for row in ROWS {
        assert!(row.name.split('|').count() <= 2, "{}", row.name);
        assert_eq!(row.name, row.name.to_ascii_lowercase());
        assert_eq!(table.find(row.name.as_bytes()).expect(row.name).name, row.name);
        assert_ne!(row.arity, 0, "{}", row.name);
    }
    assert_eq!(table.specs().len(), ROWS.len());
}

#[test]
fn every_movable_function_has_a_row() {
    use Movable::*;
    for function in [Bitfield, Debug, Georadius, GeoradiusByMember, Migrate, Set, Sort, Xread, Zadd] {
        assert!(ROWS.iter().any(|row| row.movable == Some(function)), "{function:?}");
    }
    assert!(ROWS.iter().all(|row| row.movable.is_none() || row.keys.is_empty()), "keys would be ignored");
}

#[test]
fn blocking_rows_never_share_a_link() {
    for row in ROWS.iter().filter(|row| row.flags.contains(BLOCKING)) {
        assert_ne!(row.affinity, Shared, "{}", row.name);
    }
}

#[test]
fn movablekeys_rows_say_how_their_keys_move() {
    for row in ROWS.iter().filter(|row| row.flags.contains(MOVABLEKEYS)) {
        let by_specs = row.keys.iter().any(|spec| {
            matches!((&spec.begin, &spec.find), (Begin::Keyword { .. }, _) | (_, Find::KeyNum { .. }))
        });
        assert!(row.movable.is_some() || by_specs, "{}", row.name);
    }
}

#[test]
fn commands_about_clients_and_users_never_reach_the_upstream() {
    for row in ROWS {
        let about = row.name.starts_with("client") || row.name.starts_with("acl");
        let harmless = ["client|help", "acl|cat", "acl|genpass", "acl|help"].contains(&row.name);
        // What these are about is the link, which is the client's own then.
        let state = [
            "client|caching",
            "client|getredir",
            "client|no-touch",
            "client|tracking",
            "client|trackinginfo",
        ];
        if state.contains(&row.name) {
            assert_eq!(row.affinity, LeasedWhileState, "{}", row.name);
        } else if about && !harmless {
            assert!(matches!(row.affinity, Local | Unavailable), "{}", row.name);
        }
    }
}

#[test]
fn only_four_commands_need_no_authentication() {
    let names: Vec<&str> =
        ROWS.iter().filter(|row| row.flags.contains(NO_AUTH)).map(|row| row.name).collect();
    assert_eq!(names, ["auth", "hello", "quit", "reset"]);
    assert!(ROWS.iter().filter(|row| row.flags.contains(NO_AUTH)).all(|row| row.affinity == Local));
}

#[test]
fn administrative_commands_are_dangerous() {
    for row in ROWS.iter().filter(|row| row.categories.intersects(c::ADMIN)) {
        assert!(row.categories.intersects(c::DANGEROUS), "{}", row.name);
    }
}

#[test]
fn subcommands_never_need_containers_to_carry_keys() {
    for container in containers() {
        let row = ROWS.iter().find(|row| row.name == container).expect(container);
        assert!(row.keys.is_empty() && row.movable.is_none(), "{container}");
    }
}
