//! Which router node carries a call.

use std::collections::BTreeMap;

use duocast_model::{NodeId, UnixMillis};

/// What control knows of a node.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Since when its link is down; `None`: it is up.
    pub down_since: Option<UnixMillis>,
    /// Legs it is willing to carry.
    pub leg_capacity: u32,
    /// Legs that present plans give it.
    pub legs_planned: u32,
    /// Its busiest worker's share of a core, 0 to 1, as last reported.
    pub load: f32,
}

impl NodeView {
    /// Its link is up.
    pub fn is_linked(&self) -> bool {
        self.down_since.is_none()
    }
}

/// Share of a core above which a node gets no new calls. Higher packs nodes tighter and leaves less for bursts; lower
/// wastes capacity.
pub const LOAD_MAX: f32 = 0.85;

/// Legs that a call needs at least: one for each party.
pub const LEGS_PER_CALL: u32 = 2;

/// The linked node with the lowest share of its legs in use that has room for a whole call; ties go to the smaller id.
/// `None`: nobody has room.
pub fn choose(nodes: &BTreeMap<NodeId, NodeView>) -> Option<NodeId> {
    let has_room = |n: &NodeView| {
        n.is_linked() && n.load <= LOAD_MAX && n.legs_planned.saturating_add(LEGS_PER_CALL) <= n.leg_capacity
    };
    let fill = |n: &NodeView| f64::from(n.legs_planned) / f64::from(n.leg_capacity.max(1));
    nodes
        .iter()
        .filter(|(_, n)| has_room(n))
        .min_by(|(_, a), (_, b)| fill(a).total_cmp(&fill(b)))
        .map(|(id, _)| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(linked: bool, capacity: u32, planned: u32, load: f32) -> NodeView {
        NodeView {
            down_since: (!linked).then_some(UnixMillis(0)),
            leg_capacity: capacity,
            legs_planned: planned,
            load,
        }
    }

    fn chosen(nodes: &[(&str, NodeView)]) -> Option<String> {
        let map = nodes.iter().map(|(id, n)| (NodeId::new(id).unwrap(), n.clone())).collect();
        choose(&map).map(|id| id.to_string())
    }

    #[test]
    fn the_emptiest_linked_node_with_room_gets_the_call() {
        let down = node(false, 100, 0, 0.0);
        let hot = node(true, 100, 0, 0.95);
        let full = node(true, 10, 9, 0.1);
        let half = node(true, 100, 50, 0.1);
        let big = node(true, 1000, 100, 0.1);
        let nodes = [("a", down), ("b", hot), ("c", full), ("d", half), ("e", big)];
        assert_eq!(chosen(&nodes), Some("e".into()));
        assert_eq!(chosen(&nodes[..3]), None);
    }

    #[test]
    fn a_node_without_capacity_divides_nothing_by_zero() {
        assert_eq!(chosen(&[("a", node(true, 0, 0, 0.0))]), None);
    }
}
