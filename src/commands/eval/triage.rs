//! `sorft eval --triage`: does triage tell a gold patch of an issue from those of others?

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::commands::Outcome;
use crate::commands::eval::source::Source;
use crate::commands::eval::{EvalArgs, end_with};
use crate::commands::output::{write_json, write_stdout};
use crate::index::retrieval::RankOptions;
use crate::instance::Instance;
use crate::report::triage::{InstanceAgreement, TriageReport, render_triage};
use crate::triage::change::Comparison;
use crate::triage::issue::find_in_issue;

/// Issues of other instances that a patch is compared with.
const N_OTHERS: usize = 10;

pub fn triage(args: &EvalArgs, source: &Source, quiet: bool) -> anyhow::Result<Outcome> {
    let (agreements, failed) = source.for_each(quiet, |instance| agreements(source, instance))?;
    let report = TriageReport::new(agreements, failed);
    match args.format.style() {
        Some(style) => write_stdout(&render_triage(&report, style))?,
        None => write_json(&report)?,
    }
    Ok(end_with(source, &report.failed))
}

fn agreements(source: &Source, instance: &Instance) -> anyhow::Result<InstanceAgreement> {
    // The ranking of the case itself is not used: triage makes its own.
    let nothing = RankOptions { max_files: 1, max_symbols: 1, max_symbols_per_file: 0 };
    let case = source.case(instance, &nothing)?;
    let changes = case.gold()?.changes;
    let agreement = |issue: &str| {
        let findings = find_in_issue(&case.index, issue);
        Comparison::new(&case.index, &findings, &changes).map(|compared| compared.agreement)
    };
    let task = instance.task();
    let own = agreement(&task.issue);
    let mut others: Vec<&Instance> = source.instances.iter().collect();
    others.retain(|other| {
        other.task().repo == task.repo && other.task().instance_id != task.instance_id
    });
    others.sort_by_key(|other| &other.task().instance_id);
    others.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    others.truncate(N_OTHERS);
    let others = others.into_iter().filter_map(|other| {
        Some((other.task().instance_id.clone(), agreement(&other.task().issue)?))
    });
    Ok(InstanceAgreement {
        instance_id: task.instance_id.clone(),
        repo: task.repo.clone(),
        own,
        others: others.collect(),
    })
}
