//! A server, an agent with the key, and hosts that have the template.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::agent::{configure, key};
use crate::host::Host;
use crate::import::{import, remove};
use crate::release::Release;
use crate::stack::Stack;
use crate::support::nobody::public_place;
use crate::support::service::Service;
use crate::support::set_sysctl;

/// The pool of the ports to the destination of the leaks. A tenth of it used is enough for a problem here.
pub(crate) const POOL: &str = "127.0.0.1 to 127.0.0.2:8086";

/// The ports of the agent, and of another.
const PORT: u16 = 10_050;
pub(crate) const OTHER_PORT: u16 = 10_060;

/// All of it.
pub(crate) struct World {
    pub(crate) stack: Stack,
    /// The host that is looked at.
    pub(crate) host: Host,
    /// The program that looks.
    pub(crate) program: PathBuf,
    /// The policy of the program.
    pub(crate) policy: PathBuf,
    agent: Option<Service>,
    _place: tempfile::TempDir,
}

/// The options of the looks.
pub(crate) fn options(policy: &Path) -> Vec<String> {
    let fixed = ["--netns", "current", "--no-history", "--stuck-after", "1s", "--policy"];
    fixed.into_iter().map(str::to_owned).chain([policy.display().to_string()]).collect()
}

impl World {
    /// Starts it, in a namespace with few ports. Each of these editions of the template is imported into a server that has none;
    /// the last one stays.
    pub(crate) fn start(release: Release, editions: &[&[&str]]) -> Self {
        set_sysctl("net.ipv4.ip_local_port_range", "40000 41999");
        let stack = Stack::start(release);
        for (nth, edition) in editions.iter().enumerate() {
            if nth > 0 {
                remove(&stack);
            }
            import(&stack, edition);
        }
        let (place, program) = public_place();
        let policy = place.path().join("policy.toml");
        fs::write(&policy, "").expect("written");
        let at_a_tenth = format!("PORTS.MAX.WARN:\"{POOL}\"");
        // What grows within a moment would be at the wall in the next.
        let host = Host::link(&stack, ("test", PORT), &[(&at_a_tenth, "10"), ("TIMELEFT.MIN", "0s")]);
        let mut world = Self { stack, host, program, policy, agent: None, _place: place };
        world.ask_the_program();
        world
    }

    /// The agent runs the program, as root, so that it sees whose the sockets are: the capabilities of a file need a file system
    /// that takes them.
    pub(crate) fn ask_the_program(&mut self) {
        let options = format!(" {}", options(&self.policy).join(" "));
        let config = configure(self.stack.dir(), &self.program, &options);
        self.restart_agent(&config);
    }

    /// The agent reads a file that the program has written, which is the other way to the report.
    pub(crate) fn ask_the_file(&mut self, file: &Path) {
        let config = configure(self.stack.dir(), &self.program, "");
        let key = format!("UserParameter=closewatch.report,cat {}", file.display());
        let told = fs::read_to_string(&config).expect("there");
        let lines = told.lines().map(|line| if line.starts_with("UserParameter=") { &key } else { line });
        fs::write(&config, lines.map(|line| format!("{line}\n")).collect::<String>()).expect("written");
        self.restart_agent(&config);
    }

    fn restart_agent(&mut self, config: &Path) {
        let content = fs::read_to_string(config).expect("there") + "AllowRoot=1\nUser=root\n";
        fs::write(config, content).expect("written");
        self.agent = None;
        self.agent = Some(start_agent(&self.stack, config));
    }

    /// Another agent, with this line in its configuration.
    pub(crate) fn other_agent(&self, line: &str) -> Service {
        let dir = self.stack.dir();
        let config = dir.join("other.conf");
        let content = format!(
            "PidFile={}/other.pid\nLogType=console\nServer=127.0.0.1\nListenIP=127.0.0.1\nListenPort={OTHER_PORT}\n\
             StartAgents=1\nHostname=other\nAllowRoot=1\nUser=root\n{line}\n",
            dir.display()
        );
        fs::write(&config, content).expect("written");
        start_agent(&self.stack, &config)
    }

    /// The user parameter that runs the program.
    pub(crate) fn key(&self) -> String {
        key(&self.program, &format!(" {}", options(&self.policy).join(" ")))
    }
}

fn start_agent(stack: &Stack, config: &Path) -> Service {
    let mut agent = Command::new(stack.release().program("zabbix_agentd", stack.dir()));
    Service::start(agent.arg("-f").arg("-c").arg(config).stdout(Stdio::null()))
}
