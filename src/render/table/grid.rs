//! A table that fits its width by leaving columns out. A cell is never cut.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::prose::width_of;

/// Blanks between two columns.
const GAP: u16 = 2;
/// Stands between the two ends of a route; a route that is wider than the page goes on in a second line after it.
const ARROW: &str = " → ";
/// Columns of this rank and below stay as long as they can.
const IMPORTANT: u8 = 1;

/// To which side the cells of a column lean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::render) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A column of a grid.
#[derive(Debug, Clone, Copy)]
pub(in crate::render) struct Column {
    title: &'static str,
    align: Align,
    rank: u8,
}

impl Column {
    /// A column. Rank 0 is always there; of the others, the highest rank is left out first when room is short.
    pub(in crate::render) fn new(title: &'static str, align: Align, rank: u8) -> Self {
        Self { title, align, rank }
    }
}

/// Rows under named columns. The title of the first column is the title of the table.
#[derive(Debug)]
pub(in crate::render) struct Grid {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A grid without rows.
    pub(in crate::render) fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row of one cell for each column.
    pub(in crate::render) fn push(&mut self, row: Vec<String>) {
        debug_assert_eq!(row.len(), self.columns.len(), "a row has a cell for every column");
        self.rows.push(row);
    }

    /// The lines, the titles first. Columns without content are left out, then as many others as the width asks for.
    ///
    /// A few long first cells shall not cost the others a column: they get lines of their own, above their row.
    pub(in crate::render) fn lines(&self, width: Option<u16>) -> Vec<String> {
        let mut shown: Vec<usize> =
            (0..self.columns.len()).filter(|column| *column == 0 || self.has_content(*column)).collect();
        let Some(width) = width.map(usize::from) else {
            return self.draw(&shown, usize::MAX, usize::MAX);
        };
        let widths = self.widths();
        let room = |shown: &[usize]| width.saturating_sub(total(&widths, shown) - widths[0]);
        while widths[0] > room(&shown) && self.drop_one(&mut shown, IMPORTANT) {}
        let important = shown.clone();
        while self.mostly_longer_than(room(&shown)) && self.drop_one(&mut shown, 0) {}
        if self.mostly_longer_than(room(&shown)) {
            // Nearly every row takes lines of its own, however few the columns are: then they may be many again.
            shown = important;
        }
        self.draw(&shown, room(&shown), width)
    }

    fn has_content(&self, column: usize) -> bool {
        self.rows.iter().any(|row| !row[column].is_empty())
    }

    /// Leaves out the least important column whose rank is higher than this.
    fn drop_one(&self, shown: &mut Vec<usize>, rank: u8) -> bool {
        let last = shown.iter().copied().max_by_key(|column| self.columns[*column].rank);
        match last.filter(|column| self.columns[*column].rank > rank) {
            Some(column) => {
                shown.retain(|kept| *kept != column);
                true
            }
            None => false,
        }
    }

    fn widths(&self) -> Vec<usize> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        self.table(&all, usize::MAX).column_max_content_widths().into_iter().map(usize::from).collect()
    }

    fn mostly_longer_than(&self, room: usize) -> bool {
        self.rows.iter().filter(|row| width_of(&row[0]) > room).count() * 2 > self.rows.len()
    }

    fn draw(&self, shown: &[usize], room: usize, width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for (nth, line) in self.table(shown, room).lines().enumerate() {
            let long = nth.checked_sub(1).and_then(|row| self.rows.get(row)).filter(|row| width_of(&row[0]) > room);
            lines.extend(long.into_iter().flat_map(|row| fold(&row[0], width)));
            lines.push(line.trim_end().to_owned());
        }
        lines
    }

    fn table(&self, shown: &[usize], room: usize) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING).force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(shown.iter().map(|column| self.columns[*column].title));
        for row in &self.rows {
            let cell = |column: &usize| if *column == 0 && width_of(&row[0]) > room { "" } else { &row[*column] };
            table.add_row(shown.iter().map(cell));
        }
        for (place, column) in shown.iter().enumerate() {
            let gap = if place + 1 == shown.len() { 0 } else { GAP };
            if let Some(drawn) = table.column_mut(place) {
                drawn.set_padding((0, gap)).set_cell_alignment(match self.columns[*column].align {
                    Align::Left => CellAlignment::Left,
                    Align::Right => CellAlignment::Right,
                });
            }
        }
        table
    }
}

fn total(widths: &[usize], shown: &[usize]) -> usize {
    shown.iter().map(|column| widths[*column]).sum::<usize>() + usize::from(GAP) * shown.len().saturating_sub(1)
}

/// A route in one line, or in two that part at its arrow when it is wider than the page.
fn fold(cell: &str, width: usize) -> Vec<String> {
    match cell.split_once(ARROW) {
        Some((from, to)) if width_of(cell) > width => vec![format!("{from} →"), format!("    {to}")],
        _ => vec![cell.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(rows: &[[&str; 4]]) -> Grid {
        let mut grid = Grid::new(vec![
            Column::new("ROUTES", Align::Left, 0),
            Column::new("used", Align::Right, 0),
            Column::new("mostly", Align::Left, 1),
            Column::new("unit", Align::Left, 2),
        ]);
        for row in rows {
            grid.push(row.iter().map(|cell| (*cell).to_owned()).collect());
        }
        grid
    }

    #[test]
    fn the_least_important_columns_go_first_and_empty_ones_at_once() {
        let grid = grid(&[["  a → b", "10", "CLOSE-WAIT", ""], ["  c → d", "2,000", "ESTAB", ""]]);
        assert_eq!(grid.lines(None), ["ROUTES    used  mostly", "  a → b     10  CLOSE-WAIT", "  c → d  2,000  ESTAB"]);
        assert_eq!(grid.lines(Some(20)), ["ROUTES    used", "  a → b     10", "  c → d  2,000"]);
    }

    #[test]
    fn a_long_route_has_lines_of_its_own_and_is_never_cut() {
        let long = "  fd00::1111:2222 → [fd00::3333:4444]:443";
        let grid = grid(&[[long, "10", "ESTAB", "x.service"], ["  a → b", "2,000", "LISTEN", ""]]);
        assert_eq!(
            grid.lines(Some(41)),
            ["ROUTES    used  mostly", long, "            10  ESTAB", "  a → b  2,000  LISTEN",]
        );
        assert_eq!(grid.lines(Some(30))[1..3], ["  fd00::1111:2222 →", "    [fd00::3333:4444]:443"]);
    }
}
