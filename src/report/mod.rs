//! Tables over many instances.

pub mod answers;
pub mod bootstrap;
pub mod ceiling;
pub mod compare;
pub mod evaluation;
pub mod failure;
pub mod general;
pub mod page;
pub mod retrieval;
pub mod seconds;
pub mod table;
pub mod tables;
pub mod triage;
pub mod verification;
