//! The stage prompts: `prompts/*.jinja`, embedded in the binary, replaceable with `--prompts DIR`.
