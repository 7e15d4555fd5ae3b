//! What is measured and compared, a file for each group of figures.

pub(super) mod idle;
pub(super) mod joins;
pub(super) mod local;
pub(super) mod rate;
pub(super) mod remote;
pub(super) mod seats;

use super::load::{Addresses, Fleet, Kind as Message};
use super::plan::Plan;
use super::servers::{Kind, Programs, Servers, require_files};
use crate::process::Cores;
use crate::report::Table;

/// Size of a usual candidate.
const CANDIDATE: Message = Message::Candidate(200);
/// What a session begins with.
const OFFER: Message = Message::Offer(4096);

/// What all figures need.
pub(super) struct Bench<'a> {
    pub(super) plan: &'a Plan,
    pub(super) programs: &'a Programs,
    pub(super) cores: &'a Cores,
}

/// A group of figures.
pub(super) type Measure = fn(&Bench<'_>) -> anyhow::Result<Vec<Table>>;

/// A server and its clients.
struct Stage {
    servers: Servers,
    fleet: Fleet,
}

impl Bench<'_> {
    /// A single server with all rooms open and offers exchanged.
    fn single(&self, kind: Kind) -> anyhow::Result<Stage> {
        let servers = Servers::single(kind, self.programs, self.cores)?;
        let fleet = self.open(&servers.together())?;
        Ok(Stage { servers, fleet })
    }

    /// Instances on one Redis; the members of each room are on different ones.
    fn cluster(&self, instances: usize) -> anyhow::Result<Stage> {
        let servers = Servers::cluster(instances, self.programs, self.cores)?;
        let fleet = self.open(&servers.apart())?;
        servers.settle()?;
        Ok(Stage { servers, fleet })
    }

    fn open(&self, addresses: &impl Addresses) -> anyhow::Result<Fleet> {
        require_files(2 * self.plan.rooms)?;
        let mut fleet = Fleet::open(self.plan.rooms, addresses)?;
        fleet.exchange(OFFER, self.plan.rooms)?;
        Ok(fleet)
    }

    /// Measures both servers in turns, in each round in another order: `(Berth, bare relay)` of each round.
    fn in_turns<T>(
        &self,
        what: &str,
        mut measure: impl FnMut(Kind, &mut Stage) -> anyhow::Result<T>,
    ) -> anyhow::Result<(Vec<T>, Vec<T>)> {
        let (mut berth, mut bare) = (Vec::new(), Vec::new());
        for round in 0..self.plan.rounds {
            progress(what, round, self.plan.rounds);
            let mut stages = (self.single(Kind::Berth)?, self.single(Kind::Bare)?);
            if round % 2 == 0 {
                berth.push(measure(Kind::Berth, &mut stages.0)?);
                bare.push(measure(Kind::Bare, &mut stages.1)?);
            } else {
                bare.push(measure(Kind::Bare, &mut stages.1)?);
                berth.push(measure(Kind::Berth, &mut stages.0)?);
            }
        }
        Ok((berth, bare))
    }
}

/// What is measured in a round, forwards and backwards in turns: on a machine that slowly gets faster or slower, what comes first
/// would differ from what comes last for no other reason.
fn in_order<T: Clone>(round: usize, cases: &[T]) -> Vec<T> {
    let mut cases = cases.to_vec();
    if round % 2 == 1 {
        cases.reverse();
    }
    cases
}

/// Says on standard error how far it is.
fn progress(what: &str, round: usize, rounds: usize) {
    eprintln!("{what}: round {} of {rounds}", round + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_round_goes_backwards() {
        let orders = [0, 1, 2].map(|round| in_order(round, &["2", "4", "8"]));
        assert_eq!(orders, [["2", "4", "8"], ["8", "4", "2"], ["2", "4", "8"]]);
    }
}
