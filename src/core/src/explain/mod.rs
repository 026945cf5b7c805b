//! Every decision as data: inputs with their ages, estimates with intervals, alternatives, the
//! constraint that binds, guard and rails.
