//! Flags for what is trained of an adapter.

use clap::Args;

use crate::commands::train::positive;
use crate::model::local::adapter::Site;
use crate::train::tuned::Additions;

#[derive(Debug, Args)]
#[command(next_help_heading = "Training")]
pub struct AdditionsArgs {
    /// Rank of the additions
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub rank: usize,
    /// Additions are scaled by alpha / rank [default: twice the rank]
    #[arg(long, value_name = "ALPHA", value_parser = positive)]
    pub alpha: Option<f64>,
    /// Projections that get additions [default: all seven]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum)]
    pub projections: Vec<Site>,
}

impl AdditionsArgs {
    pub fn additions(&self) -> Additions {
        let chosen = |site: &Site| self.projections.is_empty() || self.projections.contains(site);
        Additions {
            rank: self.rank,
            alpha: self.alpha.unwrap_or(2.0 * self.rank as f64),
            projections: Site::ALL.into_iter().filter(chosen).collect(),
        }
    }
}
