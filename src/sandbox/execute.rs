//! Starts the process that sets up a protection, and listens to it until the end.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::sandbox::interpreter::Interpreters;
use crate::sandbox::plan::Plan;
use crate::sandbox::{End, Execution, HELPER_COMMAND, Protection, SandboxOptions};

/// What the supervisor writes to its stderr when the command has ended; whatever else comes from
/// there is the reason why it could not start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) end: End,
    pub(super) interpreters: Interpreters,
}

/// The supervisor keeps the limits; one that does not answer this long after the time limit is
/// given up.
const GRACE: Duration = Duration::from_secs(10);

/// The most bytes of the supervisor's own messages.
const MAX_MESSAGE_BYTES: u64 = 64 * 1024;

/// Runs a plan under a protection.
pub(super) async fn execute(
    options: &SandboxOptions,
    protection: Protection,
    plan: &Plan,
) -> anyhow::Result<Execution> {
    let started = Instant::now();
    let mut command = helper_command(options, protection, plan)?;
    let mut child = command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for sorft alone. The supervisor is not killed but told, by the end of its
        // stdin: it must live to end what the command started.
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting `{}`", command.as_std().get_program().display()))?;
    let mut plan_line = serde_json::to_vec(plan).context("rendering a plan")?;
    plan_line.push(b'\n');
    // Held open until the end: when this process is gone, the supervisor sees it close.
    let mut lifeline = child.stdin.take().context("a pipe to the sandbox")?;
    let stdout = child.stdout.take().context("a pipe from the sandbox")?;
    let stderr = child.stderr.take().context("a pipe from the sandbox")?;
    let (mut output, mut message) = (Vec::new(), Vec::new());
    let (mut stdout, mut stderr) =
        (stdout.take(plan.limits.output_bytes), stderr.take(MAX_MESSAGE_BYTES));
    let talk = async {
        // A supervisor that could not start does not read; its message says why.
        drop(lifeline.write_all(&plan_line).await);
        let (_, _, status) = tokio::try_join!(
            stdout.read_to_end(&mut output),
            stderr.read_to_end(&mut message),
            child.wait()
        )?;
        Ok::<_, std::io::Error>(status)
    };
    let limit = Duration::from_secs(plan.limits.seconds) + GRACE;
    let status = match tokio::time::timeout(limit, talk).await {
        Ok(status) => Some(status.context("talking to the sandbox")?),
        Err(_) => None,
    };
    let seconds = started.elapsed().as_secs_f64();
    let Some(status) = status else {
        let interpreters = Interpreters::default();
        return Ok(Execution { protection, end: End::TimedOut, output, interpreters, seconds });
    };
    let message = String::from_utf8_lossy(&message);
    match serde_json::from_str::<Report>(message.lines().last().unwrap_or_default()) {
        Ok(Report { end, interpreters }) => {
            Ok(Execution { protection, end, output, interpreters, seconds })
        }
        // The supervisor's own words, which say what it lacks.
        Err(_) if status.success() && !message.trim().is_empty() => bail!("{}", message.trim()),
        Err(_) => bail!("the sandbox ended ({status}) without a report: {}", message.trim()),
    }
}

#[cfg(target_os = "linux")]
fn helper_command(
    options: &SandboxOptions,
    protection: Protection,
    plan: &Plan,
) -> anyhow::Result<Command> {
    use crate::sandbox::bubblewrap;
    use crate::sandbox::supervise::{NAMESPACE_STEP, SUPERVISE_STEP};

    let step = match protection {
        Protection::Bubblewrap => {
            let mut command = Command::new(bubblewrap::find_program(&options.environment)?);
            command.args(bubblewrap::render_arguments(plan, &options.helper));
            return Ok(command);
        }
        Protection::Namespaces => NAMESPACE_STEP,
        Protection::Landlock | Protection::Unprotected => SUPERVISE_STEP,
    };
    let mut command = Command::new(&options.helper);
    command.args([HELPER_COMMAND, step]);
    Ok(command)
}

#[cfg(not(target_os = "linux"))]
fn helper_command(
    _options: &SandboxOptions,
    protection: Protection,
    _plan: &Plan,
) -> anyhow::Result<Command> {
    bail!("running repository code ({HELPER_COMMAND}, {protection}) is for Linux only so far")
}
