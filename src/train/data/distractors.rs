//! The inputs of training episodes, filled up by retrieval: the truth, then shuffled, since without
//! anything false among it the later stages look easier than they are; or a model's own answers, as
//! the pipeline hands them on.

use rand::seq::SliceRandom;

use crate::index::language::of_path;
use crate::repo::path::RepoPath;
use crate::run::seed::{call_seed, sample_generator};
use crate::stage::Context;
use crate::stage::episodes::Inputs;
use crate::stage::function::symbol::SymbolId;
use crate::stage::gold::Gold;
use crate::stage::profile::Stages;
use crate::train::data::Distractors;

/// The true inputs of an instance's stages among distractors.
pub(super) fn true_inputs(
    instance_id: &str,
    context: &Context,
    gold: &Gold,
    stages: &Stages,
    (distractors, seed): (Distractors, u64),
) -> Inputs {
    let mut inputs = Inputs::of_truth(stages, &context.index, gold);
    fill_up(&mut inputs, context, distractors);
    let shuffled = |what: &str| sample_generator(call_seed(seed, instance_id, what, 0), 0, 0);
    inputs.files.shuffle(&mut shuffled("files"));
    inputs.symbols.shuffle(&mut shuffled("symbols"));
    inputs
}

/// Adds the best ranked files and symbols.
pub(super) fn fill_up(inputs: &mut Inputs, context: &Context, distractors: Distractors) {
    let is_source = |path: &&RepoPath| of_path(path).is_some() && !context.index.is_test(path);
    let files = context.ranking.files.iter().map(|file| &file.path).filter(is_source).cloned();
    fill(&mut inputs.files, files, distractors.n_files);
    let symbols = symbols_of(context, &inputs.files);
    fill(&mut inputs.symbols, symbols.into_iter(), distractors.n_symbols);
}

/// Adds what is not there yet, until there are `n`.
fn fill<T: PartialEq>(chosen: &mut Vec<T>, more: impl Iterator<Item = T>, n: usize) {
    for item in more {
        if n <= chosen.len() {
            break;
        }
        if !chosen.contains(&item) {
            chosen.push(item);
        }
    }
}

/// The symbols of some files, the best ranked first.
fn symbols_of(context: &Context, files: &[RepoPath]) -> Vec<SymbolId> {
    let of_files = context.ranking.files.iter().filter(|file| files.contains(&file.path));
    let ranked = context.ranking.symbols.iter().filter(|symbol| files.contains(&symbol.path));
    ranked
        .chain(of_files.flat_map(|file| &file.symbols))
        .map(|symbol| SymbolId {
            path: symbol.path.clone(),
            kind: symbol.kind,
            name: symbol.name.clone(),
        })
        .collect()
}
