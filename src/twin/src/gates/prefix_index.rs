//! What a picker believes each engine has cached: llm-d's approximate prefix index
//! (`approx-prefix-cache-producer` at llm-d-router ebab687). It learns from its own dispatches only,
//! and forgets per server in order of least recent use.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use forebay_core::engine::Prefix;
use forebay_core::gate::RequestHasher;
use forebay_core::ids::EndpointId;
use forebay_core::pick::EndpointTable;

/// Finest block that llm-d's index keeps (`minBlockSizeTokens`): engines' 16 tokens are rounded up
/// to it.
pub(super) const BLOCK_TOKENS: u32 = 64;

/// Prompt tokens that llm-d looks at by default (`maxPrefixTokensToMatch`).
pub(super) const PREFIX_TOKENS_MAX: u32 = 131_072;

const NONE: u32 = u32::MAX;

/// Blocks by server, with an LRU order per server and the holders of each block chained.
#[derive(Debug)]
pub(super) struct PrefixIndex {
    /// Prompt tokens that are looked at, in blocks (`maxPrefixTokensToMatch`).
    blocks_max: u32,
    servers: EndpointTable<Server>,
    holders: HashMap<u64, u32, BuildHasherDefault<RequestHasher>>,
    nodes: Vec<Node>,
    free: Vec<u32>,
}

/// One server's LRU order.
#[derive(Clone, Copy, Debug)]
struct Server {
    newest: u32,
    oldest: u32,
    blocks: u64,
    capacity_blocks: u64,
}

/// One piece held by one server. Pieces coarser than a block count as so many blocks.
#[derive(Clone, Copy, Debug)]
struct Node {
    piece: u64,
    endpoint: EndpointId,
    blocks: u32,
    newer: u32,
    older: u32,
    next_holder: u32,
    previous_holder: u32,
}

/// Blocks in a prompt, the last one perhaps not full, up to the limit.
pub(super) fn blocks_of(prompt_tokens: u32, blocks_max: u32) -> u32 {
    prompt_tokens.div_ceil(BLOCK_TOKENS).min(blocks_max)
}

impl PrefixIndex {
    pub(super) fn new(prefix_tokens_max: u32) -> Self {
        Self {
            blocks_max: prefix_tokens_max / BLOCK_TOKENS,
            servers: EndpointTable::default(),
            holders: HashMap::default(),
            nodes: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Blocks of a prompt that are looked at.
    pub(super) fn blocks(&self, prompt_tokens: u32) -> u32 {
        blocks_of(prompt_tokens, self.blocks_max)
    }

    /// A server appears, with the number of blocks that it is thought to hold at most.
    pub(super) fn add(&mut self, endpoint: EndpointId, capacity_blocks: u64) {
        if self.servers.slot(endpoint).is_none() {
            let server = Server { newest: NONE, oldest: NONE, blocks: 0, capacity_blocks };
            self.servers.insert(endpoint, server);
        }
    }

    /// A server is gone, and what it held.
    pub(super) fn remove(&mut self, endpoint: EndpointId) {
        let Some(server) = self.servers.remove(endpoint) else { return };
        let mut node = server.newest;
        while node != NONE {
            let older = self.nodes[node as usize].older;
            self.unchain(node);
            self.free.push(node);
            node = older;
        }
    }

    /// Adds up in `matched` how many blocks of the prompt each server holds. As llm-d does, it
    /// stops at the first block that nobody holds, and counts a server's blocks up to there even
    /// where one is missing in between.
    pub(super) fn matches(
        &self,
        prompt_tokens: u32,
        prefix: &Prefix,
        matched: &mut Vec<(EndpointId, u32)>,
    ) {
        matched.clear();
        for (piece, blocks) in pieces(prompt_tokens, prefix, self.blocks_max) {
            let Some(head) = self.holders.get(&piece) else { break };
            let mut node = *head;
            while node != NONE {
                let Node { endpoint, next_holder, .. } = self.nodes[node as usize];
                match matched.iter_mut().find(|(known, _)| *known == endpoint) {
                    Some((_, sum)) => *sum += blocks,
                    None => matched.push((endpoint, blocks)),
                }
                node = next_holder;
            }
        }
    }

    /// Notes that a prompt was sent to a server.
    pub(super) fn record(&mut self, endpoint: EndpointId, prompt_tokens: u32, prefix: &Prefix) {
        let Some(slot) = self.servers.slot(endpoint) else { return };
        let mut server = self.servers.values()[slot];
        for (piece, blocks) in pieces(prompt_tokens, prefix, self.blocks_max) {
            match self.find(piece, endpoint) {
                Some(node) => {
                    self.unlink(&mut server, node);
                    self.push(&mut server, node);
                }
                None => {
                    let node = self.chain(piece, endpoint, blocks);
                    self.push(&mut server, node);
                }
            }
            while server.blocks > server.capacity_blocks && server.oldest != server.newest {
                let oldest = server.oldest;
                self.unlink(&mut server, oldest);
                self.unchain(oldest);
                self.free.push(oldest);
            }
        }
        self.servers.values_mut()[slot] = server;
    }

    fn find(&self, piece: u64, endpoint: EndpointId) -> Option<u32> {
        let mut node = *self.holders.get(&piece)?;
        while node != NONE {
            if self.nodes[node as usize].endpoint == endpoint {
                return Some(node);
            }
            node = self.nodes[node as usize].next_holder;
        }
        None
    }

    /// Makes a node the newest of its server.
    fn push(&mut self, server: &mut Server, node: u32) {
        let newest = server.newest;
        let entry = &mut self.nodes[node as usize];
        (entry.newer, entry.older) = (NONE, newest);
        server.blocks += u64::from(entry.blocks);
        if newest == NONE {
            server.oldest = node;
        } else {
            self.nodes[newest as usize].newer = node;
        }
        server.newest = node;
    }

    /// Takes a node out of its server's order.
    fn unlink(&mut self, server: &mut Server, node: u32) {
        let Node { newer, older, blocks, .. } = self.nodes[node as usize];
        if newer == NONE {
            server.newest = older;
        } else {
            self.nodes[newer as usize].older = older;
        }
        if older == NONE {
            server.oldest = newer;
        } else {
            self.nodes[older as usize].newer = newer;
        }
        server.blocks -= u64::from(blocks);
    }

    /// A new node at the head of its piece's holders.
    fn chain(&mut self, piece: u64, endpoint: EndpointId, blocks: u32) -> u32 {
        let next_holder = self.holders.get(&piece).copied().unwrap_or(NONE);
        let entry = Node {
            piece,
            endpoint,
            blocks,
            newer: NONE,
            older: NONE,
            next_holder,
            previous_holder: NONE,
        };
        let node = match self.free.pop() {
            Some(node) => {
                self.nodes[node as usize] = entry;
                node
            }
            None => {
                self.nodes.push(entry);
                (self.nodes.len() - 1) as u32
            }
        };
        if next_holder != NONE {
            self.nodes[next_holder as usize].previous_holder = node;
        }
        self.holders.insert(piece, node);
        node
    }

    /// Takes a node out of its piece's holders.
    fn unchain(&mut self, node: u32) {
        let Node { piece, next_holder, previous_holder, .. } = self.nodes[node as usize];
        if next_holder != NONE {
            self.nodes[next_holder as usize].previous_holder = previous_holder;
        }
        if previous_holder != NONE {
            self.nodes[previous_holder as usize].next_holder = next_holder;
        } else if next_holder != NONE {
            self.holders.insert(piece, next_holder);
        } else {
            self.holders.remove(&piece);
        }
    }
}

/// The pieces of a prompt that are looked at, with the blocks in each. Pieces finer than a block
/// are gathered until they fill one; its identity is that of the last of them, which stands for
/// everything before it.
fn pieces(
    prompt_tokens: u32,
    prefix: &Prefix,
    blocks_max: u32,
) -> impl Iterator<Item = (u64, u32)> + '_ {
    let stride = (BLOCK_TOKENS / prefix.piece_tokens.max(1)).max(1) as usize;
    let stride_tokens = stride as u32 * prefix.piece_tokens.max(1);
    let mut tokens_left = prompt_tokens;
    let mut blocks_left = blocks_max;
    prefix.ids.chunks(stride).map_while(move |ids| {
        let tokens = tokens_left.min(stride_tokens);
        let blocks = tokens.div_ceil(BLOCK_TOKENS).min(blocks_left);
        tokens_left -= tokens;
        blocks_left -= blocks;
        ids.last().map(|id| (*id, blocks)).filter(|_| blocks > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(piece_tokens: u32, ids: &[u64]) -> Prefix {
        Prefix { ids: ids.into(), piece_tokens }
    }

    fn matched(index: &PrefixIndex, tokens: u32, prefix: &Prefix) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        index.matches(tokens, prefix, &mut found);
        found.sort_unstable();
        found.into_iter().map(|(endpoint, blocks)| (endpoint.0, blocks)).collect()
    }

    #[test]
    fn pieces_count_in_blocks_of_64_tokens() {
        // 512-token pieces are 8 blocks; 1,100 tokens end with 76 tokens: 2 blocks.
        let mooncake = prefix(512, &[1, 2, 3]);
        assert_eq!(pieces(1_100, &mooncake, 2_048).collect::<Vec<_>>(), [(1, 8), (2, 8), (3, 2)]);
        assert_eq!(pieces(1_100, &mooncake, 10).collect::<Vec<_>>(), [(1, 8), (2, 2)]);
        // Four 16-token pieces are one block; 90 tokens end in a second one.
        let vllm = prefix(16, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(pieces(90, &vllm, 2_048).collect::<Vec<_>>(), [(4, 1), (6, 1)]);
    }

    #[test]
    fn what_was_sent_there_is_believed_to_be_there() {
        let mut index = PrefixIndex::new(131_072);
        for endpoint in [1, 2] {
            index.add(EndpointId(endpoint), 1_000);
        }
        index.record(EndpointId(1), 1_024, &prefix(512, &[1, 2]));
        index.record(EndpointId(2), 512, &prefix(512, &[1]));
        let longer = prefix(512, &[1, 2, 3]);
        assert_eq!(matched(&index, 1_536, &longer), [(1, 16), (2, 8)]);
        assert_eq!(matched(&index, 1_536, &prefix(512, &[9, 2])), [], "a gap ends the search");
        index.remove(EndpointId(1));
        assert_eq!(matched(&index, 1_536, &longer), [(2, 8)]);
        index.remove(EndpointId(2));
        assert!(index.holders.is_empty());
    }

    #[test]
    fn the_least_recently_used_piece_is_forgotten_first() {
        let mut index = PrefixIndex::new(131_072);
        index.add(EndpointId(1), 16);
        index.record(EndpointId(1), 512, &prefix(512, &[1]));
        index.record(EndpointId(1), 512, &prefix(512, &[2]));
        index.record(EndpointId(1), 512, &prefix(512, &[1]));
        index.record(EndpointId(1), 512, &prefix(512, &[3]));
        assert_eq!(matched(&index, 512, &prefix(512, &[1])), [(1, 8)]);
        assert_eq!(matched(&index, 512, &prefix(512, &[2])), []);
        assert_eq!(matched(&index, 512, &prefix(512, &[3])), [(1, 8)]);
        assert_eq!(index.nodes.len(), 3, "nodes are used again");
        index.record(EndpointId(1), 512, &prefix(512, &[4]));
        assert_eq!(index.nodes.len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn the_index_agrees_with_plain_lru_lists(
            sent in proptest::collection::vec((0_u32..3, 0_u64..6, 1_usize..4), 1..60),
        ) {
            let mut index = PrefixIndex::new(131_072);
            let mut plain: Vec<Vec<u64>> = vec![Vec::new(); 3];
            for endpoint in 0..3 {
                index.add(EndpointId(endpoint), 5);
            }
            for (endpoint, first, length) in sent {
                let ids: Vec<u64> = (first..).take(length).collect();
                index.record(EndpointId(endpoint), 64 * length as u32, &prefix(64, &ids));
                let list = &mut plain[endpoint as usize];
                for id in ids {
                    list.retain(|known| *known != id);
                    list.push(id);
                    if list.len() > 5 {
                        list.remove(0);
                    }
                }
                for id in 0..9 {
                    let found = matched(&index, 64, &prefix(64, &[id]));
                    let expected: Vec<_> = (0..3)
                        .filter(|endpoint| plain[*endpoint as usize].contains(&id))
                        .map(|endpoint| (endpoint, 1))
                        .collect();
                    proptest::prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
