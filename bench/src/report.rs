//! Tables of samples, as Markdown and as JSON.

use std::fmt::Write as _;
use std::fs;

use serde::Serialize;

use crate::process::Cores;

/// Everything that was measured, and how.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The machine: processor, cores, kernel.
    pub machine: String,
    /// Who ran where, how often and how long.
    pub method: String,
    /// The figures.
    pub tables: Vec<Table>,
}

/// One table.
#[derive(Debug, Serialize)]
pub struct Table {
    /// Its heading.
    pub title: String,
    /// Headings of the columns behind the first one, with units.
    pub columns: Vec<&'static str>,
    /// The rows.
    pub rows: Vec<Row>,
    /// What a reader has to know.
    pub notes: Vec<String>,
}

/// One row.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub label: String,
    /// One for each column.
    pub cells: Vec<Samples>,
}

/// The samples of one figure, one for each round.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Samples(pub Vec<f64>);

impl Report {
    /// A report without tables. `plan`: how much is measured, in words.
    pub fn new(cores: &Cores, plan: &str) -> Self {
        Self {
            machine: machine(),
            method: format!("{}; {plan}", cores.describe()),
            tables: Vec::new(),
        }
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let mut out = format!("{}.\n{}.\n", self.machine, self.method);
        for table in &self.tables {
            out.push('\n');
            out.push_str(&table.markdown());
        }
        out
    }

    /// For programs: all samples.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

impl Table {
    /// An empty table.
    pub fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, label: impl Into<String>, cells: Vec<Samples>) {
        self.rows.push(Row {
            label: label.into(),
            cells,
        });
    }

    /// The samples in this column of the row with this label.
    pub fn cell(&self, label: &str, column: &str) -> Option<&Samples> {
        let column = self.columns.iter().position(|name| *name == column)?;
        self.rows.iter().find(|row| row.label == label)?.cells.get(column)
    }

    fn markdown(&self) -> String {
        let mut out = format!("### {}\n\n| | {} |\n", self.title, self.columns.join(" | "));
        out.push_str(&"|---".repeat(self.columns.len() + 1));
        out.push_str("|\n");
        for row in &self.rows {
            let cells: Vec<String> = row.cells.iter().map(Samples::show).collect();
            // Writing to a string does not fail.
            let _ = writeln!(out, "| {} | {} |", row.label, cells.join(" | "));
        }
        for note in &self.notes {
            let _ = write!(out, "\n{note}\n");
        }
        out
    }
}

impl Samples {
    /// The figures `figure` of what was measured.
    pub fn of<T>(measured: &[T], figure: impl Fn(&T) -> f64) -> Self {
        Self(measured.iter().map(figure).collect())
    }

    /// Round by round, this by the other one: noise that hits both in a round cancels out.
    #[must_use]
    pub fn by(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(this, other)| this / other)
                .collect(),
        )
    }

    /// The middle one, or the mean of the middle two; 0 without samples.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match (sorted.get(middle), sorted.len() % 2) {
            (Some(value), 1) => *value,
            (Some(value), _) => f64::midpoint(*value, sorted[middle - 1]),
            (None, _) => 0.0,
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// `median [least–most]`.
    fn show(&self) -> String {
        let sorted = self.sorted();
        match (sorted.first(), sorted.last()) {
            (Some(first), Some(last)) if sorted.len() > 1 => {
                format!("{} [{}–{}]", number(self.median()), number(*first), number(*last))
            }
            (Some(only), _) => number(*only),
            _ => "–".to_owned(),
        }
    }
}

/// Three digits, or all before the point, those in groups.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let processor = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.to_owned());
    // All of them, not only those that this thread may use.
    let cores = processors
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{processor}, {cores} cores, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let (these, others) = (Samples(vec![3.0, 1.0, 2.0]), Samples(vec![6.0, 4.0, 2.0]));
        assert_eq!((these.median(), Samples(vec![1.0, 2.0]).median()), (2.0, 1.5));
        assert_eq!(these.by(&others), Samples(vec![0.5, 0.25, 1.0]));
        assert!(Samples::default().median().abs() < f64::EPSILON);
    }

    #[test]
    fn numbers_are_readable() {
        for (value, text) in [
            (1_234_567.8, "1,234,568"),
            (123.4, "123"),
            (-1234.0, "-1,234"),
            (12.34, "12.3"),
            (0.815, "0.81"),
            (0.0, "0.00"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_table_is_markdown_and_its_cells_are_found() {
        let mut table = Table::new("Speed", &["a", "b"]);
        table.row("x", vec![Samples(vec![1.0, 3.0, 2.0]), Samples(vec![1000.0])]);
        table.notes.push("Note.".to_owned());
        let expected = "### Speed\n\n| | a | b |\n|---|---|---|\n| x | 2.00 [1.00–3.00] | 1,000 |\n\nNote.\n";
        assert_eq!(table.markdown(), expected);
        assert_eq!(table.cell("x", "b"), Some(&Samples(vec![1000.0])));
        assert_eq!(table.cell("y", "b"), None);
    }
}
