//! Randomness that can be repeated.

/// The seed of a test: `BERTH_ORACLE_SEED`, or `usual`. It is printed, so that a failure says how to repeat it.
pub(crate) fn seed(usual: u64) -> u64 {
    let given = std::env::var("BERTH_ORACLE_SEED").ok();
    let seed = given.map_or(usual, |text| {
        text.parse().expect("BERTH_ORACLE_SEED is a whole number")
    });
    println!("BERTH_ORACLE_SEED={seed}");
    seed
}

/// A small generator (`SplitMix64`).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % (limit as u64)).unwrap()
    }

    /// One of `list`.
    pub(crate) fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// `list` in another order.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}
