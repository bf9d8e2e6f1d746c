//! A chart: two axes with units, and what is drawn over them.

use std::fmt::{self, Write as _};

use super::scale::{Range, Scale};
use super::{escape, text};

/// Size in the units of the picture: a third of a wide page, and a narrow one.
const WIDTH: usize = 400;
const HEIGHT: usize = 236;
const LEFT: usize = 46;
const RIGHT: usize = 14;
const TOP: usize = 22;
const BOTTOM: usize = 38;

/// What an axis shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis<'a> {
    /// With its unit.
    pub(crate) label: &'a str,
    pub(crate) scale: Scale,
}

/// How points are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Line,
    Dots,
}

/// Points of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Series<'a> {
    pub(crate) name: &'a str,
    pub(crate) mark: Mark,
    pub(crate) points: Vec<(f64, f64)>,
}

impl<'a> Series<'a> {
    /// Points joined by a line.
    pub(crate) fn line(name: &'a str, points: Vec<(f64, f64)>) -> Self {
        Self { name, mark: Mark::Line, points }
    }

    /// Points by themselves.
    pub(crate) fn dots(name: &'a str, points: Vec<(f64, f64)>) -> Self {
        Self { name, mark: Mark::Dots, points }
    }
}

/// A picture with a heading and a legend, as an HTML `figure`. The page has the colours: `.c0`, `.c1`, and so on.
#[derive(Debug, Clone)]
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: Axis<'a>,
    pub(crate) y: Axis<'a>,
    pub(crate) series: Vec<Series<'a>>,
    /// A stretch of the x axis that stands out.
    pub(crate) band: Option<(f64, f64)>,
}

impl Chart<'_> {
    /// The figure. Without any point it says that nothing was seen.
    pub(crate) fn html(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("writing to a string does not fail");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let shown: Vec<(usize, &Series<'_>)> =
            self.series.iter().enumerate().filter(|(_, series)| !series.points.is_empty()).collect();
        write!(out, "<figure><figcaption><b>{}</b>", escape(self.title))?;
        for (color, series) in shown.iter().filter(|_| self.series.len() > 1) {
            write!(out, "<span class=\"k c{color}\">{}</span>", escape(series.name))?;
        }
        writeln!(out, "</figcaption>")?;
        let title = escape(self.title);
        writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">")?;
        if shown.is_empty() {
            text(out, "s", LEFT, HEIGHT / 2, "Nothing was seen in this run.")?;
        } else {
            self.draw(out, &shown)?;
        }
        writeln!(out, "</svg></figure>")
    }

    fn draw(&self, out: &mut String, shown: &[(usize, &Series<'_>)]) -> fmt::Result {
        let points = || shown.iter().flat_map(|(_, series)| series.points.iter());
        let mut x = Range::over(self.x.scale, points().map(|point| point.0));
        if self.x.scale == Scale::Linear {
            // Time ends with the run and not at a round number.
            let ends = points().map(|point| point.0).chain(self.band.map(|band| band.1));
            x = Range::exactly(0.0, ends.fold(0.0, f64::max));
        }
        let y = Range::over(self.y.scale, points().map(|point| point.1));
        let across = |value: f64| LEFT as f64 + x.place(value) * (WIDTH - LEFT - RIGHT) as f64;
        let up = |value: f64| (HEIGHT - BOTTOM) as f64 - y.place(value) * (HEIGHT - TOP - BOTTOM) as f64;

        if let Some((from, until)) = self.band {
            let (left, width) = (across(from), across(until) - across(from));
            let height = HEIGHT - TOP - BOTTOM;
            writeln!(
                out,
                "<rect class=\"band\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>"
            )?;
        }
        for (value, name) in y.ticks() {
            let at = up(value);
            writeln!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{}\"/>", WIDTH - RIGHT)?;
            writeln!(out, "<text class=\"e\" x=\"{}\" y=\"{:.1}\">{name}</text>", LEFT - 6, at + 4.0)?;
        }
        let bottom = HEIGHT - BOTTOM;
        let mut written_to = f64::NEG_INFINITY;
        for (value, name) in x.ticks() {
            let at = across(value);
            writeln!(out, "<path class=\"grid\" d=\"M{at:.1} {bottom}v4\"/>")?;
            // Names that would run into each other are left out.
            let half = name.chars().count() as f64 * 3.2;
            if at - half > written_to + 4.0 && at + half < (WIDTH - 1) as f64 {
                writeln!(out, "<text class=\"m\" x=\"{at:.1}\" y=\"{}\">{name}</text>", bottom + 16)?;
                written_to = at + half;
            }
        }
        writeln!(out, "<path class=\"axis\" d=\"M{LEFT} {bottom}H{}\"/>", WIDTH - RIGHT)?;
        text(out, "s", 4, 12, self.y.label)?;
        let label = escape(self.x.label);
        writeln!(out, "<text class=\"s e\" x=\"{}\" y=\"{}\">{label}</text>", WIDTH - RIGHT, HEIGHT - 5)?;
        for (color, series) in shown {
            let places = series.points.iter().map(|(x, y)| (across(*x), up(*y)));
            match series.mark {
                Mark::Line => {
                    write!(out, "<path class=\"l c{color}\" d=\"")?;
                    for (n, (x, y)) in places.enumerate() {
                        write!(out, "{}{x:.1} {y:.1}", if n == 0 { 'M' } else { 'L' })?;
                    }
                    writeln!(out, "\"/>")?;
                }
                Mark::Dots => {
                    // A line of no length with round ends is a dot, in the fewest bytes.
                    write!(out, "<path class=\"d c{color}\" d=\"")?;
                    for (x, y) in places {
                        write!(out, "M{x:.1} {y:.1}h0")?;
                    }
                    writeln!(out, "\"/>")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(series: Vec<Series<'_>>) -> String {
        let axis = |label| Axis { label, scale: Scale::Linear };
        Chart { title: "A & B", x: axis("time, s"), y: axis("ms"), series, band: Some((2.0, 10.0)) }.html()
    }

    #[test]
    fn points_stand_where_their_values_are() {
        let html = chart(vec![Series::line("a", vec![(0.0, 0.0), (5.0, 50.0), (10.0, 100.0)])]);
        assert!(html.contains("d=\"M46.0 198.0L216.0 110.0L386.0 22.0\""), "{html}");
        assert!(
            html.contains("A &amp; B") && html.contains(">ms</text>") && html.contains(">time, s</text>")
        );
        assert!(html.contains("class=\"band\" x=\"114.0\""), "two of ten seconds in");
    }

    #[test]
    fn several_series_have_a_legend_and_keep_their_colours() {
        let html = chart(vec![Series::line("gone", vec![]), Series::dots("seen", vec![(1.0, 1.0)])]);
        assert!(html.contains("<span class=\"k c1\">seen</span>") && !html.contains("gone"), "{html}");
        assert!(html.contains("class=\"d c1\""));
    }

    #[test]
    fn a_chart_without_points_says_so() {
        assert!(chart(vec![Series::line("a", vec![])]).contains("Nothing was seen"));
    }
}
