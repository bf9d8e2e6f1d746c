//! Which load to try next: doubles until the bounds break, halves the rest, then asks again at the knee. Pure.

/// Runs that must hold at the knee, of [`ASKED`].
const NEEDED: usize = 2;

/// Runs at the knee, and runs at a load that broke before it counts as broken: one stall of the machine is not the server's end.
const ASKED: usize = 3;

/// How one run at a load went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    Breaks,
    /// The generator gave up first: the server's end is not seen.
    Unseen,
}

/// Why the search is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// A bound broke above the knee.
    Bound,
    /// The generator was the bottleneck above it.
    Generator,
    /// The largest load that was allowed holds.
    Max,
    /// It ended before a larger load was settled.
    Ended,
    /// Not even the smallest load holds.
    Nothing,
}

/// The search for the largest load that holds.
#[derive(Debug)]
pub(crate) struct Search {
    start: usize,
    max: usize,
    /// Share of the knee to which it is to be known.
    precision: f64,
    /// Each load that was tried, with its runs.
    tried: Vec<(usize, Vec<Verdict>)>,
}

impl Search {
    /// From `start` calls to `max` at most.
    pub(crate) fn new(start: usize, max: usize, precision: f64) -> Self {
        Self { start: start.clamp(1, max), max, precision, tried: Vec::new() }
    }

    /// Takes how a run with this many calls went.
    pub(crate) fn tell(&mut self, calls: usize, verdict: Verdict) {
        match self.tried.iter_mut().find(|(load, _)| *load == calls) {
            Some((_, runs)) => runs.push(verdict),
            None => self.tried.push((calls, vec![verdict])),
        }
    }

    /// The load to try next; `None` if the knee is known.
    pub(crate) fn next(&self) -> Option<usize> {
        // What broke once is asked again before it is believed.
        if let Some((load, _)) = self.tried.iter().find(|(_, runs)| settled(runs).is_none()) {
            return Some(*load);
        }
        match (self.holds(), self.breaks()) {
            (None, None) => Some(self.start),
            (Some(held), None) if held >= self.max => self.confirm(held),
            (Some(held), None) => Some((held * 2).min(self.max)),
            (None, Some((1, _))) => None,
            (None, Some((broke, _))) => Some(broke / 2),
            (Some(held), Some((broke, _))) if broke - held > self.step(held) => {
                Some(held + (broke - held) / 2)
            }
            (Some(held), Some(_)) => self.confirm(held),
        }
    }

    /// The largest load that holds, below every one that does not.
    pub(crate) fn holds(&self) -> Option<usize> {
        let limit = self.breaks().map_or(usize::MAX, |(load, _)| load);
        let holding = self.tried.iter().filter(|(_, runs)| settled(runs) == Some(Verdict::Holds));
        holding.map(|(load, _)| *load).filter(|load| *load < limit).max()
    }

    /// The smallest load that does not hold, and why.
    pub(crate) fn breaks(&self) -> Option<(usize, Verdict)> {
        let not = self.tried.iter().filter_map(|(load, runs)| Some((*load, settled(runs)?)));
        not.filter(|(_, verdict)| *verdict != Verdict::Holds).min_by_key(|(load, _)| *load)
    }

    /// How often the load was tried, and how often it held.
    pub(crate) fn runs(&self, calls: usize) -> (usize, usize) {
        let runs = self.tried.iter().find(|(load, _)| *load == calls).map_or(&[][..], |(_, runs)| runs);
        (runs.len(), runs.iter().filter(|run| **run == Verdict::Holds).count())
    }

    /// Why it is over.
    pub(crate) fn limit(&self) -> Limit {
        match (self.holds(), self.breaks()) {
            (None, _) => Limit::Nothing,
            (Some(_), Some((_, Verdict::Unseen))) => Limit::Generator,
            (Some(_), Some(_)) => Limit::Bound,
            (Some(held), None) if held >= self.max => Limit::Max,
            (Some(_), None) => Limit::Ended,
        }
    }

    fn step(&self, held: usize) -> usize {
        ((held as f64 * self.precision) as usize).max(1)
    }

    /// The knee once more, until it was asked often enough.
    fn confirm(&self, held: usize) -> Option<usize> {
        (self.runs(held).0 < ASKED).then_some(held)
    }
}

/// What a load's runs say together: a run that holds is believed at once, until others at the same load outvote it.
fn settled(runs: &[Verdict]) -> Option<Verdict> {
    let held = runs.iter().filter(|run| **run == Verdict::Holds).count();
    let lost = runs.len() - held;
    let of_lost = runs.iter().rev().copied().find(|run| *run != Verdict::Holds);
    match (held, lost) {
        (_, 0) => Some(Verdict::Holds),
        _ if lost >= NEEDED => of_lost,
        _ if held >= NEEDED => Some(Verdict::Holds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search against `server`, which says how a load goes for the n-th time.
    fn search(start: usize, max: usize, server: impl Fn(usize, usize) -> Verdict) -> (Search, Vec<usize>) {
        let mut search = Search::new(start, max, 0.05);
        let mut asked = Vec::new();
        while let Some(calls) = search.next() {
            assert!(asked.len() < 60, "it does not end: {asked:?}");
            search.tell(calls, server(calls, asked.iter().filter(|load| **load == calls).count()));
            asked.push(calls);
        }
        (search, asked)
    }

    fn up_to(knee: usize) -> impl Fn(usize, usize) -> Verdict {
        move |calls, _| if calls <= knee { Verdict::Holds } else { Verdict::Breaks }
    }

    #[test]
    fn it_finds_the_knee_within_its_precision_and_asks_three_times_there() {
        for knee in [1, 2, 7, 40, 137, 999] {
            let (search, asked) = search(10, 5000, up_to(knee));
            let held = search.holds().unwrap();
            let broke = search.breaks().unwrap().0;
            assert!(held <= knee && knee < broke, "{knee}: {asked:?}");
            assert!(broke - held <= (held / 20).max(1), "{knee}: {asked:?}");
            assert_eq!(search.runs(held), (3, 3));
            assert_eq!(search.limit(), Limit::Bound);
        }
    }

    #[test]
    fn a_single_hiccup_below_the_knee_does_not_count() {
        let server =
            |calls, nth| if calls == 20 && nth == 0 { Verdict::Breaks } else { up_to(100)(calls, nth) };
        let (search, asked) = search(10, 5000, server);
        assert!((95..=100).contains(&search.holds().unwrap()), "{asked:?}");
        assert_eq!(search.runs(20), (3, 2));
    }

    #[test]
    fn a_lucky_run_above_the_knee_does_not_stay_the_answer() {
        let server =
            |calls, nth| if calls == 160 && nth == 0 { Verdict::Holds } else { up_to(100)(calls, nth) };
        let (search, asked) = search(10, 160, server);
        assert!((95..=100).contains(&search.holds().unwrap()), "{asked:?}");
    }

    #[test]
    fn a_server_without_an_end_is_known_up_to_the_maximum() {
        let (search, _) = search(10, 300, up_to(5000));
        assert_eq!((search.holds(), search.breaks(), search.limit()), (Some(300), None, Limit::Max));
    }

    #[test]
    fn where_it_is_broken_off_nothing_is_said_of_larger_loads() {
        let mut search = Search::new(10, 300, 0.05);
        assert_eq!(search.next(), Some(10));
        search.tell(10, Verdict::Holds);
        assert_eq!((search.holds(), search.limit()), (Some(10), Limit::Ended));
    }

    #[test]
    fn a_server_that_carries_nothing_is_known_as_well() {
        let (search, _) = search(10, 300, up_to(0));
        assert_eq!((search.holds(), search.limit()), (None, Limit::Nothing));
    }

    #[test]
    fn where_the_generator_gives_up_the_servers_end_is_not_seen() {
        let server = |calls, _| if calls <= 50 { Verdict::Holds } else { Verdict::Unseen };
        let (search, _) = search(10, 300, server);
        assert_eq!((search.holds().unwrap(), search.limit()), (50, Limit::Generator));
    }
}
