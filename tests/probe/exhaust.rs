//! `probe exhaust`: what is predicted is what comes, in ranges of every size.

use crate::{assert_confirmed, has_namespaces, outcome, outcome_for_nobody, probe};

fn exhaust(range: &str) -> (u64, u64, u64, u64) {
    let outcome = outcome(probe(&["exhaust", "--range", range]));
    assert_confirmed(&outcome);
    let number = |name: &str| outcome.0[name].as_u64().unwrap_or_else(|| panic!("{name}: {:#}", outcome.0));
    (number("predicted"), number("predicted_at_least"), number("observed"), number("recovered"))
}

#[test]
fn in_an_even_range_the_prediction_is_met_to_the_port() {
    const TEST: &str = "exhaust::in_an_even_range_the_prediction_is_met_to_the_port";
    if !has_namespaces(TEST) {
        return;
    }
    for (range, ports) in [
        ("40000-40001", 2),
        ("40000-40009", 10),
        ("1024-1043", 20),
        ("65434-65533", 100),
        // The usual port of the server lies in these.
        ("8001-8200", 200),
        ("8086-8285", 200),
        ("32768-33267", 500),
        ("10000-11999", 2000),
    ] {
        assert_eq!(exhaust(range), (ports, ports, ports, ports), "{range}");
    }
}

/// The kernel hides one end of it, and which one cannot be told beforehand.
#[test]
fn in_an_odd_range_the_two_bounds_are_met() {
    const TEST: &str = "exhaust::in_an_odd_range_the_two_bounds_are_met";
    if !has_namespaces(TEST) {
        return;
    }
    for (range, ports) in [("40000-40002", 3), ("40000-40100", 101)] {
        let (predicted, at_least, observed, recovered) = exhaust(range);
        assert_eq!((predicted, at_least), (ports, ports - 1), "{range}");
        assert!((at_least..=predicted).contains(&observed), "{range}: {observed}");
        assert!((at_least..=predicted).contains(&recovered), "{range}: {recovered}");
    }
}

#[test]
fn a_user_without_privilege_may_do_it_too() {
    const TEST: &str = "exhaust::a_user_without_privilege_may_do_it_too";
    if !has_namespaces(TEST) {
        return;
    }
    let Some(outcome) = outcome_for_nobody(TEST, &["exhaust", "--range", "40000-40099"]) else { return };
    assert_confirmed(&outcome);
    assert_eq!((&outcome.0["predicted"], &outcome.0["observed"]), (&100.into(), &100.into()));
}
