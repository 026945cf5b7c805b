//! The oracles: a lower bound that no policy can beat, and the best plan found with the future
//! known.
//!
//! # The lower bound, and why nobody can beat it
//!
//! The bound is a dual one. Choose any *virtual price* `lambda[v](t) >= 0`, USD per second of a
//! ready replica of variant `v` at time `t`. Cash is at least what the replicas would earn if
//! they sold their time at those prices, provided that no replica's life would make a profit;
//! and what they earn is at least what all attaining requests must buy. Every choice of prices
//! gives a valid bound, so nothing rests on a solver having converged: prices only decide how
//! tight the bound is.
//!
//! **1. What a request must buy** ([`physics`]). One step takes
//! `T = calibration*(h + f(N) + c*K + e*A)`. With any line `alpha + beta*N <= f(N)` for all
//! `N >= 1` (an edge of the lower convex hull of `f`, which covers the concave expert term of a
//! mixture of experts; padding to CUDA-graph sizes only adds), `T >= a + sum over the tokens of
//! the step of their own cost`, where `a = calibration*(h + alpha)` is the part that a step
//! costs once. Own costs add up to `beta*u + e*(p^2 - s^2)/2` for a prompt of `p` tokens of which
//! `s` may be found in a prefix cache and `u = p - s` are computed (pairs telescope over chunks),
//! and `kappa_j = beta + c*(p + j - 1)` for the `j`-th of the `d = output - 1` tokens that follow
//! the first. The shared part `a` is charged in one of four ways, one per variant:
//!
//! - *TPOT*: all `d` gaps of an attaining request lie in distinct steps that it shares, so
//!   `sum T <= tau*d`. For any `g >= 0`, adding `g*(sum T - tau*d) <= 0` for every request and
//!   using `a + (sum kappa)(sum g) >= 2*sqrt(a)*sum sqrt(kappa*g)` (means, then Cauchy-Schwarz)
//!   each step is at least the sum over its requests of
//!   `kappa + 2*sqrt(a*kappa*g) - g*(tau - a)`; the best `g` per request charges it
//!   `a*(sum sqrt(kappa_j))^2 / (d*(tau - a))`. It is the batch that the objective allows, per
//!   request, without assuming who shares a step with whom. Outputs under 16 tokens are held to
//!   `TTFT + d*TPOT` end to end, hence `tau = tpot + ttft/d`.
//! - *KV*: what a step reads of private KV lies in the cache at once, so each token is charged
//!   `a * (context - s) / capacity`.
//! - *Sequences* and *tokens*: a step holds at most so many of each, the largest that any policy
//!   compared sets.
//!
//! Charges only ever shrink when a request's price is lower than the price of the step, because
//! `sqrt(l) >= l` for `l <= 1`: so they hold under prices that change while a request runs, when
//! each request pays the lowest price of its window. Preemption, recomputation, evictions,
//! transfers, requests that miss and requests that are not scored only add steps or tokens.
//!
//! **2. When** ([`load`]). An attaining request of a latency tier computes its prompt within the
//! TTFT objective and all else within `TTFT + d*TPOT` of its arrival; a deferrable one all of it
//! before its deadline. It pays the lowest price of the buckets that its window touches, on the
//! variant that is cheapest for it; in a fleet with separate prefill its two parts may be bought
//! apart.
//!
//! **3. What a replica can earn** ([`prices`]). Prices are `base[v] * sigma(t)`, with
//! `base[v]` its price. A replica that is asked for at `x`, ready not before `x + s` (`s` the
//! shortest start-up, [`physics::start_up_min`]) and gone at `y` costs `price*(y - x)` and earns
//! `price * integral of sigma over [x + s, y]`. So no life makes a profit if
//! `integral of (sigma - 1) over any interval <= s`, and `<= 0` over intervals that begin with
//! the scored span (replicas may be ready there, started before at no scored cost). `sigma` is
//! constant in a bucket, so it is enough to look at intervals of whole buckets. Where a variant
//! is scarce its base price may exceed its price by a rent; then each of the replicas that may
//! exist earns at most `rent * sigma` more, which is subtracted for all of them. Replicas that
//! must be held (minimum) cost their price throughout and earn at most `price * sigma`: the
//! difference is added. Committed replicas cost no further cash, so all they could earn is rent.
//! A node costs at least its accelerators in use; idle accelerators and node delays only add.
//!
//! **4. The right to miss.** With `k` requests of a tier allowed to miss, those that pay most:
//! `sum of payments - the k largest = max over t of (sum of min(payment, t) - k*t)`, so each `t`
//! again gives a bound. Payments are kept in bins, in which `min(payment, t)` is bounded by its
//! chord. How many may miss counts over all fleets, which is at least what each allows.
//!
//! **What it does not cover**: start-ups are log-normal and hence can be arbitrarily short; the
//! bound uses the six-sigma point. Quotas shared between fleets are given to each in full.
//! Chance within a bucket is ignored (work may be perfectly packed), which is where most of the
//! distance between the bound and the best real plan lies.
//!
//! # The prices
//!
//! The best `sigma` is a zero-sum game between prices and a scheduler that puts work into the
//! cheapest buckets of its window, solved by conditional gradients: the scheduler's answer is
//! smooth in the prices, and the prices' best answer to it is an exact dynamic program (the linear program behind it, cheapest replicas over
//! time with a charge per start, is a network and its potentials lie on a small lattice). An LP
//! over requests, buckets and variants has millions of columns for a day; the game needs a pass
//! over binned payments per round, and its result is a bound wherever it stops.

mod account;
pub mod bound;
pub mod census;
pub mod check;
pub mod clairvoyant;
#[cfg(test)]
mod engine_tests;
pub mod load;
mod needs;
pub mod physics;
mod prices;
pub mod schedule;
mod tariff;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin_tests;
