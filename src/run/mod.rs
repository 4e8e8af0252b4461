//! The run directory: everything that a run asked, got and decided, line by line.
//!
//! Lines are appended whole, so that a killed run loses at most the line it was writing; a run
//! that finishes puts its lines in order (instance, stage, sample), so that an interrupted and an
//! unbroken run end with the same bytes. Wall-clock values go to `timings.jsonl` alone.

pub mod directory;
pub mod eval_dir;
pub mod instance_row;
pub mod line_log;
pub mod memory;
pub mod oracle_row;
pub mod record_row;
pub mod row;
pub mod seed;
pub mod verdict_row;

/// The version that the files of a run directory carry.
///
/// A reader refuses a newer one; fields are only ever added with a default.
pub const RUN_VERSION: u32 = 1;
