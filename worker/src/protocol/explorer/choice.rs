//! Who decides what happens next: every way in turn, or a seed.

/// Decides between what may happen; the first is the smooth course.
pub(super) trait Chooser {
    /// The number of what happens, below `ways`.
    fn choose(&mut self, ways: usize) -> usize;
}

/// All courses with a limited number of deviations, depth first. Each course is played anew from its beginning: the
/// prefix is repeated, and what follows is smooth.
#[derive(Debug)]
pub(super) struct Paths {
    deviations: usize,
    /// The choices of the present course, and how many ways there were.
    path: Vec<(usize, usize)>,
    place: usize,
    began: bool,
}

impl Paths {
    pub(super) fn new(deviations: usize) -> Self {
        Self {
            deviations,
            path: Vec::new(),
            place: 0,
            began: false,
        }
    }

    /// Goes to the next course; `false`: there is none.
    pub(super) fn next_course(&mut self) -> bool {
        self.place = 0;
        if !self.began {
            self.began = true;
            return true;
        }
        while let Some((taken, ways)) = self.path.pop() {
            let spent = self.path.iter().filter(|(taken, _)| *taken > 0).count();
            if taken + 1 < ways && spent < self.deviations {
                self.path.push((taken + 1, ways));
                return true;
            }
        }
        false
    }
}

impl Chooser for Paths {
    fn choose(&mut self, ways: usize) -> usize {
        if self.place == self.path.len() {
            self.path.push((0, ways));
        }
        let (taken, known) = self.path[self.place];
        assert_eq!(known, ways, "a course does not repeat itself");
        self.place += 1;
        taken
    }
}

/// A course that a number decides.
pub(super) struct Seeded {
    state: u64,
}

impl Seeded {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Chooser for Seeded {
    /// Smooth in half of the cases, so that workers get somewhere between two mishaps.
    fn choose(&mut self, ways: usize) -> usize {
        let random = self.next();
        if random & 1 == 0 {
            0
        } else {
            usize::try_from((random >> 1) % ways as u64).unwrap()
        }
    }
}
