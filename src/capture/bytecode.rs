//! Filters that the kernel runs while it walks its tables: a condition becomes the byte code of inet_diag. Pure.
//!
//! A row that the kernel leaves out costs a fifth of one that it sends. `netlink-packet-sock-diag` knows neither the
//! attribute nor its language, so both are written here, after `inet_diag_bc_audit` and `inet_diag_bc_run` of kernel
//! `net/ipv4/inet_diag.c`.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

use netlink_packet_sock_diag::{AF_INET, AF_INET6};

use crate::model::selection::{EndpointFilter, Selection};
use crate::model::tuple::Network;

/// Which end of a connection a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This end.
    Local,
    /// The peer's.
    Peer,
}

/// What must be true of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The port lies in the range.
    Port(Side, RangeInclusive<u16>),
    /// The address lies in the network. As in [`Network::contains`], an IPv4-mapped address is an IPv4 address.
    Address(Side, Network),
    /// The kernel chose the local port: `!(sk_userlocks & SOCK_BINDPORT_LOCK)`. Always true of TIME-WAIT.
    AutoBound,
    /// The condition is false.
    Not(Box<Condition>),
    /// All are true; of none, true.
    All(Vec<Condition>),
    /// One is true; of none, false.
    Any(Vec<Condition>),
}

impl Condition {
    /// The opposite.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }
}

/// The endpoint filters of a selection, or `None` when it has none. Filters by state and by process are not part of it:
/// states are asked for by their mask, and of processes the kernel's tables know nothing.
#[must_use]
pub fn endpoints_of(selection: &Selection) -> Option<Condition> {
    let mut all = Vec::new();
    for (side, filter) in [(Side::Local, &selection.local), (Side::Peer, &selection.peer)] {
        let EndpointFilter { networks, ports } = filter;
        if !networks.is_empty() {
            all.push(Condition::Any(networks.iter().map(|network| Condition::Address(side, *network)).collect()));
        }
        if !ports.is_empty() {
            all.push(Condition::Any(ports.iter().map(|ports| Condition::Port(side, ports.clone())).collect()));
        }
    }
    (!all.is_empty()).then_some(Condition::All(all))
}

/// Byte code, ready to be the value of `INET_DIAG_REQ_BYTECODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytecode(Vec<u8>);

impl Bytecode {
    /// The code of the condition.
    ///
    /// `None` when there is nothing for the kernel to do: the condition is always true, or its code is longer than a
    /// jump of 16 bits can cross (some thousand networks). The rows must then be picked after they were read, which they
    /// are in any case.
    #[must_use]
    pub fn compile(condition: &Condition) -> Option<Self> {
        let mut program = Program::default();
        program.prepend(condition, REJECT);
        program.into_bytes().map(Self)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

// Codes of operations: `INET_DIAG_BC_*` of kernel `include/uapi/linux/inet_diag.h`.
const BC_JMP: u8 = 1;
const BC_S_GE: u8 = 2;
const BC_S_LE: u8 = 3;
const BC_D_GE: u8 = 4;
const BC_D_LE: u8 = 5;
const BC_AUTO: u8 = 6;
const BC_S_COND: u8 = 7;
const BC_D_COND: u8 = 8;

/// `::ffff:0:0/96`, which IPv4-mapped addresses are written in (RFC 4291 §2.5.5.2).
const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xFFFF, 0, 0);
const MAPPED_PREFIX: u8 = 96;

/// Where a jump goes, in bytes before the end of the program: all jumps lead forward.
type Place = isize;

/// Four bytes behind the end: the kernel takes a row when the code runs out exactly, and refuses it when a jump goes
/// beyond.
const REJECT: Place = -4;

/// The bytes of `struct inet_diag_bc_op`: code (1), yes (1), no (2).
const OP_LEN: usize = 4;

/// A program that is written from its last operation to its first, so that every jump target is known when the jump is
/// written. What is true always goes on to the next operation: the `yes` of an operation is one byte and could not go
/// far.
#[derive(Default)]
struct Program {
    /// The operations, the last first.
    ops: Vec<Op>,
    len: usize,
}

struct Op {
    code: u8,
    no: usize,
    operand: Vec<u8>,
}

impl Program {
    /// Puts the condition before what is there: true goes on to it, false jumps to `fail`.
    fn prepend(&mut self, condition: &Condition, fail: Place) {
        match condition {
            Condition::Port(side, ports) => {
                let (ge, le) = match side {
                    Side::Local => (BC_S_GE, BC_S_LE),
                    Side::Peer => (BC_D_GE, BC_D_LE),
                };
                if *ports.end() < u16::MAX {
                    self.push(le, port_operand(*ports.end()), fail);
                }
                if *ports.start() > 0 {
                    self.push(ge, port_operand(*ports.start()), fail);
                }
            }
            Condition::Address(side, network) => self.prepend_network(*side, network, fail),
            Condition::AutoBound => self.push(BC_AUTO, Vec::new(), fail),
            Condition::Not(inner) => {
                let next = self.here();
                self.push(BC_JMP, Vec::new(), fail);
                self.prepend(inner, next);
            }
            Condition::All(parts) => parts.iter().rev().for_each(|part| self.prepend(part, fail)),
            Condition::Any(parts) => {
                let next = self.here();
                let Some((last, others)) = parts.split_last() else {
                    return self.push(BC_JMP, Vec::new(), fail);
                };
                self.prepend(last, fail);
                for part in others.iter().rev() {
                    let otherwise = self.here();
                    self.push(BC_JMP, Vec::new(), next);
                    self.prepend(part, otherwise);
                }
            }
        }
    }

    /// An IPv4 network matches mapped addresses too, by the kernel's own rule. An IPv6 network would match them as the
    /// IPv6 addresses that they are written as, so they are excluded where the network is wide enough to hold them.
    fn prepend_network(&mut self, side: Side, network: &Network, fail: Place) {
        let code = match side {
            Side::Local => BC_S_COND,
            Side::Peer => BC_D_COND,
        };
        if holds_mapped(network) {
            let next = self.here();
            self.push(BC_JMP, Vec::new(), fail);
            self.push(code, host_operand(IpAddr::V6(MAPPED), MAPPED_PREFIX), next);
        }
        self.push(code, host_operand(network.address(), network.prefix()), fail);
    }

    fn push(&mut self, code: u8, operand: Vec<u8>, fail: Place) {
        self.len += OP_LEN + operand.len();
        let no = self.here().saturating_sub(fail).unsigned_abs();
        self.ops.push(Op { code, no, operand });
    }

    fn here(&self) -> Place {
        self.len.cast_signed()
    }

    fn into_bytes(self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.len);
        for op in self.ops.iter().rev() {
            let yes = u8::try_from(OP_LEN + op.operand.len()).ok()?;
            bytes.extend([op.code, yes]);
            bytes.extend(u16::try_from(op.no).ok()?.to_ne_bytes());
            bytes.extend(&op.operand);
        }
        (!bytes.is_empty()).then_some(bytes)
    }
}

fn holds_mapped(network: &Network) -> bool {
    let IpAddr::V6(address) = network.address() else { return false };
    let differ = address.to_bits() ^ MAPPED.to_bits();
    network.prefix() <= MAPPED_PREFIX && differ.leading_zeros() >= u32::from(network.prefix())
}

/// The second `struct inet_diag_bc_op` of a comparison, whose `no` is the port.
fn port_operand(port: u16) -> Vec<u8> {
    let [a, b] = port.to_ne_bytes();
    vec![0, 0, a, b]
}

/// A `struct inet_diag_hostcond` that looks at no port (-1), and the address.
fn host_operand(address: IpAddr, prefix: u8) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let mut operand = vec![family, prefix, 0, 0];
    operand.extend((-1_i32).to_ne_bytes());
    operand.extend(octets);
    operand
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(condition: &Condition) -> Vec<u8> {
        Bytecode::compile(condition).expect("something to do").as_bytes().to_vec()
    }

    /// `inet_diag_bc_audit` demands it: the `yes` of every operation must lead from one to the next and
    /// end exactly at the end, so that "not AUTO" cannot be one operation whose `yes` rejects.
    #[test]
    fn not_is_a_jump_beyond_the_end() {
        let eight = 8_u16.to_ne_bytes();
        assert_eq!(bytes(&Condition::AutoBound), [[BC_AUTO, 4].as_slice(), &eight].concat());
        let not_auto = [[BC_AUTO, 4].as_slice(), &eight, &[BC_JMP, 4], &eight].concat();
        assert_eq!(bytes(&Condition::AutoBound.negated()), not_auto);
        let any = Condition::Any(vec![Condition::AutoBound, Condition::AutoBound]);
        let expected = [[BC_AUTO, 4].as_slice(), &eight, &[BC_JMP, 4], &eight, &[BC_AUTO, 4], &eight].concat();
        assert_eq!(bytes(&any), expected);
        assert_eq!(bytes(&Condition::Any(vec![])), [[BC_JMP, 4].as_slice(), &eight].concat());
    }

    #[test]
    fn what_is_always_true_or_too_long_is_no_filter() {
        assert_eq!(Bytecode::compile(&Condition::All(vec![])), None);
        assert_eq!(Bytecode::compile(&Condition::Port(Side::Local, 0..=u16::MAX)), None);
        assert_eq!(endpoints_of(&Selection::default()), None);
        let host = |n: u32| Condition::Address(Side::Peer, Network::host(IpAddr::from(n.to_be_bytes())));
        assert!(Bytecode::compile(&Condition::Any((0..3_000).map(host).collect())).is_some());
        assert_eq!(Bytecode::compile(&Condition::Any((0..4_000).map(host).collect())), None);
    }
}
