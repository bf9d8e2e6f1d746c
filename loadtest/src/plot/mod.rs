//! Pictures as SVG text, without a library: line and dot charts, and bars. Pure.
//!
//! - [`Chart`]: axes with units, lines, steps and dots. [`Scale`]: linear, logarithmic, or percentiles.
//! - [`bars`]: rows of bars, each with its name and value.

mod chart;
mod scale;

use std::fmt::{self, Write as _};

pub(crate) use chart::{Axis, Chart, Series};
pub(crate) use scale::Scale;

/// Text for SVG and HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A line of text.
pub(crate) fn text(out: &mut String, class: &str, x: usize, y: usize, text: &str) -> fmt::Result {
    writeln!(out, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escape(text))
}

/// One row of [`bars`].
pub(crate) struct Bar<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: Option<f64>,
    /// The value as it is written behind the bar.
    pub(crate) shown: String,
    pub(crate) class: &'a str,
}

/// Where rows of bars stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BarPlace {
    pub(crate) top: usize,
    /// Where names begin.
    pub(crate) names: usize,
    /// Where bars begin.
    pub(crate) left: usize,
    /// Length of the longest bar; its value is written behind it.
    pub(crate) longest: usize,
}

/// Height of a bar, and from one row to the next.
const BAR: usize = 20;
pub(crate) const BAR_ROW: usize = 28;

/// Rows of bars, the longest of which is the largest value.
pub(crate) fn bars(out: &mut String, place: BarPlace, bars: &[Bar<'_>]) -> fmt::Result {
    let BarPlace { top, names, left, longest } = place;
    let largest = bars.iter().filter_map(|bar| bar.value).fold(0.0, f64::max);
    for (row, bar) in bars.iter().enumerate() {
        let y = top + row * BAR_ROW;
        let share = bar.value.filter(|_| largest > 0.0).map_or(0.0, |value| (value / largest).max(0.0));
        let length = (longest as f64 * share).max(1.0);
        text(out, "", names, y + 15, bar.name)?;
        let class = bar.class;
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"3\"/>"
        )?;
        text(out, "", left + length as usize + 8, y + 15, &bar.shown)?;
    }
    Ok(())
}
