#!/bin/sh
# Times closewatch beside ss and beside the kernel's floor, in one run: see benches/rivals.rs.
# Only the poll of Zabbix: benches/rivals.sh poll
# Other sizes: CLOSEWATCH_BENCH_SOCKETS=60000,300000 benches/rivals.sh
set -eu
cd "$(dirname "$0")/.."
exec cargo bench --bench rivals -- "$@"
