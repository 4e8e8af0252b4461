//! System calls that no safe interface offers.
#![expect(unsafe_code, reason = "each function is one system call with arguments made here")]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::libc;
use nix::unistd::{ForkResult, fork};

/// Makes a mount and all mounts below it read-only, or merely without device files and set-uid.
pub(super) fn restrict_mounts(path: &Path, read_only: bool) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let read_only = if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: read_only | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path ends in NUL and the structure has the size that is passed; both live until
    // the call returns, and the kernel only reads them.
    let status = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Starts the loopback device of a new network namespace, for tests that talk to themselves.
pub(super) fn start_loopback() -> io::Result<()> {
    // SAFETY: a request of zeros is valid; the name is shorter than its field; the socket is
    // closed once and not used afterwards.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let status = libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw const request);
        let outcome = if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        libc::close(socket);
        outcome
    }
}

/// Gives up all capabilities, also those that starting a program as root would give back.
pub(super) fn drop_capabilities() -> io::Result<()> {
    for capability in 0..=63_u64 {
        // SAFETY: takes a number and touches no memory. It fails for numbers that the kernel does
        // not know, and for processes without capabilities, which have nothing to lose.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0_u64, 0_u64, 0_u64) };
    }
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    // Two sets of effective, permitted and inheritable capabilities.
    let none = [0_u32; 6];
    // SAFETY: version 3 reads a header of this layout and six words; both live long enough.
    let status = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Forks; `None` in the child.
pub(super) fn fork_process() -> nix::Result<Option<nix::unistd::Pid>> {
    // SAFETY: the helper process has one thread, so the child has all locks and all memory in a
    // consistent state.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Runs a function in the child process of a command, before its program starts.
pub(super) fn before_program(
    command: &mut Command,
    prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the helper process has one thread, so the child may allocate and take locks.
    unsafe { command.pre_exec(prepare) };
}
