//! Every decoder of bytes that come from elsewhere. The first byte chooses one; the rest is what it reads.
//!
//! Each find becomes a file in `fixtures/fuzz`, which `cargo test` reads with this very function.

use closewatch::capture::from;
use closewatch::capture::inet_diag::Decoder;
use closewatch::capture::proc_net::parse_proc_net_tcp;
use closewatch::capture::recording::frame::{Kind, Writer};
use closewatch::census::Query;
use closewatch::diagnosis::policy::Policy;
use closewatch::model::past::Past;
use closewatch::model::selection::Selection;
use closewatch::model::snapshot::Snapshot;
use closewatch::model::socket::NetNsIndex;
use closewatch::model::tuple::Family;
use closewatch::render::{Color, Detail, Format, Page, render};
use closewatch::report;

/// The sequence number of the datagrams in `fixtures/wire`.
const SEQUENCE_OF_FIXTURES: u32 = 7;

/// Reads the bytes; what they mean does not matter, only that nothing panics.
pub fn anything(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    match choice {
        b'f' => file(data),
        b'r' => file(&recording_of(data)),
        b'4' => table(data, Family::V4),
        b'6' => table(data, Family::V6),
        b'n' => {
            // An answer to another request is an error.
            let _ = Decoder::new(NetNsIndex(0), SEQUENCE_OF_FIXTURES).take(data);
        }
        _ => {}
    }
}

/// A recording, or the saved text of another program.
fn file(bytes: &[u8]) {
    if let Ok(snapshot) = from::read(bytes, std::time::SystemTime::UNIX_EPOCH, None) {
        report_on(&snapshot);
    }
}

fn table(text: &[u8], family: Family) {
    // Memory can be read.
    let _ = parse_proc_net_tcp(text, family, NetNsIndex(0));
}

/// A recording with the right checksums, which no fuzzer would find: `@` and four letters begin a section.
pub fn recording_of(text: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut counts: Vec<([u8; 4], u32)> = Vec::new();
    for section in text.split(|byte| *byte == b'@') {
        let Some((kind, lines)) = section.split_first_chunk::<4>() else { continue };
        let lines = lines.strip_prefix(b"\n").unwrap_or(lines);
        let first = counts.iter().find(|(name, _)| name == kind).map_or(0, |(_, count)| *count);
        // What is too large is left out.
        let _ = writer.section(Kind(*kind), first, lines);
        counts.retain(|(name, _)| name != kind);
        counts.push((*kind, first + lines.split(|byte| *byte == b'\n').count() as u32));
    }
    writer.finish()
}

fn report_on(snapshot: &Snapshot) {
    let policy = Policy::default();
    let query = Query {
        selection: Selection::default(),
        port_ranges: Vec::new(),
        stuck_after: policy.stuck_after,
        snat_limit: None,
    };
    let past = Past::default();
    let report = report::build(snapshot, &query, &past, &policy);
    let page = Page { width: Some(100), color: Color::Off, detail: Detail::Full };
    for format in [Format::Table, Format::Json] {
        // A year that no calendar has is an error.
        let _ = render(&report, format, &page, &mut Vec::new());
    }
}
