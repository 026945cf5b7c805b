//! How much demand a variant holds at its objectives.
