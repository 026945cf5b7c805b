//! Engines learned from what they show: step time, start-up time, cached share, output length,
//! each with its uncertainty.
