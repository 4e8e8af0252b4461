//! What a command's process loses before its program starts: capabilities, system calls, files.

use std::collections::BTreeMap;
use std::io;

use anyhow::Context;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use nix::libc;
use nix::sys::prctl;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::sandbox::kernel::drop_capabilities;
use crate::sandbox::plan::{Confinement, Content, Mount, Plan};

/// Restrictions that are ready to be put on a process.
pub(super) struct Restrictions {
    files: Option<RulesetCreated>,
    /// In the order in which they are put on.
    filters: Vec<BpfProgram>,
    keeps_capabilities: bool,
}

/// System calls that no test needs and that reach around the protection: keys of other
/// sessions, mounts, other processes' namespaces and memory, kernel programs, rings that make
/// calls which no filter sees.
const FORBIDDEN_CALLS: &[i64] = &[
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_syslog,
];

/// Prepares what a plan asks for.
pub(super) fn prepare(plan: &Plan) -> anyhow::Result<Restrictions> {
    Ok(match plan.confinement {
        Confinement::Nothing => {
            Restrictions { files: None, filters: Vec::new(), keeps_capabilities: true }
        }
        Confinement::SystemCalls => {
            let sockets = if plan.network { Sockets::Internet } else { Sockets::Any };
            let filters = call_filters(sockets, &[])?;
            Restrictions { files: None, filters, keeps_capabilities: false }
        }
        Confinement::Files => {
            let sockets = if plan.network { Sockets::Internet } else { Sockets::Pairs };
            let filters = call_filters(sockets, OTHERS_MEMORY)?;
            Restrictions { files: Some(file_rules(plan)?), filters, keeps_capabilities: false }
        }
    })
}

impl Restrictions {
    /// Puts the restrictions on the calling process, for good.
    pub(super) fn apply(&mut self) -> io::Result<()> {
        nix::unistd::setsid()?;
        if self.keeps_capabilities {
            return Ok(());
        }
        prctl::set_no_new_privs()?;
        drop_capabilities()?;
        if let Some(rules) = self.files.take() {
            let status = rules.restrict_self().map_err(io::Error::other)?;
            if status.ruleset == RulesetStatus::NotEnforced {
                return Err(io::Error::other("this kernel does not enforce Landlock"));
            }
        }
        for filter in &self.filters {
            seccompiler::apply_filter(filter).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// Only the mounts of the plan, at their sources; no TCP; no signals or abstract sockets to
/// processes outside, where the kernel can refuse them.
fn file_rules(plan: &Plan) -> anyhow::Result<RulesetCreated> {
    let abi = ABI::V7;
    let read = AccessFs::from_read(abi);
    let all = AccessFs::from_all(abi);
    let is_hidden = |mount: &Mount| mount.content == Content::Empty;
    anyhow::ensure!(
        !plan.mounts.iter().any(is_hidden),
        "the home lies in a folder of the machine, where access rules cannot hide it"
    );
    let of = |content: Content| {
        plan.mounts.iter().filter(move |mount| mount.content == content).map(|mount| &mount.source)
    };
    let devices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .context("asking for Landlock")?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?;
    let rules = if plan.network { rules } else { rules.handle_access(AccessNet::from_all(abi))? };
    let rules = rules
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(of(Content::ReadOnly), read))?
        .add_rules(path_beneath_rules(plan.links.iter().map(|(link, _)| link), read))?
        .add_rules(path_beneath_rules(of(Content::Writable), all))?
        .add_rules(path_beneath_rules(devices, AccessFs::ReadFile | AccessFs::WriteFile))?;
    Ok(rules)
}

/// Calls that reach processes which a process namespace would hide.
const OTHERS_MEMORY: &[i64] = &[libc::SYS_ptrace, libc::SYS_process_vm_readv];

/// Which sockets a command may make.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sockets {
    /// A network of its own leads nowhere.
    Any,
    /// Pairs of connected ones: event loops need them, and they lead nowhere.
    Pairs,
    /// Those of the internet: services of this machine that have a name and no port, such as the
    /// desktop's, take commands from whoever reaches them.
    Internet,
}

/// The filters: forbidden calls fail with `EPERM`; `clone3`, whose arguments no filter can read,
/// is said not to exist, so that the C library uses `clone`, which may not make a user namespace.
fn call_filters(sockets: Sockets, more: &[i64]) -> anyhow::Result<Vec<BpfProgram>> {
    let mut forbidden: BTreeMap<i64, Vec<SeccompRule>> =
        FORBIDDEN_CALLS.iter().chain(more).map(|call| (*call, Vec::new())).collect();
    let new_user = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    let makes_user_namespace = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(new_user),
        new_user,
    )?;
    forbidden.insert(libc::SYS_clone, vec![SeccompRule::new(vec![makes_user_namespace])?]);
    match sockets {
        Sockets::Any => {}
        Sockets::Pairs => drop(forbidden.insert(libc::SYS_socket, Vec::new())),
        Sockets::Internet => {
            let is_other = |family: i32| {
                let family = u64::from(family.cast_unsigned());
                SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
            };
            // The C library asks the kernel for its addresses through netlink.
            let families = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
            let others = families.map(is_other).into_iter().collect::<Result<_, _>>()?;
            forbidden.insert(libc::SYS_socket, vec![SeccompRule::new(others)?]);
        }
    }
    let absent = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    [(forbidden, libc::EPERM), (absent, libc::ENOSYS)]
        .into_iter()
        .map(|(rules, error)| {
            let filter = SeccompFilter::new(
                rules,
                SeccompAction::Allow,
                SeccompAction::Errno(error.cast_unsigned()),
                std::env::consts::ARCH.try_into()?,
            )?;
            Ok(filter.try_into()?)
        })
        .collect()
}
