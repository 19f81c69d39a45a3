//! A worker of a probe: a copy of this program that holds the sockets, and that cannot outlive who started it.
//!
//! It dies with the director in two ways, so that no moment is left open: the kernel kills it when the thread that started
//! it ends (`PR_SET_PDEATHSIG`), and the end of the orders, which come over a pipe, is its own end. Its sockets die with it.

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::{io, thread};

use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::sys::signal::SigSet;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use super::message::{Order, Role, Said};
use super::{client, server};

/// The `argv[0]` of a worker: no name under which the program is installed.
pub(super) const WORKER: &str = "closewatch-probe";

/// The program itself, also when its file was replaced or removed since it was started.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// A worker that was started, and the pipes to and from it.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) orders: ChildStdin,
    pub(super) said: ChildStdout,
}

/// Starts a copy of the program in the role, which gets exactly the descriptors that are not closed on exec.
///
/// It is in a process group of its own: what a terminal sends goes to the director, which ends it in order.
///
/// # Errors
/// Those of fork and exec.
pub(super) fn start(program: &Path, role: &Role) -> io::Result<Started> {
    let mut child = Command::new(program)
        .arg0(WORKER)
        .arg(serde_json::to_string(role)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
    let orders = child.stdin.take().ok_or_else(missing)?;
    let said = child.stdout.take().ok_or_else(missing)?;
    Ok(Started { child, orders, said })
}

/// Does the work of a worker when the program was started as one; `None` when it was not.
#[must_use]
pub fn run_if_called(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if args.next()? != WORKER {
        return None;
    }
    let role: Role = serde_json::from_str(args.next()?.to_str()?).ok()?;
    die_with_the_director();
    if let Role::Run(words) = &role {
        return Some(become_program(words));
    }
    let orders = take_orders(&role);
    raise_descriptor_limit();
    let outcome = match role {
        Role::Run(_) => Ok(()),
        Role::Server(plan) => server::serve(&plan, &orders),
        Role::Client(plan) => client::ask(&plan, &orders),
        Role::Heir => idle(&orders),
    };
    let Err(error) = outcome else { return Some(ExitCode::SUCCESS) };
    say(&Said::Failed(error.to_string()));
    Some(ExitCode::FAILURE)
}

/// Has the kernel end this process with the director's thread.
fn die_with_the_director() {
    // The director takes some signals as wishes, and blocks them for that; a worker is to be ended by them.
    let _ = SigSet::all().thread_unblock();
    // Without it the end of the pipe is still the end.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}

/// Replaces this process by a program. What cannot be run ends as a shell would have it.
fn become_program(words: &[String]) -> ExitCode {
    let [program, args @ ..] = words else { return ExitCode::from(127) };
    let error = Command::new(program).args(args).exec();
    // Nobody else can be told.
    let _ = writeln!(io::stderr(), "{program}: {error}");
    ExitCode::from(127)
}

/// Names the process, and gives what the director orders; the end of the orders is its own.
fn take_orders(role: &Role) -> Receiver<Order> {
    if let Ok(name) = std::ffi::CString::new(role.name()) {
        // A name is a courtesy to who looks.
        let _ = rustix::thread::set_name(&name);
    }
    let (give, orders) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(order) = serde_json::from_str(&line) else { break };
            if give.send(order).is_err() {
                break;
            }
        }
        // Whatever the other threads wait for, it is over.
        std::process::exit(0);
    });
    orders
}

/// The hard limit is the user's own: to reach it needs no privilege.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the soft limit, and running into it is told.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Keeps what it was born with until the orders end.
fn idle(orders: &Receiver<Order>) -> io::Result<()> {
    say(&Said::Ready);
    for _ in orders {}
    Ok(())
}

/// Tells the director. One that does not listen any more has ended, and with it this worker.
pub(super) fn say(said: &Said) {
    let mut out = io::stdout().lock();
    let told = serde_json::to_string(said).map_err(io::Error::from);
    let told = told.and_then(|line| writeln!(out, "{line}").and_then(|()| out.flush()));
    if told.is_err() {
        std::process::exit(0);
    }
}
