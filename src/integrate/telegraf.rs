//! An input of Telegraf.

use crate::model::text::shell_word;

/// The input, for a file below `/etc/telegraf/telegraf.d`.
pub(super) fn input(program: &str) -> String {
    // The command is a string of TOML, and a command line inside it.
    let program = shell_word(program).replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "\
# /etc/telegraf/telegraf.d/closewatch.conf. Try it: telegraf --test --config /etc/telegraf/telegraf.d/closewatch.conf
# The measurements are closewatch, closewatch_process and closewatch_pool; the states are named as inputs.netstat names them.
# Telegraf's user sees all counts; to name the processes of other users, too, the program needs capabilities, which
# `closewatch doctor` prints.
[[inputs.exec]]
  commands = [\"{program} check --format influx --timeout 4\"]
  interval = \"60s\"
  timeout = \"5s\"
  data_format = \"influx\"
"
    )
}
