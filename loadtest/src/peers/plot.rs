//! The comparison as one picture: three sets of bars in an SVG file that needs nothing else. Pure.

use std::fmt::{self, Write as _};

use super::figures::{Comparison, Figures};
use super::table::show;
use crate::plot::{BAR_ROW, Bar, BarPlace, bars, text};

const WIDTH: usize = 760;
const LEFT: usize = 130;
const RIGHT: usize = 90;
const TOP: usize = 64;
const PANEL_HEADING: usize = 34;
const PANEL_GAP: usize = 22;

/// Heading, decimals and value of each set of bars.
const PANELS: [(&str, usize, Panel); 4] = [
    ("Server CPU for each forwarded packet, µs", 1, |f| f.cpu_us_per_packet),
    ("Server memory for each call, kB", 0, |f| Some(f.memory_kb_per_call)),
    ("Added latency, p50, ms", 2, |f| f.latency_p50_ms),
    ("Added latency, p99, ms", 2, |f| f.latency_p99_ms),
];

type Panel = fn(&Figures) -> Option<f64>;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#222}.h{font-weight:600}.t{font-size:16px;font-weight:600}\
    .s{fill:#666;font-size:12px}.b{fill:#8a99ad}.o{fill:#1d6fd1}.g{fill:#fff}\
    @media(prefers-color-scheme:dark){text{fill:#e6e6e6}.s{fill:#a0a0a0}.b{fill:#66758a}.o{fill:#5aa2f5}.g{fill:#16181c}}";

/// The picture of a comparison.
pub(crate) fn svg(comparison: &Comparison) -> String {
    let mut out = String::new();
    write_svg(&mut out, comparison).expect("writing to a string does not fail");
    out
}

fn write_svg(out: &mut String, c: &Comparison) -> fmt::Result {
    let rows: Vec<(&str, &Figures)> = c.measured().collect();
    let panel = PANEL_HEADING + rows.len() * BAR_ROW + PANEL_GAP;
    let height = TOP + PANELS.len() * panel;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\
         <style>{STYLE}</style><rect class=\"g\" width=\"100%\" height=\"100%\"/>"
    )?;
    let title =
        format!("{} two-party calls, {} packets a second, one server core", c.load.calls, c.offered());
    text(out, "t", 16, 28, &title)?;
    let machine = &c.machine;
    let under =
        format!("{}, {} cores, Linux {}; lower is better", machine.cpu, machine.cores, machine.kernel);
    text(out, "s", 16, 48, &under)?;
    for (index, (heading, decimals, value)) in PANELS.iter().enumerate() {
        let top = TOP + index * panel;
        text(out, "h", 16, top + 20, heading)?;
        let row = |&(name, figures): &(&'static str, &Figures)| {
            let value = value(figures);
            let class = if name == "duocast" { "o" } else { "b" };
            Bar { name, value, shown: show(value, *decimals), class }
        };
        let place =
            BarPlace { top: top + PANEL_HEADING, names: 16, left: LEFT, longest: WIDTH - LEFT - RIGHT };
        bars(out, place, &rows.iter().map(row).collect::<Vec<_>>())?;
    }
    writeln!(out, "</svg>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::figures::tests::comparison;

    #[test]
    fn the_longest_bar_fills_its_panel_and_names_are_escaped() {
        let picture = svg(&comparison());
        let cost = picture.split("µs</text>").nth(1).unwrap();
        let width = |part: &str| part.split("width=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let bars: Vec<&str> = cost.split("<rect").skip(1).take(2).collect();
        assert_eq!((width(bars[0]), width(bars[1])), ("432.0".into(), "540.0".into()), "20 and 25 µs");
        assert!(picture.contains("Test &lt;CPU&gt;") && !picture.contains("<CPU>"));
        assert_eq!(picture.matches("<svg").count(), 1);
        assert!(!picture.contains("Janus"), "who was not measured has no bars");
    }
}
