use proptest::prelude::*;

use super::*;

fn held(request: u64, tier: u8, flow: u64, deadline: u64) -> Held {
    let deadline = Time::ZERO + Span::from_secs(deadline);
    Held {
        request: RequestId(request),
        tier: TierId(tier),
        flow,
        user: 0,
        weight: 1.0,
        prompt_tokens: 100,
        output_tokens: 0,
        output_tokens_max: None,
        deadline,
        late_at: deadline,
        hold_until: Time::MAX,
        late: false,
        ordered_by: deadline,
        sequence: request,
        since: Time::ZERO,
        flow_had: None,
        user_had: None,
        wants: None,
    }
}

fn serve(queue: &mut Queue, tier: u8) -> Option<Held> {
    let request = queue.head(TierId(tier))?.request;
    let next = queue.remove(request).unwrap();
    queue.charge(next.tier, next.flow, next.user, next.cost_tokens() as i64);
    Some(next)
}

fn order(queue: &mut Queue, tier: u8) -> Vec<u64> {
    std::iter::from_fn(|| serve(queue, tier)).map(|held| held.request.0).collect()
}

#[test]
fn flows_share_by_tokens_and_weight_with_deadlines_inside() {
    let mut queue = Queue::new(1);
    for request in 0..4 {
        queue.push(held(request, 0, 1, 100 - request));
    }
    for request in 10..14 {
        queue.push(Held { prompt_tokens: 200, ..held(request, 0, 2, 5) });
    }
    // Flow 2's requests cost twice as much, so it has every third place.
    assert_eq!(order(&mut queue, 0), [3, 10, 2, 1, 11, 0, 12, 13]);

    for request in 0..4 {
        queue.push(held(request, 0, 3, 9));
        queue.push(Held { weight: 2.0, ..held(request + 10, 0, 4, 9) });
    }
    assert_eq!(order(&mut queue, 0), [0, 10, 11, 1, 12, 13, 2, 3]);
    assert!(queue.is_empty());
}

#[test]
fn users_share_what_their_tenant_has() {
    let mut queue = Queue::new(1);
    for request in 0..6 {
        queue.push(Held { user: 1, ..held(request, 0, 1, 9) });
    }
    queue.push(Held { user: 2, ..held(10, 0, 1, 99) });
    queue.push(Held { user: 2, ..held(11, 0, 1, 99) });
    queue.push(held(20, 0, 2, 99));
    queue.push(held(21, 0, 2, 99));
    // Two tenants take turns, and so do the users of the first.
    assert_eq!(order(&mut queue, 0), [0, 20, 10, 21, 1, 11, 2, 3, 4, 5]);
}

#[test]
fn a_flow_that_comes_back_has_saved_nothing_up() {
    let mut queue = Queue::new(1);
    queue.push(held(1, 0, 7, 9));
    assert_eq!(order(&mut queue, 0), [1]);
    for request in 10..20 {
        queue.push(held(request, 0, 8, 9));
    }
    assert_eq!(order(&mut queue, 0).len(), 10);
    for request in 20..24 {
        queue.push(held(request, 0, 8, 9));
    }
    queue.push(held(30, 0, 7, 9));
    queue.push(held(31, 0, 7, 9));
    let order = order(&mut queue, 0);
    let second = order.iter().position(|request| *request == 31).unwrap();
    assert!(second >= 2, "flow 7 alternates instead of catching up: {order:?}");
}

#[test]
fn a_place_brings_back_to_where_one_was() {
    let mut queue = Queue::new(1);
    for request in 0..4 {
        queue.push(held(request, 0, 1, 10 + request));
        queue.push(held(10 + request, 0, 2, 10 + request));
    }
    let away = queue.remove(RequestId(1)).unwrap();
    let place = queue.place_of(&away);
    for _ in 0..3 {
        serve(&mut queue, 0);
    }
    queue.push(Held {
        ordered_by: place.deadline,
        sequence: place.sequence,
        flow_had: Some(place.flow_had),
        user_had: Some(place.user_had),
        ..held(99, 0, 1, 500)
    });
    assert_eq!(queue.head(TierId(0)).map(|held| held.request.0), Some(11), "its flow had two");
    assert_eq!(order(&mut queue, 0), [11, 99, 12, 3, 13]);

    // A flow that is only outside is owed the turns that it missed, as if it had waited inside.
    queue.push(held(20, 0, 5, 9));
    let away = queue.remove(RequestId(20)).unwrap();
    let place = queue.place_of(&away);
    for request in 30..34 {
        queue.push(held(request, 0, 6, 9));
    }
    serve(&mut queue, 0);
    let back = Held { flow_had: Some(place.flow_had), ..held(21, 0, 5, 99) };
    queue.push(back);
    assert_eq!(queue.head(TierId(0)).map(|held| held.request.0), Some(21));
}

#[test]
fn the_lowest_tier_gives_way_and_the_late_before_it() {
    let mut queue = Queue::new(3);
    queue.push(held(1, 0, 1, 9));
    queue.push(held(2, 1, 1, 9));
    queue.push(held(3, 1, 1, 10));
    assert_eq!(queue.last().map(|held| held.request.0), Some(3));
    queue.push(Held { late: true, ..held(4, 0, 1, 1) });
    assert_eq!(queue.last().map(|held| held.request.0), Some(4));
    assert_eq!(queue.late_head().map(|held| held.request.0), Some(4));
    assert_eq!(queue.queued(TierId(0)).requests, 2);
    assert_eq!((queue.prompt_tokens(), queue.cost_above(TierId(1)) as u64), (400, 100));
    for request in 1..5 {
        assert!(queue.remove(RequestId(request)).is_some());
        assert!(queue.remove(RequestId(request)).is_none());
    }
    assert!(queue.is_empty() && queue.next_timer().is_none() && queue.last().is_none());
}

#[test]
fn who_is_ahead_follows_the_shares() {
    let mut queue = Queue::new(1);
    for request in 0..10 {
        queue.push(held(request, 0, 1, 9));
    }
    queue.push(held(20, 0, 2, 9));
    let ahead = |flow| queue.cost_ahead(&held(99, 0, flow, 9)) as u64;
    assert_eq!(ahead(1), 1_100, "all that waits");
    assert_eq!(ahead(2), 200, "its own and as much of the other");
    assert_eq!(ahead(3), 0);
}

const TOKENS_MAX: u32 = 400;

proptest! {
    /// The bound of virtual token counters: between flows (and between users of one flow) of
    /// equal weight that wait all the time, service over any window differs by at most twice the
    /// largest request.
    #[test]
    fn service_over_any_backlogged_window_differs_by_two_requests_at_most(
        sizes in proptest::collection::vec((1..=TOKENS_MAX, 0_u64..3, 0_u64..2), 30..200),
        strangers in proptest::collection::vec((0_usize..60, 1..=TOKENS_MAX), 0..20),
    ) {
        let mut queue = Queue::new(1);
        let mut next = 0;
        let mut push = |queue: &mut Queue, tokens, flow, user| {
            next += 1;
            queue.push(Held { prompt_tokens: tokens, user, ..held(next, 0, flow, 9) });
        };
        // Whoever is served has another one waiting at once.
        let mut sizes_left = sizes.iter().cycle();
        for flow in 0..3 {
            for user in 0..2 {
                for _ in 0..2 {
                    push(&mut queue, sizes_left.next().unwrap().0, flow, user);
                }
            }
        }
        let mut served: Vec<[u64; 3]> = vec![[0; 3]];
        let mut users: Vec<[u64; 2]> = vec![[0; 2]];
        for turn in 0..sizes.len() {
            for (_, tokens) in strangers.iter().filter(|(at, _)| *at == turn) {
                push(&mut queue, *tokens, 7, 0);
            }
            let next = serve(&mut queue, 0).unwrap();
            let (mut sum, mut of_users) = (served[served.len() - 1], users[users.len() - 1]);
            if next.flow < 3 {
                sum[next.flow as usize] += u64::from(next.prompt_tokens);
                if next.flow == 0 {
                    of_users[next.user as usize] += u64::from(next.prompt_tokens);
                }
                push(&mut queue, sizes_left.next().unwrap().0, next.flow, next.user);
            }
            served.push(sum);
            users.push(of_users);
        }
        let bound = 2 * u64::from(TOKENS_MAX);
        for from in 0..served.len() {
            for to in from..served.len() {
                let had = |flow: usize| served[to][flow] - served[from][flow];
                prop_assert!(had(0).abs_diff(had(1)) <= bound && had(1).abs_diff(had(2)) <= bound);
                let used = |user: usize| users[to][user] - users[from][user];
                prop_assert!(used(0).abs_diff(used(1)) <= bound);
            }
        }
    }
}
