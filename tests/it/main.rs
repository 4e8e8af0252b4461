//! The program as its users see it, and the invariants of its source.

mod layers;
