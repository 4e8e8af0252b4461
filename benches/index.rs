//! How long an index takes, cold and from its cache, and a ranking, on made-up repositories of
//! growing size. The names of a group's rows say how many files there are; time per file should
//! not depend on it.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sorft::index::cache::CacheOptions;
use sorft::index::retrieval::{RankOptions, rank};
use sorft::index::{Index, IndexOptions};
use sorft::repo::snapshot::{MAX_FILE_BYTES, Snapshot, SnapshotOptions};

const SIZES: [usize; 3] = [100, 1_000, 10_000];

const ISSUE: &str = "total_7 of order_42 is wrong\n\
    `Order42.total_7(None)` raises\n  \
    File \"/srv/shop/package_4/order_42.py\", line 12, in total_7\n\
    ValueError: the price of item 3 is below zero\n";

/// A Python file of 95 lines: a class of twelve methods, and functions that use others.
fn file(number: usize) -> String {
    let mut text = format!(
        "\"\"\"Orders of kind {number}.\"\"\"\nfrom shop.package_{}.order_{} import helper\n\nLIMIT = {number}\n\n\n",
        number.saturating_sub(1) / 10,
        number.saturating_sub(1)
    );
    text.push_str(&format!("class Order{number}(Base):\n"));
    for method in 0..12 {
        text.push_str(&format!(
            "    def total_{method}(self, items, rate={method}):\n        \
             \"\"\"The sum of {method} kinds of items.\"\"\"\n        \
             if items is None:\n            \
             raise ValueError(f'the price of item {{rate}} is below zero')\n        \
             amount = sum(item.price_{number} * rate for item in items)\n        \
             return helper(amount, self.limit_{method})\n\n"
        ));
    }
    text.push_str("\ndef helper(amount, limit):\n    # Never above the limit.\n    return min(amount, limit)\n");
    text
}

fn write_repository(root: &Path, n_files: usize) {
    for number in 0..n_files {
        let folder = root.join(format!("shop/package_{}", number / 10));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("order_{number}.py")), file(number)).unwrap();
    }
}

fn build(root: &Path, cache: &Path) -> Index {
    let options = SnapshotOptions {
        revision: None,
        max_file_bytes: MAX_FILE_BYTES,
        cache: Some(cache.to_owned()),
    };
    let snapshot = Arc::new(Snapshot::open(root, &options).unwrap());
    let cache = CacheOptions {
        folder: cache.to_owned(),
        repository: root.to_string_lossy().into_owned(),
        max_bytes: 1 << 30,
    };
    Index::build(snapshot, &IndexOptions { cache: Some(cache), ..IndexOptions::default() }).unwrap()
}

fn index(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index");
    group.sample_size(10);
    for n_files in SIZES {
        let root = tempfile::tempdir().unwrap();
        write_repository(root.path(), n_files);
        group.throughput(Throughput::Elements(n_files as u64));
        group.bench_function(BenchmarkId::new("cold", n_files), |bencher| {
            bencher.iter_with_large_drop(|| {
                let cache = tempfile::tempdir().unwrap();
                black_box(build(root.path(), cache.path()));
                cache
            });
        });
        let cache = tempfile::tempdir().unwrap();
        let index = build(root.path(), cache.path());
        group.bench_function(BenchmarkId::new("warm", n_files), |bencher| {
            bencher.iter(|| black_box(build(root.path(), cache.path())));
        });
        let options = RankOptions { max_files: 200, max_symbols: 200, max_symbols_per_file: 24 };
        group.bench_function(BenchmarkId::new("rank", n_files), |bencher| {
            bencher.iter(|| black_box(rank(&index, ISSUE, &options)));
        });
    }
    group.finish();
}

criterion_group!(benches, index);
criterion_main!(benches);
