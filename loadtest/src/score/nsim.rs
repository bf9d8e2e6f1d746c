//! How like two patches of spectrograms are: the neurogram similarity index (A. Hines and N. Harte, Speech Communication 54, 2012),
//! structural similarity with a window of three bands by three windows.

use super::gammatone::{BANDS, Window};

/// Weights of the middle, its four neighbours and the corners: a Gaussian of half a cell.
const MIDDLE: f64 = 0.619_485_845_753_726;
const BESIDE: f64 = 0.083_825_147_544_263_3;
const CORNER: f64 = 0.011_303_391_017_305_2;

/// What keeps quotients of next to nothing from counting, for loudness and for structure.
const C1: f64 = 0.01 * 0.01;
const C3: f64 = 0.03 * 0.03 / 2.0;

/// Decibels below a window's loudest band, in either patch, at which all is silent.
const DYNAMIC_DB: f64 = 45.0;

/// The similarity of two patches of the same length: 1 for the same.
pub(super) fn similarity(said: &[Window], heard: &[Window]) -> f64 {
    let (said, heard) = levelled(said, heard);
    let products = |a: &[Window], b: &[Window]| -> Vec<Window> {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| std::array::from_fn(|band| a[band] * b[band])).collect()
    };
    let means = [&said, &heard].map(|patch| smoothed(patch));
    let squares = [&said, &heard].map(|patch| smoothed(&products(patch, patch)));
    let both = smoothed(&products(&said, &heard));
    let mut sum = 0.0;
    for at in 0..said.len() {
        for band in 0..BANDS {
            let [a, b] = [means[0][at][band], means[1][at][band]];
            let variance = (squares[0][at][band] - a * a) * (squares[1][at][band] - b * b);
            let loudness = (2.0 * a * b + C1) / (a * a + b * b + C1);
            let structure = (both[at][band] - a * b + C3) / (variance.max(0.0).sqrt() + C3);
            sum += loudness * structure;
        }
    }
    sum / (said.len().max(1) * BANDS) as f64
}

/// Both with the same floor under each window, which is 0 where it is lowest.
fn levelled(said: &[Window], heard: &[Window]) -> (Vec<Window>, Vec<Window>) {
    let loudest = |window: &Window| window.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut said, mut heard) = (said.to_vec(), heard.to_vec());
    for (a, b) in said.iter_mut().zip(&mut heard) {
        let floor = loudest(a).max(loudest(b)) - DYNAMIC_DB;
        a.iter_mut().chain(b.iter_mut()).for_each(|level| *level = level.max(floor));
    }
    let lowest = said.iter().chain(&heard).flatten().copied().fold(f64::INFINITY, f64::min);
    said.iter_mut().chain(&mut heard).flatten().for_each(|level| *level -= lowest);
    (said, heard)
}

/// Each cell with its neighbours; at the edges those inside stand for those outside.
fn smoothed(patch: &[Window]) -> Vec<Window> {
    let last = patch.len() - 1;
    let across = |weights: [f64; 2], window: &Window| -> Window {
        std::array::from_fn(|band| {
            let (below, above) = (window[band.saturating_sub(1)], window[(band + 1).min(BANDS - 1)]);
            weights[0] * window[band] + weights[1] * (below + above)
        })
    };
    let row = |at: usize| {
        let middle = across([MIDDLE, BESIDE], &patch[at]);
        let before = across([BESIDE, CORNER], &patch[at.saturating_sub(1)]);
        let after = across([BESIDE, CORNER], &patch[(at + 1).min(last)]);
        std::array::from_fn(|band| middle[band] + before[band] + after[band])
    };
    (0..patch.len()).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(level: impl Fn(usize, usize) -> f64) -> Vec<Window> {
        (0..20).map(|at| std::array::from_fn(|band| level(at, band))).collect()
    }

    fn ripple(at: usize, band: usize) -> f64 {
        -20.0 + 8.0 * ((at as f64 * 0.7).sin() + (band as f64 * 0.9).cos())
    }

    #[test]
    fn the_same_is_one_and_what_has_another_shape_is_far_below() {
        let said = patch(ripple);
        assert!((similarity(&said, &said) - 1.0).abs() < 1e-12);
        let silent = similarity(&said, &patch(|_, _| -45.0));
        let upside_down = similarity(&said, &patch(|at, band| -40.0 - ripple(at, band)));
        assert!(silent < 0.1 && upside_down < 0.0, "{silent} {upside_down}");
    }

    #[test]
    fn a_hole_of_one_window_costs_a_part() {
        let said = patch(ripple);
        let holed = similarity(&said, &patch(|at, band| if at == 7 { -45.0 } else { ripple(at, band) }));
        assert!((0.7..0.98).contains(&holed), "{holed}");
    }
}
