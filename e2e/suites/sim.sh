# Simulation: seeds drive faults, crashes and rival deployers against the memory platform. By hand:
#   cargo run -p e2e --bin sim -- --quick
set -euo pipefail
source e2e/lib.sh
suite_bin sim "$1"
