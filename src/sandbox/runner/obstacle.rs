//! Why a command ran no test at all, as the programs say that start tests.

/// A line that says so: what it starts with, and what it holds behind that.
const OBSTACLES: &[(&str, &str)] = &[
    ("error: could not find `Cargo.toml`", ""),
    ("error: failed to parse manifest", ""),
    ("error: no such command: `", ""),
    ("error: no test target named", ""),
    ("make: *** No rule to make target", "  Stop."),
    ("make: *** No targets", "  Stop."),
    ("make: *** ", " Error 127"),
    ("npm error ", "Could not read package.json"),
    ("npm ERR! ", "Could not read package.json"),
    ("npm error Missing script:", ""),
    ("npm ERR! Missing script:", ""),
    ("error Couldn't find a package.json", ""),
    ("error Command \"", "\" not found."),
    (" ERR_PNPM_NO_", ""),
    ("Error: Cannot find module '/", "'"),
    ("go: go.mod file not found", ""),
    ("go: cannot find main module", ""),
    ("pattern ./...: directory prefix . does not contain", ""),
    ("no packages to test", ""),
    ("ImportError: Start directory is not importable", ""),
    ("[ERROR] ", "there is no POM in this directory"),
    ("sh: 0: cannot open ", ""),
    ("Can't open perl script ", ""),
    ("ruby: No such file or directory -- ", ""),
    ("Could not open input file: ", ""),
    ("Could not locate Gemfile", ""),
    ("No Rakefile found", ""),
    ("Don't know how to build task ", ""),
];

/// What an interpreter says of the script or module that it was to run, behind its own name.
const OF_INTERPRETERS: &[&str] =
    &["can't open file '", "No module named ", "Error while finding module specification for '"];

/// Whoever cannot start says so at once: further down, the words are those of a test.
const MAX_LINES: usize = 20;

/// The line that says why the command could not start, if one does.
pub(super) fn find(output: &str) -> Option<&str> {
    let mut lines = output.lines().filter(|line| !line.trim().is_empty()).take(MAX_LINES);
    lines.find(|line| is_obstacle(line)).map(str::trim)
}

fn is_obstacle(line: &str) -> bool {
    let is_known = |(start, rest): &(&str, &str)| {
        line.strip_prefix(start).is_some_and(|behind| behind.contains(rest))
    };
    OBSTACLES.iter().any(is_known) || is_of_interpreter(line)
}

/// `/usr/bin/python3: No module named pytest`; an `ImportError` of the code has no program in
/// front.
fn is_of_interpreter(line: &str) -> bool {
    let Some((program, words)) = line.split_once(": ") else { return false };
    let name = program.rsplit('/').next().unwrap_or(program);
    let is_python = ["python", "pypy"].iter().any(|start| name.starts_with(start));
    is_python && OF_INTERPRETERS.iter().any(|start| words.starts_with(start))
}
