//! What to read next: a pure decision over the frames of a few stripes.
//!
//! A window of stripes is a grid of cells, one for each shard and stripe. The reader says what it wants and
//! what became of what it asked; the grid says what to ask for now. A healthy read asks for the wanted data
//! frames and nothing else; for a frame that is lost or late it asks for as many others of the same stripe as
//! bring it back.

use std::ops::Range;

use bytes::Bytes;

/// One frame of one shard.
#[derive(Clone, Debug)]
enum Cell {
    /// Nobody asked for it.
    Untouched,
    /// On its way.
    Asked,
    /// Here and verified.
    Here(Bytes),
    /// It cannot be had.
    Lost,
}

/// How much a shard is to be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// As far as we know.
    Good,
    /// Late: what it owes may come, but better ask others too.
    Slow,
    /// Not at all.
    Out,
}

/// Frames to ask one shard for, as stripes of the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) shard: usize,
    pub(super) stripes: Range<usize>,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Everything wanted is here or can be computed from what is here.
    Complete,
    /// Ask for these, then wait. Nothing to ask for means just wait.
    Wait(Vec<Ask>),
    /// The wanted frames of this stripe of the window cannot be had.
    Hopeless(usize),
}

/// A window of stripes.
pub(super) struct Grid {
    data: usize,
    stripes: usize,
    /// Shard after shard.
    cells: Vec<Cell>,
    /// For each data shard the stripes whose frame of it is wanted.
    wanted: Vec<Range<usize>>,
    trust: Vec<Trust>,
}

impl Grid {
    /// `trust` has one entry for each of the `k + m` shards, `wanted` one for each of the `k` data shards.
    pub(super) fn new(stripes: usize, wanted: Vec<Range<usize>>, trust: Vec<Trust>) -> Self {
        let cells = vec![Cell::Untouched; stripes * trust.len()];
        Self { data: wanted.len(), stripes, cells, wanted, trust }
    }

    /// A verified frame has come, late or not.
    pub(super) fn arrived(&mut self, shard: usize, stripe: usize, payload: Bytes) {
        *self.cell_mut(shard, stripe) = Cell::Here(payload);
    }

    /// A frame cannot be had from this shard.
    pub(super) fn lost(&mut self, shard: usize, stripe: usize) {
        let cell = self.cell_mut(shard, stripe);
        if !matches!(cell, Cell::Here(_)) {
            *cell = Cell::Lost;
        }
    }

    /// Changes what is thought of a shard.
    pub(super) fn set_trust(&mut self, shard: usize, trust: Trust) {
        self.trust[shard] = trust;
    }

    /// What is thought of a shard.
    pub(super) fn trust(&self, shard: usize) -> Trust {
        self.trust[shard]
    }

    /// A shard turned out to be elsewhere: what it lost may be asked for again.
    pub(super) fn revive(&mut self, shard: usize) {
        self.trust[shard] = Trust::Good;
        for stripe in 0..self.stripes {
            let cell = self.cell_mut(shard, stripe);
            if matches!(cell, Cell::Lost) {
                *cell = Cell::Untouched;
            }
        }
    }

    /// A frame that is here.
    pub(super) fn frame(&self, shard: usize, stripe: usize) -> Option<&Bytes> {
        match self.cell(shard, stripe) {
            Cell::Here(payload) => Some(payload),
            Cell::Untouched | Cell::Asked | Cell::Lost => None,
        }
    }

    /// Whether a frame is here, or asked for and not lost.
    pub(super) fn is_coming(&self, shard: usize, stripe: usize) -> bool {
        matches!(self.cell(shard, stripe), Cell::Asked | Cell::Here(_))
    }

    /// The number of data shards, `k`.
    pub(super) fn data_shards(&self) -> usize {
        self.data
    }

    /// How many frames of a stripe are here.
    pub(super) fn count(&self, stripe: usize) -> usize {
        (0..self.trust.len()).filter(|&shard| self.frame(shard, stripe).is_some()).count()
    }

    /// The data shards whose frame of a stripe is wanted.
    pub(super) fn wanted(&self, stripe: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.data).filter(move |&shard| self.wanted[shard].contains(&stripe))
    }

    /// Decides; what it says to ask for counts as asked.
    pub(super) fn next(&mut self) -> Next {
        let mut new = Vec::new();
        let mut complete = true;
        for stripe in 0..self.stripes {
            if self.count(stripe) >= self.data
                || self.wanted(stripe).all(|shard| self.frame(shard, stripe).is_some())
            {
                continue;
            }
            complete = false;
            self.ask_wanted(stripe, &mut new);
            if !self.ask_others(stripe, &mut new) {
                return Next::Hopeless(stripe);
            }
        }
        if complete { Next::Complete } else { Next::Wait(runs(new)) }
    }

    fn ask_wanted(&mut self, stripe: usize, new: &mut Vec<(usize, usize)>) {
        for shard in 0..self.data {
            let wanted = self.wanted[shard].contains(&stripe);
            if wanted && self.trust[shard] == Trust::Good {
                self.ask(shard, stripe, new);
            }
        }
    }

    /// Makes up for wanted frames that will not come or are late. Whether they can still be had.
    fn ask_others(&mut self, stripe: usize, new: &mut Vec<(usize, usize)>) -> bool {
        let expected = |grid: &Self, shard| match grid.cell(shard, stripe) {
            Cell::Here(_) => true,
            Cell::Asked => grid.trust[shard] == Trust::Good,
            Cell::Untouched | Cell::Lost => false,
        };
        if self.wanted(stripe).all(|shard| expected(self, shard)) {
            return true;
        }
        let total = self.trust.len();
        let mut sure = (0..total).filter(|&shard| expected(self, shard)).count();
        for level in [Trust::Good, Trust::Slow] {
            for shard in 0..total {
                if sure < self.data && self.trust[shard] == level && self.ask(shard, stripe, new) {
                    sure += 1;
                }
            }
        }
        (0..total).filter(|&shard| self.is_coming(shard, stripe)).count() >= self.data
            || self.wanted(stripe).all(|shard| self.is_coming(shard, stripe))
    }

    /// Whether it had not been asked for before.
    fn ask(&mut self, shard: usize, stripe: usize, new: &mut Vec<(usize, usize)>) -> bool {
        let cell = self.cell_mut(shard, stripe);
        let untouched = matches!(cell, Cell::Untouched);
        if untouched {
            *cell = Cell::Asked;
            new.push((shard, stripe));
        }
        untouched
    }

    fn cell(&self, shard: usize, stripe: usize) -> &Cell {
        &self.cells[shard * self.stripes + stripe]
    }

    fn cell_mut(&mut self, shard: usize, stripe: usize) -> &mut Cell {
        &mut self.cells[shard * self.stripes + stripe]
    }
}

/// Joins single frames to runs.
fn runs(mut new: Vec<(usize, usize)>) -> Vec<Ask> {
    new.sort_unstable();
    let mut asks: Vec<Ask> = Vec::new();
    for (shard, stripe) in new {
        match asks.last_mut() {
            Some(last) if last.shard == shard && last.stripes.end == stripe => {
                last.stripes.end += 1
            }
            _ => asks.push(Ask { shard, stripes: stripe..stripe + 1 }),
        }
    }
    asks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grid(wanted: &[Range<usize>], parity: usize, stripes: usize) -> Grid {
        Grid::new(stripes, wanted.to_vec(), vec![Trust::Good; wanted.len() + parity])
    }

    fn ask(shard: usize, stripes: Range<usize>) -> Ask {
        Ask { shard, stripes }
    }

    fn arrive(grid: &mut Grid, ask: &Ask) {
        ask.stripes.clone().for_each(|stripe| grid.arrived(ask.shard, stripe, Bytes::new()));
    }

    #[test]
    fn a_healthy_read_asks_for_the_wanted_frames_only() {
        let mut grid = grid(&[1..4, 0..4, 0..3], 2, 4);
        let asks = vec![ask(0, 1..4), ask(1, 0..4), ask(2, 0..3)];
        assert_eq!(grid.next(), Next::Wait(asks.clone()));
        assert_eq!(grid.next(), Next::Wait(vec![]));
        asks.iter().for_each(|ask| arrive(&mut grid, ask));
        assert_eq!(grid.next(), Next::Complete);
    }

    #[test]
    fn a_lost_shard_costs_as_many_others_as_bring_it_back() {
        let mut grid = grid(&[0..1, 0..0, 0..0], 2, 1);
        assert_eq!(grid.next(), Next::Wait(vec![ask(0, 0..1)]));
        grid.lost(0, 0);
        grid.set_trust(0, Trust::Out);
        let others = vec![ask(1, 0..1), ask(2, 0..1), ask(3, 0..1)];
        assert_eq!(grid.next(), Next::Wait(others.clone()));
        others.iter().skip(1).for_each(|ask| arrive(&mut grid, ask));
        grid.lost(1, 0);
        assert_eq!(grid.next(), Next::Wait(vec![ask(4, 0..1)]));
        grid.lost(4, 0);
        assert_eq!(grid.next(), Next::Hopeless(0));
        grid.revive(4);
        assert_eq!(grid.next(), Next::Wait(vec![ask(4, 0..1)]));
        arrive(&mut grid, &ask(4, 0..1));
        assert_eq!(grid.next(), Next::Complete);
    }

    #[test]
    fn a_late_shard_is_waited_for_while_others_are_asked() {
        let mut grid = grid(&[0..2, 0..2], 1, 2);
        grid.next();
        grid.set_trust(1, Trust::Slow);
        assert_eq!(grid.next(), Next::Wait(vec![ask(2, 0..2)]));
        // The others may fail; what is late may still come.
        grid.lost(2, 0);
        assert_eq!(grid.next(), Next::Wait(vec![]));
        arrive(&mut grid, &ask(0, 0..2));
        arrive(&mut grid, &ask(1, 0..2));
        assert_eq!(grid.next(), Next::Complete);
    }

    #[test]
    fn a_shard_known_to_be_slow_is_left_alone_until_it_is_needed() {
        let mut grid = Grid::new(1, vec![0..1, 0..1], vec![Trust::Slow, Trust::Good, Trust::Good]);
        assert_eq!(grid.next(), Next::Wait(vec![ask(1, 0..1), ask(2, 0..1)]));
        grid.lost(2, 0);
        assert_eq!(grid.next(), Next::Wait(vec![ask(0, 0..1)]));
    }

    proptest! {
        /// Whatever is lost, in whatever order answers come: a stripe is hopeless only if fewer than `k` of
        /// its frames are whole, and nothing is asked for twice.
        #[test]
        fn any_k_frames_are_enough(
            data in 1usize..6,
            parity in 0usize..4,
            bad in prop::collection::vec(any::<bool>(), 10 * 3),
            slow in prop::collection::vec(any::<bool>(), 10),
            from in 0usize..18,
            len in 1usize..18,
        ) {
            let stripes = 3;
            let (from, to) = (from.min(data * stripes - 1), (from + len).min(data * stripes));
            let wanted: Vec<_> = (0..data).map(|shard| {
                let inside = |stripe: &usize| (from..to).contains(&(stripe * data + shard));
                let first = (0..stripes).find(inside).unwrap_or(0);
                first..(0..stripes).rfind(inside).map_or(first, |last| last + 1)
            }).collect();
            let total = data + parity;
            let mut grid = Grid::new(stripes, wanted.clone(), vec![Trust::Good; total]);
            let whole = |shard: usize, stripe: usize| !bad[shard * stripes + stripe];
            let mut asked = std::collections::HashSet::new();
            loop {
                match grid.next() {
                    Next::Complete => break,
                    Next::Hopeless(stripe) => {
                        let good = (0..total).filter(|&shard| whole(shard, stripe)).count();
                        prop_assert!(good < data);
                        return Ok(());
                    }
                    Next::Wait(asks) => {
                        prop_assert!(!asks.is_empty());
                        for Ask { shard, stripes } in asks {
                            if slow[shard] {
                                grid.set_trust(shard, Trust::Slow);
                            }
                            for stripe in stripes {
                                prop_assert!(asked.insert((shard, stripe)));
                                match whole(shard, stripe) {
                                    true => grid.arrived(shard, stripe, Bytes::new()),
                                    false => grid.lost(shard, stripe),
                                }
                            }
                        }
                    }
                }
            }
            for stripe in 0..stripes {
                let here = |shard: usize| grid.frame(shard, stripe).is_some();
                prop_assert!(grid.wanted(stripe).all(here) || grid.count(stripe) >= data);
            }
        }
    }
}
