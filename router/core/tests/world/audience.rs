//! One publisher and many viewers.

use super::{World, standard_client};

impl World {
    /// A publisher (client 0) and as many viewers, who send nothing of their own accord; nobody is connected yet.
    pub fn add_audience(&mut self, viewers: usize) {
        for n in 0..=viewers {
            self.add_client(standard_client());
            if n > 0 {
                self.mute(n);
            }
        }
        self.plan_audience(viewers);
    }

    /// The first `viewers` of the clients after the publisher view it.
    pub fn plan_audience(&mut self, viewers: usize) {
        let legs: Vec<_> = (0..=viewers).collect();
        let routes: Vec<_> = (1..=viewers).map(|viewer| (0, viewer)).collect();
        assert!(self.plan(&legs, &routes).applied);
    }

    /// Client 0's page was loaded anew: the same leg, another client behind it.
    pub fn publisher_comes_anew(&mut self, rids: &[&str]) {
        let again = self.add_client(standard_client());
        self.clients.swap(0, again);
        self.offer_simulcast(0, rids).unwrap();
        self.run_until("it connects", |w| w.clients[0].connected);
    }
}
