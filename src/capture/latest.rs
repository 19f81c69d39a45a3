//! Of several rows for one socket, the latest. Pure.

use std::collections::HashMap;

use crate::attribution::NumberSet;
use crate::model::socket::{PortBinding, SockCookie, SocketKind, SocketRecord};
use crate::model::state::TcpState;

/// Leaves each socket once. The walks are not one moment, and within one walk a socket may move to where the walk has
/// not been; its cookie stays.
pub(super) fn keep_latest(rows: &mut Vec<SocketRecord>, cookies: &[Vec<u64>]) {
    let doubled = doubled(cookies);
    if doubled.is_empty() {
        return;
    }
    let is_doubled = |row: &SocketRecord| row.cookie.filter(|cookie| doubled.binary_search(&cookie.get()).is_ok());
    let mut latest: HashMap<SockCookie, (usize, PortBinding)> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        if let Some(cookie) = is_doubled(row) {
            let (best, binding) = latest.entry(cookie).or_insert((index, row.binding));
            *binding = std::cmp::max_by_key(*binding, row.binding, |told| told.certainty());
            // Of two rows in one state the one with clocks is from the later walk.
            let rank = |row: &SocketRecord| (progress(row.state), row.clocks.is_some());
            if rank(row) >= rank(&rows[*best]) {
                *best = index;
            }
        }
    }
    let mut index = 0;
    rows.retain_mut(|row| {
        let known = is_doubled(row).and_then(|cookie| latest.get(&cookie));
        let keep = known.is_none_or(|(best, _)| *best == index);
        if let (Some((_, binding)), SocketKind::Full) = (known, row.kind) {
            row.binding = *binding;
        }
        index += 1;
        keep
    });
}

/// The cookies that occur more than once, ascending.
fn doubled(cookies: &[Vec<u64>]) -> Vec<u64> {
    let cookies = cookies.iter().flatten().copied();
    let mut seen = NumberSet::for_numbers(cookies.clone());
    let mut doubled: Vec<u64> = cookies.filter(|cookie| !seen.insert(*cookie)).collect();
    doubled.sort_unstable();
    doubled.dedup();
    doubled
}

/// How far in the life of a connection the state is: of two rows for one socket the later is true.
fn progress(state: TcpState) -> u8 {
    match state {
        TcpState::Listen | TcpState::BoundInactive | TcpState::Close | TcpState::SynSent | TcpState::SynRecv => 0,
        TcpState::Established => 1,
        TcpState::CloseWait | TcpState::FinWait1 => 2,
        TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck => 3,
        TcpState::TimeWait => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::pools::tests::socket;
    use crate::model::socket::Clocks;

    fn row(cookie: u64, state: TcpState) -> SocketRecord {
        SocketRecord {
            kind: SocketKind::Full,
            cookie: SockCookie::new(cookie),
            binding: PortBinding::Unknown,
            ..socket(state, "0.0.0.0:0", "0.0.0.0:0")
        }
    }

    #[test]
    fn what_is_surely_known_of_the_port_is_kept() {
        use PortBinding::{Auto, Explicit, Unknown};
        let with = |binding, state| SocketRecord { binding, ..row(1, state) };
        for (first, second, expected) in
            [(Auto, Explicit, Explicit), (Explicit, Auto, Explicit), (Unknown, Auto, Auto), (Auto, Auto, Auto)]
        {
            let mut rows = vec![with(first, TcpState::Established), with(second, TcpState::Established)];
            keep_latest(&mut rows, &[vec![1], vec![1]]);
            assert_eq!(rows, [with(expected, TcpState::Established)]);
        }
        let time_wait = SocketRecord { kind: SocketKind::TimeWait, ..with(Auto, TcpState::TimeWait) };
        let mut rows = vec![with(Explicit, TcpState::Established), time_wait.clone()];
        keep_latest(&mut rows, &[vec![1], vec![1]]);
        assert_eq!(rows, [time_wait], "it keeps no lock of the socket that it was");
    }

    #[test]
    fn of_rows_for_one_socket_the_latest_is_kept() {
        use TcpState::{CloseWait, Established, LastAck, Listen, TimeWait};
        let mut with_clocks = row(4, Established);
        with_clocks.clocks = Some(Clocks { last_data_sent_ms: 1, last_data_recv_ms: 2, last_ack_recv_ms: 3 });
        let mut rows = vec![
            row(1, Established),
            row(2, LastAck),
            row(3, Listen),
            with_clocks.clone(),
            row(1, CloseWait),
            row(4, Established),
            row(2, CloseWait),
            row(5, Established),
            row(1, TimeWait),
        ];
        let cookies = |rows: &[SocketRecord]| {
            rows.iter().filter_map(|row| row.cookie).map(|cookie| cookie.get()).collect::<Vec<_>>()
        };
        let all = cookies(&rows);
        keep_latest(&mut rows, &[all]);
        assert_eq!(rows, [row(2, LastAck), row(3, Listen), with_clocks, row(5, Established), row(1, TimeWait)]);
        let once = rows.clone();
        let all = cookies(&rows);
        keep_latest(&mut rows, &[all]);
        assert_eq!(rows, once);
    }
}
