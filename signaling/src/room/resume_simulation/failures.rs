//! What fails: connections, instances, and subscriptions, after which seats are asserted and what was not heard is asked for.

use super::*;

impl World {
    pub(super) fn lose(&mut self, number: usize) {
        if self.clients[number].role.is_none() {
            return;
        }
        if let Some(server) = self.clients[number].at.take()
            && self.servers[server].alive
        {
            self.change(server, |room| room.detach(id(number)));
        }
    }

    pub(super) fn kill(&mut self, number: usize) {
        if self.servers.iter().filter(|server| server.alive).count() > 1 {
            let server = &mut self.servers[number];
            server.alive = false;
            server.lane.clear();
            server.inbox.clear();
            server.room = Room::new(server.token.clone());
        }
    }

    pub(super) fn resubscribe(&mut self, server: usize) {
        self.servers[server].inbox.clear();
        self.change(server, |room| {
            room.lost_track();
            room.reassert()
        });
    }

    pub(super) fn assert(&mut self, server: usize, member: MemberId) {
        let Server { token, room, .. } = &mut self.servers[server];
        let own = token.clone();
        let view = room.asserting();
        let seat = self.seats.iter().find(|seat| seat.member == member).unwrap();
        if seat.instance != own {
            return self.change(server, |room| room.asserted_elsewhere(view));
        }
        let (join, taken) = (seat.join, seat.taken);
        let others = self.others(member);
        self.change(server, |room| {
            let given = Given {
                join,
                others: &others,
                reaped: &[],
                moved_from: None,
                taken,
            };
            room.asserted(view, member, given).0
        });
    }
}
