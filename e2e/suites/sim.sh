# Simulation: seeds drive faults, crashes and rival deployers against the memory platform and ECS. By hand:
#   cargo run -p e2e --bin sim -- --quick
#   cargo run -p e2e --bin sim -- ecs 12
set -euo pipefail
source e2e/lib.sh
suite_bin sim "$1"
