//! Tables that are Markdown and can be read as they are.

/// A table under construction.
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self(vec![
            columns.iter().map(|&column| column.to_owned()).collect(),
        ])
    }

    /// Adds a row, one cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    /// Prints it: the first column to the left, numbers to the right.
    pub(crate) fn print(&self) {
        let columns = self.0[0].len();
        let widths: Vec<_> = (0..columns)
            .map(|column| self.0.iter().map(|row| row[column].chars().count()).max())
            .map(|width| width.unwrap_or(0).max(3))
            .collect();
        println!();
        for (number, row) in self.0.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate();
            let cells: Vec<_> = cells
                .map(|(column, (cell, &width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            println!("| {} |", cells.join(" | "));
            if number == 0 {
                println!("|:{}|", rule(&widths));
            }
        }
        println!();
    }
}

/// The line below the head, which aligns the columns.
fn rule(widths: &[usize]) -> String {
    let dashes = widths.iter().enumerate().map(|(column, &width)| {
        let end = if column == 0 { "-" } else { ":" };
        "-".repeat(width) + end
    });
    dashes.collect::<Vec<_>>().join("|-")
}
