//! The folders and files that programs need, and those that are never shown.

/// Folders of the machine itself.
pub(super) const SYSTEM_FOLDERS: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/run/current-system",
];

/// What programs need of `/etc`; it also holds keys and passwords.
pub(super) const SYSTEM_FILES: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "group",
    "hosts",
    "host.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "locale.alias",
    "locale.conf",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/tls/certs",
    "protocols",
    "services",
    "shells",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
    "fonts",
    "python3",
    "java",
    "maven",
    "php",
];

/// Tool chains that live in a home: the folder, the variable that moves it, and the parts of it
/// that hold programs, libraries and sources.
pub(super) const TOOL_CHAINS: &[(&str, &str, &[&str])] = &[
    (".local", "PYTHONUSERBASE", &["bin", "lib"]),
    (".cargo", "CARGO_HOME", &["bin", "registry", "git"]),
    (".rustup", "RUSTUP_HOME", &["toolchains", "settings.toml"]),
    ("go", "GOPATH", &["bin", "pkg"]),
    (".m2", "", &["repository"]),
    (".gem", "", &["ruby", "specs"]),
];

/// Parts of an installation prefix.
pub(super) const PREFIX_PARTS: &[&str] = &[
    "bin",
    "sbin",
    "lib",
    "lib64",
    "libexec",
    "include",
    "share",
    "shims",
    "versions",
    "plugins",
    "pyenv.d",
    "rbenv.d",
    "conda-meta",
    "completions",
    "pyvenv.cfg",
    "version",
    "jre",
    "conf",
];

/// What shows that a folder is an installation prefix, and not just a folder with a `bin`.
pub(super) const PREFIX_MARKS: &[&str] = &[
    "pyvenv.cfg",
    "conda-meta",
    "versions",
    "shims",
    "lib/node_modules",
    "lib/ruby",
    "lib/jvm",
    "lib/modules",
    "pkg/tool",
];

/// Folders that are never shown, whoever names them.
pub(super) const SECRET_FOLDERS: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".config",
    ".docker",
    ".kube",
    ".password-store",
    ".mozilla",
    "keyrings",
];

/// Folders of the machine of which only what is listed above is shown.
pub(super) const MACHINE_FOLDERS: [&str; 7] =
    ["/etc", "/var", "/run", "/proc", "/sys", "/dev", "/boot"];

/// Where the machine keeps its own programs: a home that holds one of them, as `/` in a container
/// does, is nobody's alone and hides nothing.
pub(super) const PROGRAM_FOLDERS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/usr/sbin"];
