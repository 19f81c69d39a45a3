//! The key of the agent.

use super::MASTER;
use crate::model::text::shell_word;

/// A file of user parameters, the same for both agents.
pub(in crate::integrate) fn agent(program: &str) -> String {
    let word = shell_word(program);
    format!(
        "\
# /etc/zabbix/zabbix_agentd.conf.d/closewatch.conf for the agent, /etc/zabbix/zabbix_agent2.d/closewatch.conf for agent 2. Then:
#   zabbix_agentd -R userparameter_reload     (agent 2: zabbix_agent2 -R userparameter_reload)
#   zabbix_get -s 127.0.0.1 -k {MASTER}
# The key has no parameters: no text of a user reaches a shell, and UnsafeUserParameters stays 0. It answers within 2 s, below the
# agent's usual Timeout of 3 s; a look that needs longer is cut short and says so.
UserParameter={MASTER},{word} check --format zabbix

# The agent's user sees all counts, ages and ports. Of who holds a socket it sees the user, and the unit that the socket was made in
# (`user 998 in telegraf.service`). To see the processes themselves, one of:
#
# 1. Two capabilities on the program. With them it reads the descriptors of all processes, for whoever may run it, so that only the
#    agent's group may. They are lost by cp, strip, chown and upgrades, and are void where the agent's unit has NoNewPrivileges=yes
#    or the file system is mounted with nosuid.
#      chown root:zabbix {word} && chmod 0750 {word}
#      setcap cap_sys_ptrace,cap_dac_read_search+ep {word}
#
# 2. A file that root writes and the agent reads: no privilege in the agent, and no program started by it. The report is then as old
#    as the last run of the job. In /etc/cron.d/closewatch-zabbix:
#      * * * * *  root  {cron} check --format zabbix --output /var/lib/closewatch/zabbix.json
#    and in place of the line above:
#      UserParameter={MASTER},cat /var/lib/closewatch/zabbix.json
#    The directory must be there and open to the agent: install -d -m 0755 /var/lib/closewatch
#
# Other network namespaces, those of containers for example, are entered with cap_sys_admin only, which is all but root: without
# it they are read from outside, which tells states and counts.
",
        cron = word.replace('%', "\\%"),
    )
}
