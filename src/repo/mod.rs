//! A repository at one moment: the paths, bytes and texts that everything else reads.

pub mod path;
